"""The shell scripts, as far as they go without installing anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == 'win32':
    pytest.skip('the scripts are for bash', allow_module_level=True)


def _bash(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ['bash', *arguments],
        env={**os.environ, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )


def test_setup_help(repo_root: Path) -> None:
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
def test_setup_refuses(repo_root: Path, arguments: list[str], message: str) -> None:
    result = _bash(repo_root / 'tools/setup.sh', *arguments)
    assert result.returncode == 2
    assert message in result.stdout


def test_setup_names_the_python_it_cannot_use(repo_root: Path, tmp_path: Path) -> None:
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


def test_setup_says_what_failed_and_what_to_do(repo_root: Path, tmp_path: Path) -> None:
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


@pytest.fixture
def clone_with_fake_tools(repo_root: Path, tmp_path: Path) -> Path:
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


def _run_tests(
    clone: Path, script: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    defaults = dict(FAILING='nothing', USER_ID='0', APT_STATUS='0', MMDET_SRN_VENV='')
    path = str(clone / 'bin')
    return _bash(clone / script, *arguments, **{**defaults, **variables}, PATH=path)


@pytest.mark.parametrize('missing', ['chromium', 'chromedriver'])
@pytest.mark.parametrize(
    ('user', 'status', 'said'),
    [('0', '0', 'done'), ('0', '1', 'will be skipped'), ('1000', '0', '')],
)
def test_only_ci_installs_a_browser(
    clone_with_fake_tools: Path, missing: str, user: str, status: str, said: str
) -> None:
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
def test_run_tests_ends_with_pytests_summary(
    clone_with_fake_tools: Path, script: str
) -> None:
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
def test_run_tests_fails_with_its_parts(
    clone_with_fake_tools: Path, script: str, failing: str, status: str
) -> None:
    result = _run_tests(clone_with_fake_tools, script, FAILING=failing, STATUS=status)
    assert result.returncode == int(status)
