"""What is in the sdist, the wheel and an editable installation."""

import re
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import mmdet_srn
from tests.test_install.environment import (
    SOURCES,
    clean_sources,
    distributions,
    editable,
    installed_wheel,
)


def _relative(root, *patterns):
    return {
        path.relative_to(root).as_posix()
        for pattern in patterns
        for path in root.glob(pattern)
    }


def test_wheel_has_mims_files_for_both_mims():
    sources, (_, wheel) = clean_sources(), distributions()
    dist_info = '-'.join(wheel.name.split('-')[:2]) + '.dist-info'
    wanted = _relative(sources, 'configs/**/*.py', 'tools/**/*.py', 'model-index.yml')
    assert {'configs/srn_r50_fpn_widerface.py', 'tools/train.py'} < wanted

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        # openmim's way to the folder for the spelling mmdet-srn
        assert archive.read(f'{dist_info}/top_level.txt') == b'mmdet_srn\n'
        for root in ('mmdet_srn', dist_info):
            prefix = f'{root}/.mim/'
            found = {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
            assert found == wanted
            for name in wanted:
                assert archive.read(prefix + name) == (sources / name).read_bytes()
        code = {n for n in names if n.endswith('.py') and '/.mim/' not in n}
        assert code == _relative(sources, 'mmdet_srn/**/*.py')
        weights = _relative(sources, 'mmdet_srn/weights/*.*')
        assert len(weights) == 5 and weights < set(names)  # .pth is in .gitignore


def test_container_gets_what_a_wheel_is_built_from(repo_root):
    text = (repo_root / 'tools/deployment/Dockerfile').read_text()
    copied = re.findall(r'^COPY (?!--)(.+) \S+$', text, re.MULTILINE)
    names = ' '.join(copied).split()
    assert sorted(names) == sorted(set(SOURCES) - {'.gitignore', 'CHANGELOG.md'})


def test_wheels_first_record_is_the_dist_info():
    site_packages = installed_wheel().site_packages
    # onedl-mim takes the folder of that file for the package's. A console script
    # (../../../bin/...) would come before it.
    (record,) = site_packages.glob('mmdet_srn-*/RECORD')
    first = record.read_text(encoding='utf-8').splitlines()[0]
    assert first.split('/')[0] == record.parent.name


def test_editable_has_no_copies():
    site_packages = editable().site_packages
    assert not list(site_packages.rglob('srn_*.py'))
    (dist_info,) = site_packages.glob('mmdet_srn-*.dist-info')
    top_level = (dist_info / 'top_level.txt').read_text(encoding='utf-8')
    # openmim: os.path.join(site_packages, first line)
    assert top_level.splitlines() == [str(clean_sources().resolve()), 'mmdet_srn']


@pytest.mark.parametrize('install', [editable, installed_wheel])
def test_import_takes_the_installed_package(install):
    """With its model."""
    environment = install()
    code = 'from mmdet_srn import weights as w; print(w.__file__, w.config_file(), '
    code += 'w.weights_file(".pth"), w.weights_file(".onnx"), sep="\\n")'
    output = environment.run('-c', code, MMDET_SRN_LIGHT='1').stdout
    root = clean_sources() if install is editable else environment.site_packages
    for line in output.splitlines()[-4:]:
        assert Path(line).is_file()
        assert root.resolve() in Path(line).resolve().parents


def test_sdist_has_what_a_packager_needs():
    sdist, _ = distributions()
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert {
        *('pyproject.toml', 'hatch_build.py', 'model-index.yml', 'LICENSE'),
        *('README.md', 'CHANGELOG.md', 'tools/setup.sh', 'PKG-INFO'),
    } <= names
    wanted = ('mmdet_srn/**/*.py', 'mmdet_srn/weights/*.*', 'configs/**/*.py')
    assert _relative(clean_sources(), *wanted) <= names


def test_requirements_have_lower_bounds_only():
    site_packages = installed_wheel().site_packages
    (dist_info,) = site_packages.glob('mmdet_srn-*.dist-info')
    installed = metadata.PathDistribution(dist_info)
    assert installed.version == mmdet_srn.__version__
    assert installed.metadata['Requires-Python'] == '<3.14,>=3.10'
    assert not installed.entry_points

    required = {}
    for text in installed.requires or []:
        requirement, _, marker = text.partition(';')
        name, bound = re.fullmatch(r'([\w-]+(?:\[\w+\])?)(\S*)', requirement).groups()
        required[name] = marker
        if name != 'setuptools':  # 82 dropped pkg_resources, which openmim imports
            assert re.fullmatch(r'>=[\d.]+', bound), text
    always = {name for name, marker in required.items() if not marker}
    assert always == {'numpy', 'opencv-python', 'pillow', 'tqdm'}  # no torch
    # Two lines that own the same import names: only ever asked for by an extra.
    assert 'onedl' in required['onedl-mmcv']
    assert 'openmmlab' in required['mmcv']
