"""The process that detects: a part of the list in, a file of results out."""

import hashlib
import os
import resource
import socket
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ..detector import FaceDetector
from ..detector.images import read_image
from ..detector.model_files import hash_model
from .inputs import LostShardError, picture_content, tar_contents
from .job import Job, Store, part_name, read_part

#: The columns of the results. A picture that cannot be used has an ``error`` and no
#: faces; ``sha`` is the SHA-256 of its file, ``model`` that of the detector's.
SCHEMA = pa.schema(
    dict(
        path=pa.string(),
        sha=pa.string(),
        width=pa.int32(),
        height=pa.int32(),
        boxes=pa.list_(pa.list_(pa.float32(), 4)),
        scores=pa.list_(pa.float32()),
        error=pa.string(),
        model=pa.string(),
    )
)
#: Where time is spent.
STAGES = ('read', 'decode', 'detect', 'write')


class PartDetector:
    """Detects faces in the pictures of a part.

    It may be stopped anywhere and started again with the same part, in any process. A
    picture at which it dies twice, such as one that needs more memory than there is,
    becomes a row with an error instead of being tried for ever.

    Args:
        job: The settings.
        out: The folder of the run.
        model: The detector's exported file.

    Raises:
        ValueError: If the file is not the job's.
    """

    def __init__(self, job: Job, out: str, model: str) -> None:
        if (found := hash_model(None, model)) != job.model:
            raise ValueError(
                f'{model} on {socket.gethostname()} is another file (SHA-256 {found}) '
                f'than the one that the run was begun with ({job.model})'
            )
        self._job = job
        self._store = Store(out)
        self._detector = FaceDetector(model, score_thr=job.score_thr, threads=1)
        self._seconds: Counter[str] = Counter()

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Process the part ``row['part']``.

        Returns:
            ``part``, the number of ``pictures``, ``faces`` and ``errors``, this
            process's peak of ``memory`` in bytes, and the seconds of each stage;
            ``problem``, why the part has no results, or None.
        """
        part = int(row['part'])
        self._seconds.clear()
        mark = f'_tries/{part:07}'
        # A line for each process that began the part; after it, if others died before,
        # the picture that the process is at.
        before = self._store.read(mark).decode().splitlines()
        lines = [*before, f'process {os.getpid()} on {socket.gethostname()}']
        self._write_mark(mark, lines)
        rows, problem = [], None
        contents = self._contents(part)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # nobody reads them
                while (item := self._next(contents)) is not None:
                    path, content = item
                    here = f'picture {len(rows)}'
                    if before.count(here) > 1:
                        content = RuntimeError('a process died here, twice')
                    elif before:
                        self._write_mark(mark, [*lines, here])
                    rows.append(self._detect(path, content))
        except LostShardError as error:
            rows, problem = [], str(error)
        finally:
            if before:  # of what fails from here on, no picture is the cause
                self._write_mark(mark, lines)
        if problem is None:
            with self._timed('write'):
                table = pa.Table.from_pylist(rows, SCHEMA)
                self._store.write_table(part_name(part), table)
                self._store.remove(mark)
        return dict(
            part=part,
            pictures=len(rows),
            faces=sum(len(row['scores'] or ()) for row in rows),
            errors=sum(row['error'] is not None for row in rows),
            memory=peak_memory(),
            problem=problem,
            **{stage: self._seconds[stage] for stage in STAGES},
        )

    def _contents(self, part: int) -> Iterator[tuple[str, bytes | Exception]]:
        for path in read_part(self._store, part):
            if self._job.tars:
                yield from tar_contents(path)
                continue
            try:
                yield path, picture_content(path, self._job.folder)
            except Exception as error:  # the row says which, as below
                yield path, error

    def _next(
        self, contents: Iterator[tuple[str, bytes | Exception]]
    ) -> tuple[str, bytes | Exception] | None:
        with self._timed('read'):
            return next(contents, None)

    def _detect(self, path: str, content: bytes | Exception) -> dict[str, Any]:
        row = dict.fromkeys(SCHEMA.names) | dict(path=path, model=self._job.model)
        try:
            if isinstance(content, Exception):
                raise content
            row['sha'] = hashlib.sha256(content).hexdigest()
            with self._timed('decode'):
                image = read_image(content)
            row['height'], row['width'] = image.shape[:2]
            with self._timed('detect'):
                faces = self._detector.detect(image, max_size=self._job.max_size)
            row['boxes'], row['scores'] = faces.bboxes.tolist(), faces.scores.tolist()
        except Exception as error:  # one picture must not stop a hundred million
            row['error'] = f'{type(error).__name__}: {error}'
        return row

    def _write_mark(self, mark: str, lines: list[str]) -> None:
        self._store.write(mark, '\n'.join(lines).encode())

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - start


def peak_memory() -> int:
    """Return the most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
