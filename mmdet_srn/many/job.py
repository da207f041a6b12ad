"""What a run works through: a list of pictures, cut into parts.

The list is written once, before the first picture, and lies with the results. A part
has one file of results, which appears whole or not at all: what is finished is what is
there. So nothing else has to be kept for a run that goes on.
"""

import io
import json
import posixpath
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import count, islice

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from .inputs import as_utf8

#: Most rows of a part unless the user says otherwise: minutes of work on one core.
MAX_PART = 1000
#: Parts for each process that a short list is cut into, so that none waits for long.
PARTS_PER_PROCESS = 8
_PARTS_PER_FILE = 100  # of the list; a file is held in memory


class Store:
    """The folder of a run, local or remote.

    Names that begin with ``_`` are not results; readers of data sets leave them out.

    Args:
        out: Path or URL.
    """

    def __init__(self, out: str) -> None:
        self.fs, self.root = fsspec.url_to_fs(out)

    def path(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return posixpath.join(self.root, name)

    def names(self) -> set[str]:
        """Return the names in the folder, of files and folders; none if it is new."""
        self.fs.invalidate_cache()
        if not self.fs.isdir(self.root):
            return set()
        paths = self.fs.ls(self.root, detail=False)
        return {posixpath.basename(path.rstrip('/')) for path in paths}

    def read(self, name: str) -> bytes:
        """Return the content of a file; nothing if there is none."""
        try:
            return self.fs.cat_file(self.path(name))
        except FileNotFoundError:
            return b''

    def write(self, name: str, content: bytes) -> None:
        """Write a file that nobody sees half finished."""
        temporary = self.path(f'_tmp/{uuid.uuid4().hex}')
        for path in (temporary, self.path(name)):
            self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
        self.fs.pipe_file(temporary, content)
        self.fs.mv(temporary, self.path(name))

    def write_table(
        self, name: str, table: pa.Table, group_size: int | None = None
    ) -> None:
        """Write a parquet file likewise."""
        content = io.BytesIO()
        pq.write_table(table, content, group_size, compression='zstd')
        self.write(name, content.getvalue())

    def remove(self, name: str) -> None:
        """Remove a file or folder if it is there."""
        if self.fs.exists(self.path(name)):
            self.fs.rm(self.path(name), recursive=True)


@dataclass(frozen=True)
class Job:
    """The settings of a run.

    Attributes:
        inputs: What the user named; a local path from the root.
        model: SHA-256 of the detector's file.
        score_thr: Least score of a face.
        max_size: Longest side for the detector in pixels; None: any.
        tars: Whether the rows are tar shards instead of pictures.
        folder: Local paths in the list that are relative start here.
        column: Of the paths in the user's lists.
        rows: Number of rows of the list.
        part_size: Rows of a part; the last one may have fewer.
    """

    inputs: str
    model: str
    score_thr: float
    max_size: int | None
    tars: bool
    folder: str
    column: str = 'path'
    rows: int = 0
    part_size: int = 1

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-self.rows // self.part_size)

    def size(self, part: int) -> int:
        """Return the number of rows of a part."""
        return min(self.part_size, self.rows - part * self.part_size)

    def missing(self, store: Store) -> list[int]:
        """Return the parts that have no results yet."""
        there = store.names()
        return [k for k in range(self.parts) if part_name(k) not in there]


def part_name(part: int) -> str:
    """Return the name of the file with the results of a part."""
    return f'part-{part:07}.parquet'


def load_job(store: Store, wanted: Job) -> Job | None:
    """Return the job that was begun in a folder; None if it is new.

    Raises:
        ValueError: If that job has other settings, or the folder has other files.
    """
    text = store.read('_job.json')
    if not text:
        if other := sorted(n for n in store.names() if not n.startswith(('_', '.'))):
            raise ValueError(f'{store.root} is not empty: it has {other[0]}')
        return None
    job = Job(**json.loads(text))
    for name in ('inputs', 'model', 'score_thr', 'max_size', 'column'):
        old, new = getattr(job, name), getattr(wanted, name)
        if old != new:
            raise ValueError(
                f'{store.root} was begun with {name}={old!r}, not {new!r}: name '
                'another folder, or start it with the same'
            )
    return job


def begin_job(
    store: Store,
    wanted: Job,
    paths: Iterable[str],
    processes: int,
    part_size: int | None,
) -> Job:
    """Write the list of a new job.

    Args:
        store: The folder.
        wanted: The settings.
        paths: The rows of the list, of which a million are held at most.
        processes: How many will share them.
        part_size: Rows of a part. Defaults to None: one tar shard, or as many pictures
            as give each process :data:`PARTS_PER_PROCESS` parts, :data:`MAX_PART` at
            most.

    Raises:
        FileNotFoundError: If there is no row.
    """
    rest = iter(paths)
    ahead = []
    if part_size is None and wanted.tars:
        part_size = 1
    elif part_size is None:
        shares = PARTS_PER_PROCESS * processes
        ahead = list(islice(rest, min(MAX_PART * shares, 10**6)))
        part_size = min(MAX_PART, max(1, -(-len(ahead) // shares)))
    rows, step = 0, part_size * _PARTS_PER_FILE
    for number in count():
        block, ahead = ahead[:step], ahead[step:]
        block += islice(rest, step - len(block))
        if not block:
            break
        # A name that is not UTF-8 is not found later, and its row says so.
        table = pa.table({'path': [as_utf8(path) for path in block]})
        store.write_table(f'_list/{number:06}.parquet', table, part_size)
        rows += len(block)
    if not rows:
        raise FileNotFoundError(f'no picture found in {wanted.inputs}')
    job = Job(**asdict(wanted) | dict(rows=rows, part_size=part_size))
    store.write('_job.json', json.dumps(asdict(job)).encode())
    return job


def read_part(store: Store, part: int) -> list[str]:
    """Return the rows of a part of the list."""
    number, group = divmod(part, _PARTS_PER_FILE)
    with store.fs.open(store.path(f'_list/{number:06}.parquet'), 'rb') as file:
        return pq.ParquetFile(file).read_row_group(group)['path'].to_pylist()
