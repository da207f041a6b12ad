import hashlib
import io
import multiprocessing
import os
import signal
import tarfile
from unittest import mock

import pytest

pytest.importorskip('fsspec')
pytest.importorskip('pyarrow')
import fsspec  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from mmdet_srn.detector.model_files import hash_model  # noqa: E402
from mmdet_srn.many import inputs  # noqa: E402
from mmdet_srn.many.job import Job, Store, begin_job, part_name  # noqa: E402
from mmdet_srn.many.worker import SCHEMA, PartDetector  # noqa: E402


def begin(out, model, paths, tars=False, folder='/'):
    wanted = Job('in', hash_model(None, model), 0.5, 400, tars, str(folder))
    return begin_job(Store(str(out)), wanted, map(str, paths), 1, len(paths))


def rows(out, part=0):
    with fsspec.open(f'{out}/{part_name(part)}') as file:
        table = pq.read_table(io.BytesIO(file.read()))
    assert table.schema.equals(SCHEMA)
    return table.to_pylist()


def test_rows(tmp_path, model, plain, pictures):
    """As FaceDetector finds them; broken pictures have an error."""
    names = ['00.jpg', 'sub/23.png', '02b.jpg', '06b.webp', 'lost.jpg']
    job = begin(tmp_path, model, names, folder=pictures)
    found = PartDetector(job, str(tmp_path), model)({'part': 0})
    assert (found['pictures'], found['faces'], found['errors']) == (5, 2, 3)
    table = rows(tmp_path)
    assert [row['path'] for row in table] == names
    assert {row['model'] for row in table} == {job.model}
    for row in table[:2]:
        path = pictures / row['path']
        faces = plain.detect(path, max_size=400)
        assert row['boxes'] == faces.bboxes.tolist()
        assert row['scores'] == faces.scores.tolist() and len(row['scores']) == 1
        assert (row['width'], row['height']) == (faces.width, faces.height)
        assert row['sha'] == hashlib.sha256(path.read_bytes()).hexdigest()
    for row, word in zip(table[2:], ['damaged', 'empty', 'No such file'], strict=True):
        assert word in row['error'] and row['boxes'] is None
    assert not list((tmp_path / '_tries').iterdir())


def test_tar_and_remote(tmp_path, model, pictures, monkeypatch):
    """The same from a shard, and from a file system that is not local."""
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        tar.add(pictures / '00.jpg', '00.jpg')
    PartDetector(
        begin(tmp_path / 'tar', model, [tmp_path / 'a.tar'], tars=True),
        str(tmp_path / 'tar'),
        model,
    )({'part': 0})
    monkeypatch.setattr(inputs, '_REMOTE', ('memory',))
    remote = f'memory://many{tmp_path}'
    fsspec.filesystem('memory').put(str(pictures / '00.jpg'), f'{remote}/in/00.jpg')
    job = begin(f'{remote}/out', model, [f'{remote}/in/00.jpg'])
    PartDetector(job, f'{remote}/out', model)({'part': 0})
    [first], [second] = rows(tmp_path / 'tar'), rows(f'{remote}/out')
    assert first.pop('path') == f'tar://00.jpg::{tmp_path}/a.tar'
    assert second.pop('path') == f'{remote}/in/00.jpg'
    assert first == second and len(first['boxes']) == 1


def test_a_tar_member_whose_name_is_not_utf_8(tmp_path, model):
    with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo('\udcff.jpg'))
    job = begin(tmp_path / 'out', model, [tmp_path / 'a.tar'], tars=True)
    PartDetector(job, str(tmp_path / 'out'), model)({'part': 0})
    [row] = rows(tmp_path / 'out')
    assert row['path'] == rf'tar://\udcff.jpg::{tmp_path}/a.tar'
    assert 'empty' in row['error']


class Fragile(PartDetector):
    """Dies at a picture, as by a lack of memory."""

    def _detect(self, path, content):
        if path == '02.jpg' and isinstance(content, bytes):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._detect(path, content)


def work(job, out, model):
    Fragile(job, out, model)({'part': 0})


def test_a_picture_that_kills(tmp_path, model, pictures):
    job = begin(tmp_path, model, ['00.jpg', '02.jpg', '04.jpg'], folder=pictures)
    codes = []
    while -signal.SIGKILL in codes[-1:] or not codes:
        assert len(codes) < 6
        process = multiprocessing.get_context('fork').Process(
            target=work, args=(job, str(tmp_path), model)
        )
        process.start()
        process.join(120)
        codes.append(process.exitcode)
    assert codes == [-signal.SIGKILL] * 3 + [0]
    first, second, third = rows(tmp_path)
    assert 'died here' in second['error']
    assert len(first['boxes']) == len(third['boxes']) == 1


def test_a_failing_write_is_not_blamed_on_a_picture(tmp_path, model, monkeypatch):
    job = begin(tmp_path, model, ['lost.jpg'])
    detector = PartDetector(job, str(tmp_path), model)
    with monkeypatch.context() as patch:
        patch.setattr(Store, 'write_table', mock.Mock(side_effect=OSError('full')))
        for _ in range(4):
            with pytest.raises(OSError, match='full'):
                detector({'part': 0})
    detector({'part': 0})
    [row] = rows(tmp_path)
    assert 'No such file' in row['error']


def test_a_lost_shard_is_left_for_another_start(tmp_path, model, monkeypatch):
    job = begin(tmp_path, model, ['a.tar'], tars=True)
    detector = PartDetector(job, str(tmp_path), model)
    with monkeypatch.context() as patch:
        lost = mock.Mock(side_effect=ConnectionResetError('lost'))
        patch.setattr('mmdet_srn.many.inputs.fsspec.open', lost)
        found = detector({'part': 0})
    assert found['problem'] == 'a.tar, after 0 pictures: lost'
    assert found['pictures'] == 0 and job.missing(Store(str(tmp_path))) == [0]
    assert detector({'part': 0})['problem'] is None
    assert job.missing(Store(str(tmp_path))) == []


def test_another_model(tmp_path, model):
    job = begin(tmp_path, model, ['a.jpg'])
    (tmp_path / 'other.onnx').write_bytes(b'other')
    with pytest.raises(ValueError, match='another file'):
        PartDetector(job, str(tmp_path), str(tmp_path / 'other.onnx'))
