"""The packages below mmdet_srn: are they there, and complete?

MMDetection comes in two lines that share their import names (``mmcv``,
``mmengine``, ``mmdet``): ``onedl-*``, which is maintained, and open-mmlab's own.
Neither can be a hard dependency of ours, and pip is content with an mmcv that
has no compiled operators, so the check is made here, at import.
"""

import importlib
import re
from importlib import metadata

#: Import name -> oldest version that was tested, of either line.
MINIMUM_VERSIONS = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0'}

# Distribution names of mmengine, mmcv and mmdet in the two lines.
_ONEDL = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection')
_OPENMMLAB = ('mmengine', 'mmcv', 'mmcv-lite', 'mmdet')


def check_stack() -> None:
    """Checks that mmengine, mmcv with its operators, and mmdet can be used.

    It imports nothing that mmdet_srn would not import anyway.

    Raises:
        ImportError: If one of them is missing, cannot be imported or is older
            than :data:`MINIMUM_VERSIONS`, or if mmcv has no compiled operators.
            The message names what is wrong and the commands that mend it.
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


def uses_openmmlab() -> bool:
    """Whether the stack is open-mmlab's own, by the names of what is installed."""
    return not _any_installed(_ONEDL) and _any_installed(_OPENMMLAB)


def release(version: str) -> tuple[int, ...]:
    """The numbers a version begins with.

    Args:
        version (str): A version, such as '2.13.0+cpu' or '2.0.0rc4'.

    Returns:
        tuple[int, ...]: Here (2, 13, 0) and (2, 0, 0).
    """
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
