#!/usr/bin/env bash
# Sets up everything that mmdet_srn needs in a virtual environment.
set -Eeuo pipefail

usage() {
  cat <<'TEXT'
Usage: bash tools/setup.sh [--stack onedl|openmmlab] [-h]

Makes a virtual environment in the clone and installs torch (if it is missing),
mmcv with its operators, the rest of the OpenMMLab stack, and mmdet_srn itself as an
editable installation with its development tools. mmcv's wheel comes from the user's
cache, else ready-made from the stack's index if that has one for this Python and
torch, else it is compiled: about six of the seven minutes that the first run takes on
two cores. It is kept in the cache. A run that finds everything in place takes seconds.

  --stack onedl      the maintained line, in .venv (default)
  --stack openmmlab  open-mmlab's own line of 2024, in .venv-openmmlab
  -h, --help         this text

Environment variables:
  MMDET_SRN_VENV     the virtual environment to make or use
  MMDET_SRN_PYTHON   the Python to make it with (3.10 to 3.13)
  MMDET_SRN_TORCH    what pip installs if torch is missing, options allowed
                     (default: torch==2.13.0)
  MMDET_SRN_MMCV_WHEELS  where to look for a ready wheel of mmcv instead: a folder or
                     an address, as for pip's --find-links; none: do not look
  MAX_JOBS           compiler processes (default: by cores and free memory)
  XDG_CACHE_HOME     mmcv's wheels are kept in mmdet_srn/ below it (default: ~/.cache)
TEXT
}

# ---------------------------------------------------------------- what is wanted
stack=onedl
while [ $# -gt 0 ]; do
  case $1 in
    --stack)
      stack=${2:-}
      shift $(($# > 1 ? 2 : 1))
      ;;
    --stack=*)
      stack=${1#*=}
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      printf 'setup.sh: unknown argument: %s\n\n' "$1" >&2
      usage >&2
      exit 2
      ;;
  esac
done

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The versions that were tested together. pyproject.toml has lower bounds only, so
# that a user can go on from here; a set-up should give the same to everybody.
case $stack in
  onedl)
    mmcv_name=onedl-mmcv
    mmcv_version=2.3.6
    other_mmcv=mmcv
    # What `mim install` adds to pip's --find-links, for the torch that is installed.
    index='https://mmwheels.onedl.ai/{device}-torch{major}{minor}0/simple/onedl-mmcv/index.html'
    pins=(onedl-mmengine==0.10.12 onedl-mmdetection==3.5.1 onedl-mim==0.5.1)
    venv=$repo/.venv
    ;;
  openmmlab)
    mmcv_name=mmcv
    mmcv_version=2.1.0
    other_mmcv=onedl-mmcv
    index='https://download.openmmlab.com/mmcv/dist/{device}/torch{major}.{minor}.0/index.html'
    pins=(mmengine==0.10.7 mmdet==3.3.0 openmim==0.3.9)
    venv=$repo/.venv-openmmlab
    ;;
  *)
    printf 'setup.sh: --stack is onedl or openmmlab, not "%s"\n' "$stack" >&2
    exit 2
    ;;
