"""The shell scripts, as far as they go without installing anything."""

import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest

from mmdet_srn._stack import uses_openmmlab
from tests.test_install.environment import Environment

if sys.platform == 'win32':
    pytest.skip('the scripts are for bash', allow_module_level=True)


def _bash(*arguments, **variables):
    return subprocess.run(
        ['bash', *arguments],
        env={**os.environ, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )


def test_setup_help(repo_root):
    result = _bash(repo_root / 'tools/setup.sh', '-h')
    assert result.returncode == 0
    assert '--stack openmmlab' in result.stdout
    assert 'MMDET_SRN_VENV' in result.stdout


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--stack', 'mmlab'], '--stack is onedl or openmmlab, not "mmlab"'),
        (['--stack'], '--stack is onedl or openmmlab, not ""'),
        (['--fast'], 'unknown argument: --fast'),
    ],
)
def test_setup_refuses(repo_root, arguments, message):
    result = _bash(repo_root / 'tools/setup.sh', *arguments)
    assert result.returncode == 2
    assert message in result.stdout


def test_setup_names_the_python_it_cannot_use(repo_root, tmp_path):
    old = tmp_path / 'python3.9'
    # Answers as a Python out of range does.
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    result = _bash(
        repo_root / 'tools/setup.sh',
        MMDET_SRN_VENV=str(tmp_path / 'env'),
        MMDET_SRN_PYTHON=str(old),
    )
    assert result.returncode == 1
    assert 'failed while making the virtual environment' in result.stdout
    assert f'MMDET_SRN_PYTHON={old} is no Python from 3.10 to 3.13' in result.stdout


def test_setup_says_what_failed_and_what_to_do(repo_root, tmp_path):
    result = _bash(
        repo_root / 'tools/setup.sh',
        MMDET_SRN_VENV=str(tmp_path / 'env'),
        MMDET_SRN_PYTHON=sys.executable,
        MMDET_SRN_TORCH='--no-index --find-links=. torch==0.0.0',
        PIP_CONFIG_FILE=os.devnull,  # a machine's constraints would fail otherwise
    )
    assert result.returncode == 1
    assert 'failed while installing torch' in result.stdout
    assert 'No matching distribution found for torch==0.0.0' in result.stdout
    assert 'What to do: ' in result.stdout
    assert str(tmp_path / 'env' / 'setup.log') in result.stdout


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """An environment that has all but mmcv, as far as the set-up sees."""
    return Environment(tmp_path_factory.mktemp('setup') / 'env')


@pytest.fixture(scope='module')
def environment_without_torch(tmp_path_factory):
    """The same with a torch that imports at once, where no operators are loaded."""
    made = Environment(tmp_path_factory.mktemp('setup') / 'env')
    (made.site_packages / 'torch.py').write_text(
        'from types import SimpleNamespace\n'
        "__version__ = '2.13.0'\n"
        'cuda = SimpleNamespace(is_available=lambda: False)\n'
        'version = SimpleNamespace(cuda=None)\n'
    )
    return made


@pytest.fixture(scope='module')
def mmcv_wheel(tmp_path_factory):
    """The wheel that the installed mmcv came from, put together again."""
    mmcv = metadata.distribution('mmcv' if uses_openmmlab() else 'onedl-mmcv')
    tag = re.search(r'^Tag: (.+)$', mmcv.read_text('WHEEL') or '', re.MULTILINE)
    assert tag
    name = mmcv.metadata['Name'].replace('-', '_')
    wheel = tmp_path_factory.mktemp('wheels') / f'{name}-{mmcv.version}-{tag[1]}.whl'
    with zipfile.ZipFile(wheel, 'w') as file:
        for path in mmcv.files or ():
            if path.parts[0] == 'mmcv' or path.name in ('METADATA', 'RECORD', 'WHEEL'):
                file.write(path.locate(), path)
    return wheel


def _setup_without_compiler(repo_root, environment, cache, wheels):
    """Runs the set-up's script alone, without a clone, and returns what it says.

    So it stops at the latest where it would install the clone. Nothing is compiled, and
    nothing comes from an index of packages.
    """
    script = cache / 'tools/setup.sh'
    script.parent.mkdir()
    shutil.copy2(repo_root / 'tools/setup.sh', script)
    result = _bash(
        script,
        '--stack',
        'openmmlab' if uses_openmmlab() else 'onedl',
        MMDET_SRN_VENV=str(environment.folder),
        MMDET_SRN_MMCV_WHEELS=wheels,
        XDG_CACHE_HOME=str(cache),
        CXX='no-such-compiler',
        PIP_NO_INDEX='1',
        PIP_NO_COMPILE='0',  # on; pip turns it round. mmcv has hundreds of files
        PIP_FIND_LINKS='',
        PIP_CONFIG_FILE=os.devnull,
    )
    assert result.returncode == 1
    return result.stdout


@pytest.fixture(params=['without operators', 'mute', 'none'])
def useless_index(request, mmcv_wheel, tmp_path):
    """Where there is no wheel of use, and what the set-up says of it."""
    if request.param == 'without operators':
        wheel = tmp_path / 'wheels' / mmcv_wheel.name
        wheel.parent.mkdir()
        with zipfile.ZipFile(mmcv_wheel) as old, zipfile.ZipFile(wheel, 'w') as new:
            for name in old.namelist():
                if '_ext.' not in name:
                    new.writestr(name, old.read(name))
        yield str(wheel.parent), f'{wheel.name} is of no use'
    elif request.param == 'mute':
        with socket.create_server(('127.0.0.1', 0)) as server:  # never answers
            yield f'http://127.0.0.1:{server.getsockname()[1]}', 'out of reach'
    else:
        yield 'none', ''


