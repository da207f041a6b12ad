"""Where pictures come from: folders, lists, tar shards, local and remote."""

import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ..detector.images import ImageError, open_file
from ..detector.sources import IMAGE_SUFFIXES, Skipped

#: Of a picture; a file that is larger is not read.
MAX_BYTES = 2**28
TAR_SUFFIXES = ('.tar', '.tar.gz', '.tgz')
# A list may come from anywhere: of fsspec's protocols, these run and unpack nothing.
_REMOTE = ('s3', 's3a', 'gs', 'gcs', 'abfs', 'az', 'hdfs', 'http', 'https')

# What no other try mends. Of compressed data tarfile makes its own errors.
_LASTING = (
    *(tarfile.TarError, EOFError, zlib.error),
    *(FileNotFoundError, PermissionError, IsADirectoryError),
)


class LostShardError(OSError):
    """A shard that could not be read to its end; another try may do."""


def find_paths(inputs: str, out: str, column: str, skipped: Skipped) -> Iterator[str]:
    """Yield what is to be listed: pictures, or the tar shards of a pattern.

    Args:
        inputs: A folder, searched recursively without hidden files and links to
            folders; or a file or a pattern that ends in .parquet (lists of paths) or in
            one of :data:`TAR_SUFFIXES`. Local or a URL. A file of that very name is no
            pattern.
        out: Folder of the results, which is left out.
        column: Name of the column with the paths.
        skipped: Gets what is skipped in folders.

    Raises:
        FileNotFoundError: If there is no such thing.
        ValueError: If a list has no such column, or a row without a path.
    """
    fs, root = fsspec.url_to_fs(inputs)
    if not inputs.endswith(('.parquet', *TAR_SUFFIXES)):
        if not fs.isdir(root):
            raise FileNotFoundError(
                f'{inputs} is no folder, and does not end in .parquet or .tar'
            )
        yield from _walk(fs, root, fsspec.url_to_fs(out)[1], skipped)
        return
    paths = [root] if fs.isfile(root) else sorted(fs.glob(root))
    if not paths:
        raise FileNotFoundError(f'{inputs}: there is no such file, or none can be read')
    for path in paths:
        if inputs.endswith(TAR_SUFFIXES):
            yield _full_name(fs, path)
        else:
            yield from _read_list(fs, path, column)


def picture_content(path: str, folder: str) -> bytes:
    """Read the file of a picture.

    Args:
        path: A local path, or a URL of a protocol that only reads.
        folder: Where relative paths start.

    Raises:
        OSError: If it cannot be read.
        ImageError: If it is no regular file, or too large.
        ValueError: If the protocol is another.
    """
    protocol, is_remote, _ = path.partition('://')
    if is_remote and protocol not in _REMOTE:
        raise ValueError(f'{protocol}:// is not read; only {", ".join(_REMOTE)}')
    if is_remote:  # no fsspec.open, which would follow chains of '::'
        content = fsspec.filesystem(protocol).cat_file(path, end=MAX_BYTES + 1)
    else:
        with open_file(os.path.join(folder, path)) as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ImageError(f'more than {MAX_BYTES} bytes are no picture')
    return content


def as_utf8(name: str) -> str:
    """Write the bytes of a name that are not UTF-8, which Parquet wants, as escapes."""
    return name.encode(errors='backslashreplace').decode()


def tar_contents(shard: str) -> Iterator[tuple[str, bytes | Exception]]:
    """Yield name and content of each picture in a tar shard, read as a stream.

    A name is a URL for fsspec, ``tar://MEMBER::SHARD``. What cannot be read comes as an
    exception: a member, or under the name of the shard, the rest of it if that is
    damaged, missing or forbidden.

    Raises:
        LostShardError: If anything else is wrong, such as the network.
    """
    number = 0
    try:
        with fsspec.open(shard, 'rb') as file, tarfile.open(None, 'r|*', file) as tar:
            for member in tar:
                if not member.name.lower().endswith(IMAGE_SUFFIXES):
                    continue
                number += 1
                name = f'tar://{as_utf8(member.name)}::{shard}'
                if not member.isfile() or member.size > MAX_BYTES:
                    yield name, ImageError('is no file, or too large for a picture')
                else:
                    yield name, tar.extractfile(member).read()
        if not number:
            yield shard, ImageError('holds no picture')
    except _LASTING as error:
        yield shard, ImageError(f'is damaged after {number} pictures ({error})')
    except OSError as error:
        raise LostShardError(f'{shard}, after {number} pictures: {error}') from error


def _walk(fs: Any, folder: str, out: str, skipped: Skipped) -> Iterator[str]:
    try:
        entries = sorted(fs.ls(folder, detail=True), key=lambda entry: entry['name'])
    except OSError as error:
        skipped.unreadable.append(f'{folder}: {error.strerror or error}')
        return
    for entry in entries:
        path = entry['name'].rstrip('/')
        if posixpath.basename(path).startswith('.') or path in (folder, out):
            continue
        if entry['type'] == 'directory':
            yield from _walk(fs, path, out, skipped)
        elif path.lower().endswith(IMAGE_SUFFIXES):
            yield _full_name(fs, path)
        else:
            skipped.add_file(path)


def _read_list(fs: Any, path: str, column: str) -> Iterator[str]:
    with fs.open(path, 'rb') as file:
        try:
            table = pq.ParquetFile(file)
            for batch in table.iter_batches(2**14, columns=[column]):
                values = batch.column(0).cast(pa.string()).to_pylist()
                if not all(values):
                    raise ValueError(f'{path} has a row without a path')
                yield from values
        except (pa.ArrowInvalid, KeyError, IndexError) as error:
            raise ValueError(
                f'{path} cannot be read as a list with a column {column!r}: {error}'
            ) from error


def _full_name(fs: Any, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)
