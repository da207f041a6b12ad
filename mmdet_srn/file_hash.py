"""Which file is it?"""

import hashlib
from os import PathLike


def hash_files(*paths: str | PathLike[str]) -> str:
    """Return the SHA-256 of the contents of files, one after the other, in hex."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, 'rb') as file:
            while part := file.read(2**20):
                digest.update(part)
    return digest.hexdigest()
