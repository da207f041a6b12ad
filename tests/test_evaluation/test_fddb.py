import numpy as np
import pytest

from mmdet_srn.evaluation.fddb import (
    count_matches,
    evaluate_fddb,
    rate_at,
    read_ellipses,
    region_overlaps,
)
from tests.reference import face_benchmarks_reference as reference


def test_box_pixels_by_hand():
    """Both ends are included, halves go to even, the image cuts."""
    boxes = np.array([[0, 0, 3, 3], [2.5, 1.5, 1, 2], [-50, -9, 52, 10], [20, 2, 3, 3]])
    overlaps = region_overlaps(boxes, boxes, (10, 8))
    # 0..3 x 0..3; 2..4 x 2..4; 0..2 x 0..1; nothing.
    assert overlaps[0].tolist() == [1, 4 / (16 + 9 - 4), 6 / 16, 0]
    assert overlaps[3].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize('angle', [0.0, 1.3, -1.2, 0.5])
def test_ellipse_turns_from_x_to_y(angle):
    """As the equation has it, but for border pixels; its mirror image is another."""
    ellipse = np.array([40.7, 22.2, angle, 60.4, 50.0])
    y, x = np.mgrid[:100, :120]
    along = (x - 60) * np.cos(angle) + (y - 50) * np.sin(angle)
    across = (y - 50) * np.cos(angle) - (x - 60) * np.sin(angle)
    inside = (along / 40) ** 2 + (across / 22) ** 2 <= 1
    drawn = reference.draw(ellipse, (120, 100))
    exact = set(zip(*np.nonzero(inside), strict=True))
    assert exact <= drawn and reference.iou(drawn, exact) > 0.95
    rows = np.array([ellipse, ellipse * [1, 1, -1, 1, 1]])
    same, mirrored = region_overlaps(rows[:1], rows, (120, 100))[0]
    assert same == 1
    assert mirrored == 1 if angle == 0 else mirrored < 0.85


def test_matching_has_the_largest_sum():
    """Taking the best pair first would find one face less."""
    overlaps = np.array([[0.7, 0.55, 0], [0.6, 0, 0]])
    counts = count_matches(overlaps, np.array([0.9, 0.8, 0.7]))
    expected = [(0.9, 0.7, 1, 0), (0.8, 1.15, 2, 0), (0.7, 1.15, 2, 1)]
    np.testing.assert_allclose(counts, expected)


def test_low_overlap_counts_in_the_continuous_score_alone():
    counts = count_matches(np.array([[0.5], [0.0]]), np.array([3.0]))
    assert counts.tolist() == [[3, 0.5, 0, 1]]
    assert count_matches(np.zeros((2, 0)), np.zeros(0)).shape == (0, 4)
    assert count_matches(np.zeros((0, 1)), np.ones(1)).tolist() == [[1, 0, 0, 1]]


def test_curve_by_hand():
    face = np.array([[20, 10, 0, 30, 30]])
    exact = np.append(face, 0.9)[None]
    far, near = [70, 70, 9, 9, 0.9], [70, 70, 9, 9, 0.2]
    curve = evaluate_fddb(
        [(face, exact, (99, 99)), (face, np.array([far, near]), (99, 99))]
    )
    assert curve.scores.tolist() == [0.9, 0.2]
    assert curve.discrete.tolist() == curve.continuous.tolist() == [0.5, 0.5]
    assert curve.false_positives.tolist() == [1, 2]
    assert [
        rate_at(curve.discrete, curve.false_positives, n) for n in (0, 1, 2000)
    ] == [
        0,
        0.5,
        0.5,
    ]


@pytest.mark.parametrize('columns', [5, 6])
def test_as_the_slow_way(columns):
    rng = np.random.default_rng(columns)
    images = []
    for _ in range(6):
        size = tuple(rng.integers(45, 60, 2).tolist())
        faces = rng.uniform([6, 4, -1.6, 0, 0], [18, 12, 1.6, 50, 50], (3, 5))
        near = faces[rng.integers(0, 3, 5)] + rng.normal(0, 2, (5, 5))
        near[:, :2] = np.abs(near[:, :2])
        if columns == 5:
            near = np.hstack((near[:, 3:] - near[:, 1::-1], 2 * near[:, 1::-1]))
        scores = rng.integers(0, 6, (5, 1)) / 4 - 0.5
        rows = np.hstack((near, scores))
        images.append((faces[: rng.integers(1, 4)], rows[: rng.integers(0, 6)], size))
    curve = evaluate_fddb(images)
    slow = np.array(reference.fddb(images))
    np.testing.assert_allclose(np.stack(curve[:4], axis=1), slow, atol=1e-12)
    assert 0.2 < slow[-1, 1] < 1 and slow[-1, 3] > 3  # it is not all or nothing


def test_reads_the_folds(tmp_path):
    text = (
        'a/big/img_{}\n2\n67.3 44.5 -1.4 105.2 87.2  1\n41.9 27.1 1.5 184.1 89.3  1\n'
    )
    for fold in (1, 2):
        path = tmp_path / f'FDDB-fold-0{fold}-ellipseList.txt'
        path.write_text(text.format(fold))
    (tmp_path / 'FDDB-fold-01.txt').write_text('a/big/img_1\n')
    faces = read_ellipses(tmp_path)
    assert list(faces) == ['a/big/img_1', 'a/big/img_2']
    assert faces['a/big/img_2'][1].tolist() == [41.9, 27.1, 1.5, 184.1, 89.3]
    with path.open('a') as file:
        file.write(text.format(2))
    with pytest.raises(ValueError, match=r'02-ellipseList.txt:5: a/big/img_2 came'):
        read_ellipses(path)
    (tmp_path / 'rectList.txt').write_text('a\n1\n1 2 3 4 1\n')
    with pytest.raises(ValueError, match=r'rectList.txt:1: .* no ellipses'):
        read_ellipses(tmp_path / 'rectList.txt')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no faces'):
        read_ellipses(tmp_path / 'empty')
