import io
import os
import random
import tarfile

import pytest

pytest.importorskip('fsspec')
pa = pytest.importorskip('pyarrow')
import fsspec  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from mmdet_srn.detector.images import ImageError  # noqa: E402
from mmdet_srn.detector.sources import Skipped  # noqa: E402
from mmdet_srn.many import inputs  # noqa: E402
from mmdet_srn.many.inputs import (  # noqa: E402
    LostShardError,
    find_paths,
    picture_content,
    tar_contents,
)


def found(named, out='/nowhere', column='path', skipped=None):
    return list(find_paths(str(named), str(out), column, skipped or Skipped()))


def test_folder(tmp_path):
    for name in ('b/2.PNG', 'a.jpg', 'b/.x.jpg', '.h/1.jpg', 'out/3.jpg', 'b/4.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'loop').symlink_to(tmp_path)
    skipped = Skipped()
    paths = found(tmp_path, tmp_path / 'out', skipped=skipped)
    assert paths == [str(tmp_path / 'a.jpg'), str(tmp_path / 'b/2.PNG')]
    assert dict(skipped.files) == {'.txt': 1, 'without suffix': 1}
    with pytest.raises(FileNotFoundError, match=r'no folder.*\.parquet'):
        found(tmp_path / 'a.jpg')


def test_folder_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b.jpg').touch()
    plain = os.scandir

    def scandir(path):
        if str(path).endswith('/a'):  # root may read all
            raise PermissionError(13, 'Permission denied', path)
        return plain(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    skipped = Skipped()
    assert found(tmp_path, skipped=skipped) == [str(tmp_path / 'b.jpg')]
    assert skipped.unreadable == [f'{tmp_path}/a: Permission denied']


def test_lists_of_paths(tmp_path):
    for name, paths in {'1': ['x.jpg', 's3://b/y.jpg'], '2': ['z.jpg']}.items():
        table = pa.table(
            dict(key=pa.array(paths).dictionary_encode(), n=[1] * len(paths))
        )
        pq.write_table(table, tmp_path / f'{name}.parquet')
    assert found(tmp_path / '*.parquet', column='key') == [
        *('x.jpg', 's3://b/y.jpg', 'z.jpg')
    ]
    with pytest.raises(ValueError, match=r"1\.parquet.*'path'"):
        found(tmp_path / '1.parquet')
    pq.write_table(pa.table(dict(path=['a', None])), tmp_path / '3.parquet')
    with pytest.raises(ValueError, match=r'3\.parquet.*without a path'):
        found(tmp_path / '3.parquet')
    (tmp_path / '4.parquet').write_text('no parquet')
    with pytest.raises(ValueError, match=r'4\.parquet'):
        found(tmp_path / '4.parquet')


def test_patterns_and_files_that_are_not_there(tmp_path):
    for name in ('0', '1', '7', '[0-4]'):
        (tmp_path / f'{name}.tar').touch()
    places = [str(tmp_path / f'{name}.tar') for name in ('0', '1', '7', '[0-4]')]
    assert found(tmp_path / '?.tar') == places[:3]
    assert found(tmp_path / '[0-4].tar') == places[3:]
    os.remove(places[3])
    assert found(tmp_path / '[0-4].tar') == places[:2]
    for name in ('no.tar', 'no.parquet', '*.parquet', '[89].tar'):
        with pytest.raises(FileNotFoundError, match='no such file'):
            found(tmp_path / name)


def test_content(tmp_path, monkeypatch):
    (tmp_path / 'a.jpg').write_bytes(b'12345')
    assert picture_content('a.jpg', str(tmp_path)) == b'12345'
    for path in (
        'ssh://host/a',
        'memory://a',
        'simplecache::s3://b/a',
        'tar://a::s3://b',
    ):
        with pytest.raises((ValueError, OSError)):
            picture_content(path, str(tmp_path))
    os.mkfifo(tmp_path / 'pipe.jpg')
    with pytest.raises(ImageError, match='pipe'):
        picture_content('pipe.jpg', str(tmp_path))
    monkeypatch.setattr(inputs, 'MAX_BYTES', 4)
    with pytest.raises(ImageError, match='more than 4 bytes'):
        picture_content('a.jpg', str(tmp_path))


def test_tar_shards(tmp_path):
    shard = str(tmp_path / 'a.tar')
    with tarfile.open(shard, 'w') as tar:
        for name in ('1.jpg', '1.json', 'd/2.png', '3.jpg'):
            member = tarfile.TarInfo(name)
            member.size = 3000
            tar.addfile(member, io.BytesIO(name[:1].encode() * 3000))
        link = tarfile.TarInfo('4.jpg')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        tar.addfile(link)
    assert found(tmp_path / '*.tar') == [shard]
    *whole, (name, error) = tar_contents(shard)
    assert [name for name, _ in whole] == [
        f'tar://{member}::{shard}' for member in ('1.jpg', 'd/2.png', '3.jpg')
    ]
    assert [content for _, content in whole] == [b'1' * 3000, b'd' * 3000, b'3' * 3000]
    with fsspec.open(whole[1][0]) as file:
        assert file.read() == b'd' * 3000
    assert '4.jpg' in name and 'no file' in str(error)

    content = (tmp_path / 'a.tar').read_bytes()
    (tmp_path / 'cut.tar').write_bytes(content[:9000])
    *_, (name, error) = tar_contents(str(tmp_path / 'cut.tar'))
    assert name.endswith('cut.tar') and 'damaged after' in str(error)
    (tmp_path / 'text.tar').write_text('no tar')
    (tmp_path / 'folder.tar').mkdir()
    for name in ('text', 'folder', 'missing'):
        [(name, error)] = tar_contents(str(tmp_path / f'{name}.tar'))
        assert isinstance(error, ImageError) and 'after 0' in str(error)


@pytest.mark.parametrize('mode', ['w:gz', 'w:bz2', 'w:xz'])
def test_a_shard_whose_connection_is_lost(tmp_path, monkeypatch, mode):
    """It is tried again; damaged data are not."""
    rng, size = random.Random(0), 10**6
    with tarfile.open(tmp_path / 'a.tar', mode) as tar:
        for name in ('1.jpg', '2.jpg'):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(rng.randbytes(size)))
    content = bytearray((tmp_path / 'a.tar').read_bytes())

    class Lost(io.BytesIO):
        def read(self, number):
            if self.tell() > 1.5 * size:
                raise ConnectionResetError('lost')
            return super().read(number)

    monkeypatch.setattr(inputs.fsspec, 'open', lambda *_: Lost(content))
    with pytest.raises(LostShardError, match=r'a.tar, after \d .*lost'):
        list(tar_contents('a.tar'))
    monkeypatch.undo()
    content[size:] = rng.randbytes(len(content) - size)
    (tmp_path / 'a.tar').write_bytes(content)
    *_, (name, error) = tar_contents(str(tmp_path / 'a.tar'))
    assert name.endswith('a.tar') and 'damaged after' in str(error)