esac
pins+=(ruff==0.17.6) # another one may format otherwise
venv=${MMDET_SRN_VENV:-$venv}
[[ $venv = /* ]] || venv=$PWD/$venv
python=$venv/bin/python
torch_spec=${MMDET_SRN_TORCH:-torch==2.13.0}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mmdet_srn
log=$venv/setup.log
# What is installed must not depend on the caller's own packages.
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1

# --------------------------------------------------------------- how it is told
step='looking at the environment'
hint=''
scratch=''
child=''
logged_failure=''

fail() { # MESSAGE: says it and stops
  trap - ERR
  printf '\nsetup.sh failed while %s:\n  %s\n' "$step" "$1" >&2
  exit 1
}

on_error() {
  local status=$?
  trap - ERR
  printf '\nsetup.sh failed while %s (exit status %d).\n' "$step" "$status" >&2
  if [ -n "$logged_failure" ]; then
    printf 'The last lines of %s:\n' "$log" >&2
    tail -n 15 "$log" | sed 's/^/  | /' >&2
  fi
  [ -z "$hint" ] || printf 'What to do: %s\n' "$hint" >&2
  printf 'Then run this script again: it goes on where it stopped.\n' >&2
  exit "$status"
}

on_exit() {
  # The child has a process group of its own: compilers go with it.
  [ -z "$child" ] || kill -- "-$child" 2>/dev/null || true
  [ -z "$scratch" ] || rm -rf "$scratch"
}

trap on_error ERR
trap on_exit EXIT
trap 'printf "\nsetup.sh was interrupted while %s.\n" "$step" >&2; exit 130' INT
trap 'exit 143' TERM HUP

begin() { # WHAT HINT
  step=$1
  hint=$2
  step_start=$SECONDS
  printf -- '-- %s\n' "$step"
}

end() { # [NOTE]
  printf '   %s (%d s)\n' "${1:-done}" $((SECONDS - step_start))
}

# Runs a command into the log, for at most $time_limit seconds if that is set, and
# shows a sign of life every 15 seconds, with ninja's count of compiled files where
# there is one.
quietly() {
  local status=0 next=15 start=$SECONDS log_start count
  log_start=$(($(wc -c <"$log") + 1))
  printf '\n$ %s\n' "$*" >>"$log"
  set -m
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.5
    if ((SECONDS - start >= ${time_limit:-999999})); then
      kill -- "-$child" 2>/dev/null || true
    fi
    if ((SECONDS - start >= next)); then
      next=$((next + 15))
      count=$(tail -c "+$log_start" "$log" | tr -d ' ' |
        sed -n 's|^\[\([0-9]*/[0-9]*\)\].*|, file \1|p' | tail -n 1)
      printf '   ... %d s%s\n' $((SECONDS - start)) "$count"
    fi
  done
  wait "$child" || status=$?
  child=''
  [ "$status" -eq 0 ] || logged_failure=yes
  return "$status"
}

# ------------------------------------------------------------------- the checks
python_in_range() { # PYTHON
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
    >/dev/null 2>&1
}

find_python() {
  local candidates=(python3 python3.13 python3.12 python3.11 python3.10)
  [ -z "${MMDET_SRN_PYTHON:-}" ] || candidates=("$MMDET_SRN_PYTHON")
  for base_python in "${candidates[@]}"; do
    ! python_in_range "$base_python" || return 0
  done
  [ -z "${MMDET_SRN_PYTHON:-}" ] ||
    fail "MMDET_SRN_PYTHON=$MMDET_SRN_PYTHON is no Python from 3.10 to 3.13."
  fail 'no Python from 3.10 to 3.13 found. Install one, or name it in MMDET_SRN_PYTHON.'
}

# The state in which nothing is left to do, as one word; any change to the files
# that decide on it, or to where they are, changes the word.
wanted_state() {
  {
    cat "$repo/pyproject.toml" "$repo/hatch_build.py" "$repo/mmdet_srn/version.py" \
      "$repo/tools/setup.sh"
    printf '%s\n' "$stack" "$repo"
  } | cksum
}

everything_in_place() {
  [ -f "$venv/.mmdet_srn_state" ] &&
    [ "$(wanted_state)" = "$(cat "$venv/.mmdet_srn_state")" ] &&
    "$python" -I -W ignore -c 'import mmdet_srn, pytest, ruff' >>"$log" 2>&1
}

operators_work() { # FOLDER that holds mmcv/
  "$python" -I -W ignore - "$1" >>"$log" 2>&1 <<'PY'
import importlib.util, sys
from pathlib import Path

import torch  # the operators link against it

library, = Path(sys.argv[1], 'mmcv').glob('_ext.*')
# Without `import mmcv`: its other requirements may not be there yet.
spec = importlib.util.spec_from_file_location('_ext', library)
operators = importlib.util.module_from_spec(spec)
spec.loader.exec_module(operators)
operators.nms(torch.zeros(1, 4), torch.zeros(1), iou_threshold=0.5, offset=0)
PY
}

mmcv_in_place() {
  local site
  site=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
  [ -d "$site/${mmcv_name/-/_}-$mmcv_version.dist-info" ] && operators_work "$site"
}

