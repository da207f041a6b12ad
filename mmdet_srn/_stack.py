"""Check the packages that mmdet_srn is built on.

MMDetection comes in two lines that share their import names (``mmcv``, ``mmengine``,
``mmdet``): ``onedl-*``, which is maintained, and open-mmlab's own. So neither can be a
hard dependency, and pip accepts an mmcv without compiled operators.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import re
from importlib import metadata

#: Import name -> oldest version that was tested, of either line.
MINIMUM_VERSIONS = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0'}

# Distribution names of mmengine, mmcv and mmdet in the two lines.
_ONEDL = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection')
_OPENMMLAB = ('mmengine', 'mmcv', 'mmcv-lite', 'mmdet')


def use_mmdet() -> bool:
    """Whether mmdet is installed, working or not, and MMDET_SRN_LIGHT is not set."""
    if os.environ.get('MMDET_SRN_LIGHT', '0') != '0':
        return False
    try:
        return importlib.util.find_spec('mmdet') is not None
    except ImportError:  # of a finder that hides it
        return False


def check_stack() -> None:
    """Check that mmengine, mmcv with its operators, and mmdet can be used.

    Raises:
        ImportError: If one of them is missing, broken or older than
            :data:`MINIMUM_VERSIONS`, or mmcv has no compiled operators. The message
            names the problem and the commands that fix it.
    """
    for name in ('mmengine', 'mmcv', 'mmcv._ext', 'mmdet'):
        try:
            module = importlib.import_module(name)
        # mmdet asserts, at import, that it knows the mmcv that it finds.
        except (ImportError, AssertionError) as error:
            raise ImportError(_message(_explain(name, error), name)) from error
        if name not in MINIMUM_VERSIONS:
            continue
        version = getattr(module, '__version__', None)
        if version is None:
            # A folder that an uninstallation left behind can still be imported.
            problem = f'{name} is not installed'
            raise ImportError(_message(problem, name))
        if release(version) < release(MINIMUM_VERSIONS[name]):
            problem = f'{name} {version} is older than {MINIMUM_VERSIONS[name]}'
            raise ImportError(_message(problem, name))


def import_datasets() -> None:
    """Import mmdet's data sets without the line about OneDL that they print.

    It would stand among results on stdout.
    """
    with contextlib.redirect_stdout(io.StringIO()) as said:
        importlib.import_module('mmdet.datasets')
    for line in said.getvalue().splitlines():
        if not line.startswith('Could not import OneDL.'):
            print(line)


def uses_openmmlab() -> bool:
    """Whether the installed stack is open-mmlab's own."""
    return not _any_installed(_ONEDL) and _any_installed(_OPENMMLAB)


def release(version: str) -> tuple[int, ...]:
    """Return the numbers a version begins with: '2.0.0rc4' gives (2, 0, 0)."""
    match = re.match(r'\d+(\.\d+)*', version)
    return tuple(map(int, match[0].split('.'))) if match else ()


def _explain(name: str, error: Exception) -> str:
    missing = isinstance(error, ModuleNotFoundError) and error.name == name
    if name != 'mmcv._ext':
        if missing:
            return f'{name} is not installed'
        return f'{name} cannot be imported ({error})'
    if missing:
        return f'mmcv has no compiled operators ({error})'
    return f"mmcv's operators cannot be loaded, built for another torch? ({error})"


def _message(problem: str, name: str) -> str:
    openmmlab = uses_openmmlab()
    commands = []
    if name.startswith('mmcv'):
        if _any_installed(['mmcv-lite']):
            commands.append('pip uninstall -y mmcv-lite')
        # 2.1.0: mmdet 3.3.0, open-mmlab's last, asserts mmcv < 2.2.0.
        mmcv = 'mmcv==2.1.0' if openmmlab else 'onedl-mmcv'
        commands += [
            'pip install "setuptools>=80,<82" wheel ninja packaging',
            # Build isolation hides torch from mmcv's setup.py, which then leaves
            # the operators out without a word, and pip caches such a wheel.
            'CFLAGS="-O2 -g0" pip install --no-build-isolation --no-cache-dir '
            f'--force-reinstall --no-deps {mmcv}',
        ]
    if name != 'mmcv._ext':
        if openmmlab:
            commands.append('pip install -U mmengine "mmdet[mim]" openmim')
        else:
            commands.append(
                'pip install -U onedl-mmengine "onedl-mmdetection[mminstall]" onedl-mim'
            )
    minutes = ' (mmcv compiles for minutes)' if name.startswith('mmcv') else ''
    return (
        f'mmdet_srn cannot be used: {problem}.\n'
        'In a clone of mmdet_srn, this sets everything up:\n'
        '    bash tools/setup.sh\n'
        f'and where torch is installed already, this mends it{minutes}:\n'
        '    ' + ' &&\n    '.join(commands)
    )


def _any_installed(distributions: tuple[str, ...] | list[str]) -> bool:
    for distribution in distributions:
        try:
            metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
        return True
    return False
