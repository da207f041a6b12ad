#!/usr/bin/env bash
# Sets up if needed, then ruff and pytest, in two processes. Arguments go to pytest,
# whose summary is the last line: bash tools/run_tests.sh tests/test_models -k neck
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${MMDET_SRN_VENV:-$PWD/.venv}

bash tools/setup.sh

echo '-- ruff check'
"$venv/bin/python" -m ruff check .
echo '-- ruff format --check'
"$venv/bin/python" -m ruff format --check .
echo '-- pytest'
# Non-zero for failures and also where no test ran (5).
# By file, for what a file's tests share is made once; tests/conftest.py has the order.
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
