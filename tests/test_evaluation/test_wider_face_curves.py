import csv
import math

import numpy as np
import pytest
from scipy.io import savemat

from mmdet_srn.evaluation.wider_face_curves import (
    Curve,
    plot_curves,
    read_published_curves,
    truncate,
)
from mmdet_srn.evaluation.wider_face_eval import SubsetResult


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (0.9649, '0.964'),
        (0.29, '0.290'),
        (1.0, '1.000'),
        (0.0, '0.000'),
        (0.00099, '0.000'),
        (1e-7, '0.000'),
        (math.nan, 'nan'),
    ],
)
def test_truncate(value, text):
    assert truncate(value) == text


def test_published_curves_give_the_published_figures(shared_data):
    curves = read_published_curves(shared_data / 'curves')
    with (shared_data / 'curves/ap_from_curves.csv').open() as file:
        rows = {
            row['algorithm']: row
            for row in csv.DictReader(file)
            if row['split'] == 'Val' and row['source'] == 'yxlijun_S3FD'
        }
    assert sorted(curves) == ['DSFD', 'PyramidBox', 'SFD', 'SRN', 'SSH']
    for name, panels in curves.items():
        for subset, curve in panels.items():
            expected = float(rows[name][subset]) / 100
            assert curve.ap == pytest.approx(expected, abs=5.1e-5)


def _write_curve(folder, name, subset, table):
    (folder / name).mkdir(exist_ok=True)
    path = folder / name / f'wider_pr_info_{name}_{subset}_val.mat'
    savemat(path, dict(pr_cruve=table, legend_name=name))
    return path


def test_bad_folders(tmp_path):
    with pytest.raises(NotADirectoryError):
        read_published_curves(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match='wider_pr_info'):
        read_published_curves(tmp_path)
    _write_curve(tmp_path, 'A', 'easy', np.ones((3, 2)))
    with pytest.raises(FileNotFoundError, match='A_medium_val.mat'):
        read_published_curves(tmp_path)
    _write_curve(tmp_path, 'A', 'medium', np.ones((3, 3)))
    with pytest.raises(ValueError, match='A_medium_val.mat: .* two columns'):
        read_published_curves(tmp_path)


def test_plot(tmp_path):
    line = np.linspace(0, 1, 5)
    results = {
        subset: SubsetResult(ap, 7, np.full(5, ap), line)
        for subset, ap in (('easy', 0.99), ('medium', 0.5), ('hard', 0.0))
    }
    other = {subset: Curve(np.full(5, 0.75), line) for subset in results}
    figure = plot_curves('ours', results, {'other': other}, 'protocol vga')
    assert figure.get_suptitle() == 'protocol vga'
    labels = [
        [text.get_text() for text in axes.get_legend().get_texts()]
        for axes in figure.axes
    ]
    assert labels == [
        ['ours-0.990', 'other-0.750'],
        ['other-0.750', 'ours-0.500'],
        ['other-0.750', 'ours-0.000'],
    ]
    assert [axes.get_title() for axes in figure.axes] == ['Easy', 'Medium', 'Hard']
    figure.savefig(tmp_path / 'x.png')
    assert (tmp_path / 'x.png').stat().st_size > 1000
