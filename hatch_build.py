"""Puts configs, scripts and model index where both mims look for them.

mim takes a package's root folder and wants ``.mim/configs``, ``.mim/tools`` and
``.mim/model-index.yml`` (or the same without ``.mim/``) below it. Which folder is
the root depends on mim and on the installation:

- wheel: onedl-mim takes the folder of the first file in RECORD, which is
  mmdet_srn-VERSION.dist-info; openmim takes site-packages/mmdet_srn, which it gets
  for the name mmdet-srn from the first line of top_level.txt. So a wheel carries the
  files in both folders, and a top_level.txt.
- editable: onedl-mim takes the repository, from direct_url.json. openmim joins
  site-packages and the first line of top_level.txt, so that line is the absolute
  path of the repository, and the join is that path. A copy in site-packages would
  go stale; and with the virtual environment inside the repository mim would find
  each config twice and refuse.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Shell scripts work on a clone and stay there.
MIM_FILES = ('model-index.yml', 'configs/**/*.py', 'tools/**/*.py')


class MimBuildHook(BuildHookInterface):
    """Add the files that mim reads to a wheel."""

    _scratch: tempfile.TemporaryDirectory | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Names the files to add; hatchling calls it before a build.

        Args:
            version (str): 'standard' or 'editable'.
            build_data (dict[str, Any]): What hatchling will build, changed here.

        Raises:
            FileNotFoundError: If the tree has nothing for one of ``MIM_FILES``.
        """
        package = self.metadata.core.name.replace('-', '_')
        dist_info = f'{package}-{self.metadata.version}.dist-info'
        self._scratch = tempfile.TemporaryDirectory()
        scratch = Path(self._scratch.name)
        top_level = scratch / 'top_level.txt'
        target = f'{dist_info}/{top_level.name}'
        if version == 'editable':
            top_level.write_text(f'{self.root}\n{package}\n', encoding='utf-8')
            build_data['force_include_editable'] = {str(top_level): target}
            return
        top_level.write_text(f'{package}\n', encoding='utf-8')
        build_data['force_include'][str(top_level)] = target

        root = Path(self.root)
        for pattern in MIM_FILES:
            files = sorted(root.glob(pattern))
            if not files:
                raise FileNotFoundError(f'no {pattern} in {root}')
            for file in files:
                relative = file.relative_to(root)
                # hatchling maps each source to one target: the second target
                # needs a second source.
                copy = scratch / relative
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
                build_data['force_include'] |= {
                    str(file): f'{package}/.mim/{relative.as_posix()}',
                    str(copy): f'{dist_info}/.mim/{relative.as_posix()}',
                }

    def finalize(
        self, version: str, build_data: dict[str, Any], artifact_path: str
    ) -> None:
        """Remove what the build needed; hatchling calls it after a build."""
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