def test_setup_reaches_the_compiler_without_a_ready_wheel(
    repo_root, environment_without_torch, useless_index, tmp_path
):
    index, message = useless_index
    said = _setup_without_compiler(
        repo_root, environment_without_torch, tmp_path, index
    )
    assert message in said
    assert (f'looking for a ready wheel: {index}' in said) == (index != 'none')
    assert 'there is no C++ compiler' in said
    assert uses_openmmlab() or 'is published ready-made for Python 3.12' in said
    assert not list(tmp_path.glob('mmdet_srn/wheels/*/*'))
    for seconds in re.findall(r'out of reach \((\d+) s\)', said):
        assert int(seconds) < 30


def test_setup_takes_a_ready_wheel(repo_root, environment, mmcv_wheel, tmp_path):
    index = str(mmcv_wheel.parent)
    said = _setup_without_compiler(repo_root, environment, tmp_path, index)
    (kept,) = tmp_path.glob('mmdet_srn/wheels/*/*')
    assert kept.name == mmcv_wheel.name
    assert f'a ready wheel from {index}, kept as {kept}' in said
    assert 'compil' not in said
    operators = environment.run('-c', 'import mmcv._ext; print(mmcv._ext.__file__)')
    assert str(environment.site_packages) in operators.stdout
    assert mmcv_wheel.exists()


@pytest.fixture
def clone_with_fake_tools(repo_root, tmp_path):
    """The two scripts of the test run, among tools that only say what they do.

    Nothing but these is on the PATH that they are run with, whatever the machine has.
    """
    for name in ('tools/run_tests.sh', '.ci/run'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(repo_root / name, tmp_path / name)
    (tmp_path / 'tools/setup.sh').write_text('echo set up\n')
    python = tmp_path / '.venv/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\n'
        'echo "run: $*"\n'
        'case "$*" in *"$FAILING"*) exit "$STATUS";; esac\n'
        'case "$*" in *pytest*) echo "== 1 passed ==";; esac\n'
    )
    python.chmod(0o755)
    tools = tmp_path / 'bin'
    tools.mkdir()
    for name in ('bash', 'cat', 'dirname', 'mktemp', 'rm', 'sed', 'tail', 'timeout'):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    for name, line in (
        ('id', 'echo "$USER_ID"'),
        ('apt-get', 'echo "$*" >>"${0%/*}/asked"; exit "$APT_STATUS"'),
        *((name, 'exit 1') for name in ('chromium', 'chromedriver')),
    ):
        (tools / name).write_text(f'#!/bin/sh\n{line}\n')
        (tools / name).chmod(0o755)
    return tmp_path


def _run_tests(clone, script, *arguments, **variables):
    defaults = dict(FAILING='nothing', USER_ID='0', APT_STATUS='0', MMDET_SRN_VENV='')
    path = str(clone / 'bin')
    return _bash(clone / script, *arguments, **{**defaults, **variables}, PATH=path)


@pytest.mark.parametrize('missing', ['chromium', 'chromedriver'])
@pytest.mark.parametrize(
    ('user', 'status', 'said'),
    [('0', '0', 'done'), ('0', '1', 'will be skipped'), ('1000', '0', '')],
)
def test_only_ci_installs_a_browser(clone_with_fake_tools, missing, user, status, said):
    """As root; where it cannot, the tests run all the same."""
    (clone_with_fake_tools / 'bin' / missing).unlink()
    asked = clone_with_fake_tools / 'bin' / 'asked'
    variables = dict(USER_ID=user, APT_STATUS=status)
    result = _run_tests(clone_with_fake_tools, 'tools/run_tests.sh', **variables)
    assert result.returncode == 0
    assert not asked.exists()

    result = _run_tests(clone_with_fake_tools, '.ci/run', **variables)
    assert result.returncode == 0
    assert result.stdout.endswith('== 1 passed ==\n')
    assert said in result.stdout
    assert asked.exists() == (user == '0')


@pytest.mark.parametrize('script', ['tools/run_tests.sh', '.ci/run'])
def test_run_tests_ends_with_pytests_summary(clone_with_fake_tools, script):
    arguments = ['-k', 'neck'] if script != '.ci/run' else []
    result = _run_tests(clone_with_fake_tools, script, *arguments)
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert lines[0] == 'set up'
    ran = [line for line in lines if line.startswith('run: ')]
    assert ran == [
        'run: -m ruff check .',
        'run: -m ruff format --check .',
        ' '.join(
            ['run: -m pytest -n 2 --dist loadfile --no-loadscope-reorder', *arguments]
        ),
    ]
    assert lines[-1] == '== 1 passed =='
    assert not (clone_with_fake_tools / 'bin' / 'asked').exists()


@pytest.mark.parametrize('script', ['tools/run_tests.sh', '.ci/run'])
@pytest.mark.parametrize(
    ('failing', 'status'), [('check', '1'), ('format', '1'), ('pytest', '5')]
)
def test_run_tests_fails_with_its_parts(clone_with_fake_tools, script, failing, status):
    result = _run_tests(clone_with_fake_tools, script, FAILING=failing, STATUS=status)
    assert result.returncode == int(status)
