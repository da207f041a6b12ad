"""Names for output files: never those of an input, never one twice."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath


class OutputNames:
    """Gives out paths in a folder.

    Files of earlier runs are replaced, by design: the same inputs give the same names.

    Args:
        folder: The folder.
        taken: Files that must not be written to, such as the inputs. Defaults to none.
    """

    def __init__(self, folder: Path, taken: Iterable[str | Path] = ()) -> None:
        self.folder = folder
        self._taken = {os.path.realpath(path) for path in taken}

    def claim(self, name: PurePath, ending: str) -> Path:
        """Gives out the path ``folder/<name><ending>``, or ``<name>_2<ending>``, ...

        Args:
            name: Relative path without suffix; parts ``..`` are left out.
            ending: What follows, such as '_faces.jpg'.

        Returns:
            A path that was not given out before.
        """
        parts = [part for part in name.parts if part not in ('..', name.anchor)]
        stem, number = self.folder.joinpath(*parts), 1
        while True:
            suffix = '' if number == 1 else f'_{number}'
            path = stem.with_name(f'{stem.name}{suffix}{ending}')
            # Unlike Path.resolve, not stopped by a link that leads to itself.
            if (place := os.path.realpath(path)) not in self._taken:
                self._taken.add(place)
                return path
            number += 1