# Sets $wheel to the one in FOLDER, if its operators work.
take_wheel() { # FOLDER
  local unpacked=$venv/.mmdet_srn_unpacked of_use=''
  wheel=$(find "$1" -maxdepth 1 -name '*.whl' | head -n 1)
  [ -n "$wheel" ] || return 1
  # All of it: the operators may link to libraries that the wheel brings along.
  "$python" -I -m zipfile -e "$wheel" "$unpacked" >>"$log" 2>&1 &&
    operators_work "$unpacked" && of_use=yes
  rm -rf "$unpacked"
  [ -z "$of_use" ] || return 0
  printf '   %s is of no use (no operators that load and run)\n' "$wheel"
  rm -f "$wheel"
  return 1
}

# Prints the folder of the cache for the wheel of this mmcv, torch and Python, and in a
# second line the address where the stack has ready ones.
wheel_places() {
  "$python" -I -W ignore - "$cache" "$mmcv_name" "$mmcv_version" "$index" <<'PY'
import os, sys, sysconfig
from pathlib import Path

import torch

cache, name, version, index = sys.argv[1:]
# mmcv's setup.py decides by the same two whether to build CUDA operators.
cuda = torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
key = (
    f'{name}-{version}',
    f'torch-{torch.__version__}',
    sys.implementation.cache_tag,
    sysconfig.get_platform(),
    'cuda' if cuda else 'cpu',
)
print(Path(cache, 'wheels', '_'.join(key)))
major, minor = torch.__version__.split('.')[:2]
device = 'cu' + torch.version.cuda.replace('.', '') if torch.version.cuda else 'cpu'
print(index.format(device=device, major=major, minor=minor))
PY
}

# As many compilers as cores, but each may take 2 GB.
compiler_jobs() {
  local cores available
  cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
  available=$(awk '/^MemAvailable:/ { print int($2 / 2000000) }' /proc/meminfo \
    2>/dev/null || true)
  [ -n "$available" ] || available=$cores
  ((available > 0)) || available=1
  echo $((cores < available ? cores : available))
}

download_wheel() { # no sdist, nothing from PyPI, and an index out of reach costs seconds
  [ "$index" != none ] || return 1
  local start=$SECONDS
  printf '   looking for a ready wheel: %s\n' "$index"
  time_limit=60 quietly "$python" -m pip download --no-index --find-links "$index" \
    --only-binary :all: --no-deps --no-cache-dir --retries 0 --timeout 5 \
    --dest "$scratch/ready" "$mmcv_name==$mmcv_version" && return
  logged_failure=''
  printf '   none there for this Python and torch, or out of reach (%d s)\n' \
    $((SECONDS - start))
  return 1
}

