import pytest

from tests.test_deploy import small_srn
from tests.tool_loader import load_tool

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


def test_benchmark(capsys):
    benchmark = load_tool('benchmark_onnx')
    arguments = [*small_srn.files(), small_srn.exported('detections')]
    arguments += ['--sizes', '64x48', '33x70', '--batch-sizes', '1', '2', '--runs', '2']
    assert benchmark.main([str(argument) for argument in arguments]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-4:]]
    sizes, numbers = ('64x48', '33x70'), ('1', '2')
    assert [row[:2] for row in rows] == [[s, n] for s in sizes for n in numbers]
    for row in rows:
        boxes, slow, fast, ratio = map(float, row[2:])
        assert boxes > 0
        assert ratio == pytest.approx(slow / fast, rel=0.2, abs=0.01)
