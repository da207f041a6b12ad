#!/usr/bin/env bash
# Checks open-mmlab's mim (openmim) together with open-mmlab's own stack: sets that
# stack up in .venv-openmmlab if needed (minutes, the first time) and really runs
# mim train, test, run and search there, from an editable installation and from a
# wheel. They are the cells of tests/test_install, which the test-suite runs with
# onedl-mim. Arguments go to pytest.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=${MMDET_SRN_VENV_OPENMMLAB:-$PWD/.venv-openmmlab}

MMDET_SRN_VENV=$venv bash tools/setup.sh --stack openmmlab

"$venv/bin/python" -I - <<'PY'
from importlib import metadata

for name in ('openmim', 'mmengine', 'mmcv', 'mmdet', 'torch', 'setuptools'):
    print(f'   {name} {metadata.version(name)}')
PY
exec "$venv/bin/python" -m pytest -v tests/test_install "$@"
