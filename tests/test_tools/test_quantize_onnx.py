"""quantize_onnx.py: a whole small SRN in eight bits."""

import cv2
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.evaluation.parity import compare_detections
from tests.test_deploy import small_srn
from tests.tool_loader import load_tool

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture(scope='module')
def tool():
    return load_tool('quantize_onnx')


def test_finds_nearly_the_same(tool, tmp_path, capsys):
    images = small_srn.images(6, 96, 128)
    for number, image in enumerate(images):
        path = tmp_path / f'{number}.png'
        path.write_bytes(cv2.imencode('.png', image)[1])
    (tmp_path / 'broken.jpg').write_text('no image')
    model, out = small_srn.exported('boxes'), tmp_path / 'int8' / 'small.onnx'
    assert tool.main([*map(str, [model, out, tmp_path])]) == 0
    printed = capsys.readouterr()
    assert 'cannot read' in printed.err and 'broken.jpg' in printed.err
    assert 'convolutions in eight bits' in printed.out
    plain, rounded = (FaceDetector(each, score_thr=None) for each in (model, out))
    found = pairs = exact = 0
    for image in images:
        faces = [detector.detect(image) for detector in (plain, rounded)]
        faces = [(each.bboxes, each.scores) for each in faces]
        found += len(faces[0][1])
        pairs += compare_detections(*faces, box_tolerance=4, score_tolerance=0.1).pairs
        exact += compare_detections(*faces).pairs
    assert exact < 0.5 * found < 0.7 * found < pairs, (exact, pairs, found)


def test_few_photographs(tool, monkeypatch, tmp_path):
    """Spread over all, smaller, after the file's resize."""
    seen = []
    monkeypatch.setattr(
        tool, 'quantize_onnx', lambda model, out, images, _: seen.extend(images)
    )
    for number in range(9):
        image = small_srn.images(1, 40, 60)[0] // 10 * 10 // 2 + 10 * number
        path = tmp_path / f'{number}.png'
        path.write_bytes(cv2.imencode('.png', image)[1])
    arguments = [small_srn.exported('boxes'), tmp_path / 'out.onnx', tmp_path]
    with pytest.raises(TypeError):  # nothing is returned
        tool.main([*map(str, arguments), '--number', '3', '--max-size', '30'])
    assert [image.shape for image in seen] == [(20, 30, 3)] * 3
    means = [image.mean() - seen[0].mean() for image in seen]
    assert means == pytest.approx([0, 40, 80], abs=1)


def test_errors(tool, tmp_path, capsys):
    model, selective = map(str, map(small_srn.exported, ('boxes', 'detections')))
    (tmp_path / 'broken.jpg').write_text('no image')
    for arguments, message in (
        ([model, 'out.onnx', str(tmp_path / 'none')], 'none'),
        (['none.onnx', 'out.onnx', str(tmp_path)], 'none.onnx'),
        ([model, str(tmp_path / 'out.onnx'), str(tmp_path)], 'No data'),
        ([selective, 'out.onnx', str(tmp_path)], 'second_step=dense'),
    ):
        assert tool.main(arguments) == 1
        error = capsys.readouterr().err
        assert 'quantize_onnx: ' in error and message in error
    assert not (tmp_path / 'out.onnx').exists()
