import pytest

pytest.importorskip('fsspec')
pytest.importorskip('pyarrow')

from mmdet_srn.many.job import (  # noqa: E402
    Job,
    Store,
    begin_job,
    load_job,
    part_name,
    read_part,
)

WANTED = Job('in', 'a' * 64, 0.5, 2048, tars=False, folder='/')


@pytest.mark.parametrize('place', ['{tmp_path}/out', 'memory://job{tmp_path}'])
def test_list(tmp_path, place):
    store = Store(place.format(tmp_path=tmp_path))
    paths = [f'{k}.jpg' for k in range(500)]
    job = begin_job(store, WANTED, iter(paths), processes=3, part_size=2)
    assert (job.rows, job.parts) == (500, 250)  # in 3 files
    assert sum((read_part(store, k) for k in range(250)), []) == paths
    assert load_job(store, WANTED) == job
    store.write(part_name(7), b'')
    assert job.missing(store) == [k for k in range(250) if k != 7]


@pytest.mark.parametrize(
    'rows, processes, tars, expected',
    [
        (200, 2, False, 13),  # 8 parts for each process
        (3, 2, False, 1),
        (40_000, 2, False, 1000),
        (40, 2, True, 1),
    ],
)
def test_size_of_a_part(tmp_path, rows, processes, tars, expected):
    wanted = Job('in', '', 0.5, None, tars, '/')
    paths = map(str, range(rows))
    job = begin_job(Store(str(tmp_path)), wanted, paths, processes, None)
    assert (job.part_size, job.rows) == (expected, rows)
    assert sum(map(job.size, range(job.parts))) == rows
    assert len(read_part(Store(str(tmp_path)), job.parts - 1)) == job.size(
        job.parts - 1
    )


def test_other_settings(tmp_path):
    store = Store(str(tmp_path))
    begin_job(store, WANTED, ['a.jpg'], 1, None)
    with pytest.raises(ValueError, match='score_thr=0.5, not 0.3'):
        load_job(store, Job('in', 'a' * 64, 0.3, 2048, tars=False, folder='/'))


def test_not_empty(tmp_path):
    (tmp_path / 'mine.txt').touch()
    with pytest.raises(ValueError, match='mine.txt'):
        load_job(Store(str(tmp_path)), WANTED)


def test_nothing_found(tmp_path):
    with pytest.raises(FileNotFoundError, match='no picture'):
        begin_job(Store(str(tmp_path)), WANTED, [], 1, None)


def test_a_name_that_is_not_utf_8(tmp_path):
    store = Store(str(tmp_path))
    begin_job(store, WANTED, ['\udcff.jpg'], 1, None)
    assert read_part(store, 0) == [r'\udcff.jpg']
