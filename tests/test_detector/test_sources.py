import os
from pathlib import Path, PurePath

import pytest

from mmdet_srn.detector.frames import count_frames
from mmdet_srn.detector.sources import Skipped, find_sources
from mmdet_srn.detector.writers import OutputNames
from tests.test_detector.test_frames import read


def found(*inputs: str, outputs: str = 'out') -> list[tuple[str, str, PurePath]]:
    return [
        (source.kind, source.location, source.name.as_posix())
        for source in find_sources(inputs, Path(outputs))
    ]


IN = [
    ('image', 'in/a.png', 'a'),
    ('image', 'in/c.JPG', 'c'),
    ('video', 'in/clip.avi', 'clip'),
    ('image', 'in/deep/d.jpg', 'deep/d'),
]


def test_folders(tree):
    assert found('in') == found('in/') == found('./in/') == IN
    inside = [(kind, f'in/{p.removeprefix("in/")}', f'in/{n}') for kind, p, n in IN]
    # What earlier runs have written is not taken for an input.
    assert found('.') == [('image', 'b.jpg', 'b'), *inside]
    assert ('image', 'out/b_faces.jpg', 'out/b_faces') in found('.', outputs='other')


def test_files_and_several_inputs(tree):
    assert found('in/c.JPG', 'b.jpg') == [
        ('image', 'in/c.JPG', 'c'),
        ('image', 'b.jpg', 'b'),
    ]
    assert found('out/b_faces.jpg') == [('image', 'out/b_faces.jpg', 'b_faces')]
    assert found('in/notes.txt') == [('image', 'in/notes.txt', 'notes')]
    # Each file once, however it was named.
    absolute = str(tree / 'in/a.png')
    assert found('in/a.png', 'in', './in/a.png', absolute) == IN


def test_patterns(tree):
    assert found('in/*') == IN
    assert found('in/*.JPG', 'in/a*') == [IN[1], IN[0]]
    assert found('**/*.jpg') == [
        ('image', 'b.jpg', 'b'),
        ('image', 'in/deep/d.jpg', 'in/deep/d'),
    ]
    # A suffix that nobody would search for, but the user names it.
    assert found('in/*.raw') == [('image', 'in/photo.raw', 'photo')]
    assert found(str(tree / 'i?/a.png'))[0][2] == 'in/a'
    # A file whose name looks like a pattern.
    os.rename('b.jpg', 'b[1].jpg')
    assert found('b[1].jpg') == [('image', 'b[1].jpg', 'b[1]')]


def test_webcams(tree):
    assert found('0', '01') == [
        ('webcam', '0', 'webcam_0'),
        ('webcam', '1', 'webcam_1'),
    ]
    os.rename('b.jpg', '7')
    assert found('7') == [('image', '7', '7')]
    (webcam,) = find_sources(['3'], Path('out'))
    assert str(webcam) == 'webcam 3' and count_frames([webcam]) is None


def test_links_to_themselves_and_their_folder(tree):
    os.symlink('self.jpg', 'in/self.jpg')
    os.symlink('self', 'in/self')
    os.symlink('..', 'in/loop')
    skipped = Skipped()
    sources = find_sources(['in'], Path('out'), skipped)
    assert len(sources) == len(IN) + 1 and skipped.files['links to folders'] == 1
    OutputNames(Path('out'), [source.location for source in sources])
    images, problems = read(sources)
    assert len(images) == 8
    ((source, message),) = problems
    assert source.location == 'in/self.jpg' and 'self.jpg' in message


@pytest.mark.parametrize('text', ['in', 'in/*', 'in/*.*'])
def test_what_is_passed_over_is_counted(tree, text):
    for name in ('a.TXT', 'b.xmp', 'README'):
        Path('in', name).touch()
    skipped = Skipped()
    find_sources([text], Path('out'), skipped)
    counts = {'.txt': 2, '.xmp': 1, '.raw': 1, 'without suffix': 1}
    if text.endswith('.*'):
        del counts['without suffix']
    assert skipped.files == counts
    assert str(skipped).startswith('2 .txt, 1 ')


@pytest.mark.parametrize('text', ['in', 'in/**/*.jpg', '*/deep/*'])
def test_folders_that_cannot_be_read_are_named(tree, monkeypatch, text):
    """Refused by a stand-in: root, as which tests may run, reads everything."""
    scandir, access = os.scandir, os.access

    def refused(path) -> bool:
        return isinstance(path, str) and Path(path).name == 'deep'

    def scan(path='.'):
        if refused(path):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', scan)
    monkeypatch.setattr(os, 'access', lambda p, m: not refused(p) and access(p, m))
    skipped = Skipped()
    find_sources(['b.jpg', 'in/a.png'], Path('out'), skipped)
    assert skipped.unreadable == []
    try:
        find_sources([text], Path('out'), skipped)
    except FileNotFoundError as error:
        assert 'Permission denied' in str(error)
    (message,) = skipped.unreadable
    assert 'in/deep' in message and 'Permission denied' in message


@pytest.mark.parametrize('text', ['absent.jpg', 'absent/*', 'in/*.gif', '-1', ''])
def test_nothing_found(tree, text):
    with pytest.raises(FileNotFoundError, match='no image or video found for'):
        find_sources(['b.jpg', text], Path('out'))


def test_folder_of_results_alone(tree):
    with pytest.raises(FileNotFoundError, match='what lies in --out is skipped'):
        find_sources(['out'], Path('out'))
    with pytest.raises(FileNotFoundError, match="found for 'in/deep'"):
        find_sources(['in/deep'], Path('in'))


def test_addresses_of_pictures_and_of_other_protocols(tree):
    with pytest.raises(ValueError, match='address of a picture.*curl'):
        find_sources(['https://host/photo.JPG?size=2'], Path('out'))
    for text in ('file:///etc/passwd', 'concat:a.avi|b.avi', 'http:/x'):
        with pytest.raises(FileNotFoundError, match='no image or video'):
            find_sources([text], Path('out'))