compile_wheel() {
  local without=''
  [ "$stack" != onedl ] || without="
  Without one: $mmcv_name $mmcv_version is published ready-made for Python 3.12 with torch 2.9
  and 2.10, and for Python 3.10 with torch 2.4 and 2.8. Remove $venv, then:
  MMDET_SRN_PYTHON=python3.12 MMDET_SRN_TORCH='torch==2.10.0 --index-url https://download.pytorch.org/whl/cpu' bash tools/setup.sh"
  command -v "${CXX:-c++}" >/dev/null ||
    fail "there is no C++ compiler. On Debian or Ubuntu: apt-get install build-essential$without"
  [ -f "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
    fail "Python's headers are missing. On Debian or Ubuntu: apt-get install python3-dev"
  export MAX_JOBS=${MAX_JOBS:-$(compiler_jobs)}
  printf '   compiling with %s processes, about 6 minutes on two cores\n' "$MAX_JOBS"
  # No isolation: it hides torch, and mmcv would leave its operators out silently.
  # No cache: pip would keep and reuse such a wheel. -g0 halves time and memory.
  CFLAGS="${CFLAGS:--O2 -g0}" quietly env "PATH=$venv/bin:$PATH" "$python" -m pip \
    wheel -v --no-build-isolation --no-cache-dir --no-deps --no-binary "$mmcv_name" \
    --wheel-dir "$scratch" "$mmcv_name==$mmcv_version"
}

# -------------------------------------------------------------------- the steps
total_start=$SECONDS
printf 'mmdet_srn: the %s stack in %s\n' "$stack" "$venv"
mkdir -p "$venv"
if command -v flock >/dev/null; then
  exec 9>"$venv/.setup.lock"
  flock -n 9 || {
    printf '   another set-up of this environment is running, waiting for it\n'
    flock 9
  }
fi
touch "$log"

if [ -x "$python" ] && everything_in_place; then
  printf '   everything is in place (%d s)\n' $((SECONDS - total_start))
  exit 0
fi
rm -f "$venv/.mmdet_srn_state"
: >"$log"

begin 'making the virtual environment' \
  "on Debian or Ubuntu: apt-get install python3-venv; else look into $log."
if [ -f "$venv/pyvenv.cfg" ] && "$python" -m pip --version >>"$log" 2>&1; then
  python_in_range "$python" || fail "$python is no Python from 3.10 to 3.13.
  Remove $venv, or name another place in MMDET_SRN_VENV."
  end "it is there: $("$python" --version)"
else
  find_python
  if [ -f "$venv/pyvenv.cfg" ]; then
    printf '   its Python does not run any more, making it anew\n'
    rm -rf "$venv"/{bin,include,lib,lib64,pyvenv.cfg}
  fi
  quietly "$base_python" -m venv "$venv"
  end "$("$python" --version)"
fi

if "$python" -I -m pip show --quiet "$other_mmcv" >>"$log" 2>&1; then
  fail "$venv holds $other_mmcv, of the other stack; both own the folder mmcv/.
  Name another place in MMDET_SRN_VENV, or remove this one."
fi

# pip solves for the whole environment each time: what is there and fits stays.
constraints=$venv/.mmdet_srn_constraints
printf '%s\n' "$mmcv_name==$mmcv_version" "${pins[@]}" >"$constraints"
pip_install() {
  quietly "$python" -m pip install --constraint "$constraints" "$@"
}

begin "installing torch" "check the network and the disk space; MMDET_SRN_TORCH names
another build or version, for example 'torch --index-url ADDRESS'."
torch_version() {
  "$python" -I -W ignore -c 'import torch; print(torch.__version__)' 2>>"$log"
}
if torch=$(torch_version); then
  end "it is there: $torch"
else
  # shellcheck disable=SC2086 # may hold options
  pip_install $torch_spec
  torch=$(torch_version)
  end "$torch"
fi
# No later step may exchange the torch that mmcv's operators link against.
printf 'torch==%s\n' "$torch" >>"$constraints"

begin 'installing the build tools' 'check the network.'
pip_install 'setuptools>=80,<82' wheel ninja packaging 'hatchling>=1.27' \
  'editables>=0.5'
end

begin "installing $mmcv_name $mmcv_version with its operators" \
  "see the compiler's first error in $log. Out of memory: set MAX_JOBS=1."
if mmcv_in_place; then
  end 'they are there'
else
  places=$(wheel_places)
  folder=${places%%$'\n'*}
  index=${MMDET_SRN_MMCV_WHEELS:-${places#*$'\n'}}
  mkdir -p "$folder"
  if take_wheel "$folder"; then
    printf '   from the cache: %s\n' "$wheel"
  else
    scratch=$(mktemp -d "$folder/build.XXXXXX")
    if download_wheel && take_wheel "$scratch/ready"; then
      way="a ready wheel from $index"
    else
      compile_wheel
      take_wheel "$scratch" || fail "what was compiled has no operators that work. See $log."
      way=compiled
    fi
    mv -f "$wheel" "$folder/"
    wheel=$folder/${wheel##*/}
    rm -rf "$scratch"
    scratch=''
    printf '   %s, kept as %s\n' "$way" "$wheel"
  fi
  quietly "$python" -m pip install --no-deps --force-reinstall "$wheel"
  mmcv_in_place || fail "$mmcv_name is installed, but its operators do not load. See $log."
  end
fi

begin "installing the $stack stack and mmdet_srn (editable)" 'check the network.'
extras=dev
[ "$stack" = openmmlab ] || extras=dev,ray,track # trackers wants NumPy 2
pip_install --no-build-isolation --editable "$repo[$stack,$extras]"
end

begin 'checking' "remove $venv and run this script again."
quietly "$python" -m pip check ||
  printf '   pip check is not content, see %s\n' "$log"
hint="read the message above."
quietly "$python" -I -W ignore -c 'import mmcv._ext, mmdet, mmdet_srn'
wanted_state >"$venv/.mmdet_srn_state"
end

printf 'All is set up (%d s). Activate it: . %s/bin/activate\n' \
  $((SECONDS - total_start)) "$venv"
