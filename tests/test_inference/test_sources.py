import gc
import os
import weakref
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest

from mmdet_srn.inference.images import read_image
from mmdet_srn.inference.sources import count_frames, find_sources, frames
from tests.test_inference.videos import write_video


@pytest.fixture
def tree(tmp_path, make_image, monkeypatch) -> Path:
    """A working folder with pictures in folders, a video, and other things."""
    names = ['b.jpg', 'in/a.png', 'in/c.JPG', 'in/deep/d.jpg', 'in/.hidden.jpg']
    names += ['in/.cache/e.jpg', 'out/b_faces.jpg', 'in/jfif.jpg']
    for i, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), make_image(i))
    os.rename(tmp_path / 'in/jfif.jpg', tmp_path / 'in/photo.jfif')
    (tmp_path / 'in/notes.txt').write_text('hello')
    write_video(tmp_path / 'in/clip.avi')
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
    assert found('in/*.jfif') == [('image', 'in/photo.jfif', 'photo')]
    assert found(str(tree / 'i?/a.png'))[0][2] == 'in/a'


def test_a_file_whose_name_looks_like_a_pattern(tree):
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


def test_links_to_folders_are_not_followed(tree):
    os.symlink('..', 'in/loop')
    assert found('in') == IN


@pytest.mark.parametrize('text', ['absent.jpg', 'absent/*', 'in/*.gif', '-1', ''])
def test_nothing_found(tree, text):
    with pytest.raises(FileNotFoundError, match='no image or video found for'):
        find_sources(['b.jpg', text], Path('out'))


def test_folder_of_results_alone(tree):
    with pytest.raises(FileNotFoundError, match='what lies in --out is passed over'):
        find_sources(['out'], Path('out'))
    with pytest.raises(FileNotFoundError, match="found for 'in/deep'"):
        find_sources(['in/deep'], Path('in'))


def read(sources) -> tuple[list, list]:
    problems = []
    images = list(frames(sources, read_image, lambda *args: problems.append(args)))
    return images, problems


def test_frames(tree):
    sources = find_sources(['in'], Path('out'))
    assert count_frames(sources) == 8
    images, problems = read(sources)
    assert problems == []
    assert [(frame.source.location, frame.index) for frame in images] == [
        ('in/a.png', None),
        ('in/c.JPG', None),
        *(('in/clip.avi', i) for i in range(5)),
        ('in/deep/d.jpg', None),
    ]
    np.testing.assert_array_equal(images[0].image, cv2.imread('in/a.png'))
    levels = [round(frame.image.mean()) for frame in images[2:7]]
    assert levels == pytest.approx([20, 40, 60, 80, 100], abs=2)
    assert {frame.fps for frame in images[2:7]} == {10.0}


def test_broken_files_are_named_and_passed_over(tree):
    Path('in/a.png').write_bytes(b'no image')
    sources = find_sources(['in/*.JPG', 'in/*.png', 'in/notes.txt'], Path('out'))
    (tree / 'bad.mp4').write_bytes(b'no video')
    sources += find_sources(['bad.mp4', 'b.jpg', '99'], Path('out'))
    images, problems = read(sources)
    assert [frame.source.location for frame in images] == ['in/c.JPG', 'b.jpg']
    assert [source.location for source, _ in problems] == [
        *('in/a.png', 'in/notes.txt', 'bad.mp4', '99')
    ]
    for source, message in problems:
        assert message.startswith(str(source))
    assert 'webcam 99 cannot be opened' in problems[-1][1]
    assert count_frames(sources[:-1]) == 4  # a broken video counts for none


def test_a_file_that_has_gone(tree):
    sources = find_sources(['in/a.png', 'b.jpg'], Path('out'))
    os.remove('in/a.png')
    images, problems = read(sources)
    assert len(images) == 1
    assert 'in/a.png' in problems[0][1]


def test_a_video_that_ends_too_early(tree):
    write_video(tree / 'long.avi', 100)
    content = (tree / 'long.avi').read_bytes()
    (tree / 'cut.avi').write_bytes(content[: len(content) // 2])
    images, problems = read(find_sources(['long.avi', 'cut.avi'], Path('out')))
    assert 130 < len(images) < 170
    ((source, message),) = problems
    assert source.location == 'cut.avi'
    assert message == f'cut.avi ended after {len(images) - 100} of about 100 frames'


def test_no_frame_is_read_ahead_or_kept(tree):
    """Counted: the frames that are alive."""
    write_video(tree / 'long.avi', 30)
    alive: weakref.WeakSet = weakref.WeakSet()
    gc.disable()
    try:
        sources = find_sources(['long.avi', 'in'], Path('out'))
        for frame in frames(sources, read_image, lambda *args: None):
            alive.add(frame)
            assert len(alive) == 1
            del frame
    finally:
        gc.enable()
