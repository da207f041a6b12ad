from pathlib import Path, PurePath

from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.detector.writers import OutputNames


def test_names(tmp_path):
    names = OutputNames(tmp_path)
    assert names.claim(PurePath('a'), '_faces.jpg') == tmp_path / 'a_faces.jpg'
    assert names.claim(PurePath('a'), '_faces.jpg') == tmp_path / 'a_2_faces.jpg'
    assert names.claim(PurePath('b/a'), '_faces.jpg') == tmp_path / 'b/a_faces.jpg'
    assert names.claim(PurePath('a'), '_faces.jpg') == tmp_path / 'a_3_faces.jpg'


def test_inputs_are_never_given_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to(tmp_path)
    names = OutputNames(Path('.'), ['a_faces.jpg', 'link/b_faces.jpg'])
    assert names.claim(PurePath('a'), '_faces.jpg') == Path('a_2_faces.jpg')
    assert names.claim(PurePath('link/b'), '_faces.jpg') == Path('link/b_2_faces.jpg')


def test_names_stay_in_the_folder(tmp_path):
    names = OutputNames(tmp_path)
    for name in ('../../x', '/etc/x', '../x'):
        assert tmp_path in names.claim(PurePath(name), '.txt').resolve().parents


@given(st.lists(st.sampled_from(['a', 'a_2', 'a_2_2', 'b/a', '../a']), max_size=12))
def test_no_name_is_given_out_twice(wanted):
    names = OutputNames(Path('folder'))
    paths = [names.claim(PurePath(name), '.txt') for name in wanted]
    assert len({path.resolve() for path in paths}) == len(wanted)
