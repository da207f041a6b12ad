import os
import sys
from pathlib import Path

import cv2
import pytest

from mmdet_srn import export_command
from mmdet_srn.deploy.onnx_runner import OnnxRunner
from tests.test_deploy import small_srn

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """The command, with a file from before in place of a minute's export."""
    source = small_srn.exported('detections')

    def main(*arguments):
        def export_onnx(config, checkpoint, path, *options):
            path = tmp_path / path
            path.write_bytes(source.read_bytes())
            return dict(OnnxRunner(path).metadata, **metadata)

        metadata = main.metadata
        monkeypatch.setattr(export_command, 'export_onnx', export_onnx)
        files = map(str, small_srn.files())
        return export_command.main([*files, str(tmp_path / 'out.onnx'), *arguments])

    main.metadata = {}
    return main


@pytest.fixture
def photographs(tmp_path):
    names = [str(tmp_path / '0.png'), str(tmp_path / os.fsdecode(b'\xe9.png'))]
    for name, size in zip(names, [(96, 128), (101, 67)], strict=True):
        encoded = cv2.imencode('.png', small_srn.images(1, *size)[0])[1]
        Path(name).write_bytes(encoded)
    return names


def test_verify(exported, photographs, capsys):
    """Also an image whose name is not UTF-8."""
    assert exported('--verify', *photographs) == 0
    out = capsys.readouterr().out
    assert 'out.onnx: form detections, opset 18, 0.4 MB' in out
    assert 'resizes' not in out
    for row in out.splitlines()[-2:]:
        of_model, of_file, pixels, score, image = row.split()
        assert int(of_model) == int(of_file) == 60
        assert float(pixels) < 0.05 and float(score) < 1e-4
        assert image.rpartition('/')[2] in ('0.png', r'\udce9.png')


def test_says_what_the_file_does_not_do(exported, capsys):
    resize = dict(type='Resize', scale=[640, 640], keep_ratio=True)
    exported.metadata = dict(protocol='vga', resize=[resize])
    assert exported() == 0
    assert f'vga, resizes the image, the file does not: {[resize]}' in (
        capsys.readouterr().out
    )


def test_verify_fails_where_they_differ(exported, photographs, tmp_path, capsys):
    other = ['--cfg-options', 'model.test_cfg.nms.iou_threshold=0.2']
    assert exported('--verify', *photographs, *other) == 1
    assert 'DIFFERS: only' in capsys.readouterr().out
    (tmp_path / 'text.jpg').write_text('no image')
    assert exported('--verify', str(tmp_path / 'text.jpg')) == 1
    assert 'text.jpg is no image' in capsys.readouterr().err


def test_verify_wants_boxes(capsys):
    with pytest.raises(SystemExit):
        export_command.main(
            ['c.py', 'c.pth', 'o.onnx', '--form', 'raw', '--verify', 'a.jpg']
        )
    assert '--verify compares boxes' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--half'], ['--opset', '13']], ids=str)
def test_what_needs_a_fixed_size(arguments, capsys):
    with pytest.raises(SystemExit):
        export_command.main(['c.py', 'c.pth', 'o.onnx', *arguments])
    assert '--half and --opset need --static' in capsys.readouterr().err


def test_static(monkeypatch, capsys):
    """What is asked for reaches the export."""
    asked = []
    monkeypatch.setattr(
        export_command,
        'export_onnx',
        lambda *a: asked.append(a) or dict(form='static', resize=[]),
    )
    out = str(small_srn.exported('detections'))
    arguments = ['--static', '2', '48', '64', '--opset', '14', '--half']
    assert export_command.main(['c.py', 'c.pth', out, *arguments]) == 0
    assert asked[0][-3:] == ([2, 48, 64], 14, True)
    assert 'form static, opset 14' in capsys.readouterr().out


def other_checkpoint():
    return small_srn.files(small_srn.GROUP_NORM)[1]


def no_model(out):
    path = out.with_name('no_model.py')
    path.write_text('a = 1\n')
    return path


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (lambda c, p, o: [c, o, o], 'out.onnx'),
        (lambda c, p, o: [o, p, o], 'out.onnx'),
        (lambda c, p, o: [c, other_checkpoint(), o], '.pth does not fit'),
        (lambda c, p, o: [no_model(o), p, o], 'no_model.py has no model'),
        (
            lambda c, p, o: [c, p, o, '--cfg-options', 'model.test_cfg.nms.type=soft'],
            "'type': 'soft'",
        ),
    ],
    ids=['no checkpoint', 'no config', 'no pair', 'no model', 'other NMS'],
)
def test_errors(tmp_path, capsys, arguments, message):
    out = tmp_path / 'out.onnx'
    arguments = arguments(*small_srn.files(), out)
    assert export_command.main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith('export: ') and message in captured.err
    assert not out.exists()


@pytest.mark.parametrize('missing', ['onnx', 'onnxscript'])
def test_missing_extra(missing, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    files = map(str, small_srn.files())
    assert export_command.main([*files, str(tmp_path / 'out.onnx')]) == 1
    assert f'{missing}: pip install "mmdet_srn[export]"' in capsys.readouterr().err
