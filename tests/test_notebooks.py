"""The notebook runs from its first cell to its last, without network."""

import base64
import re

import cv2
import numpy as np
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.weights import weights_file

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')
pytest.importorskip('onnxruntime')


@pytest.fixture
def cells(repo_root, tmp_path, monkeypatch):
    """The outputs of each code cell, by its id."""
    monkeypatch.setenv('PYTHONPATH', str(repo_root))
    monkeypatch.setenv('MMDET_SRN_LIGHT', '1')  # as without PyTorch
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    for name in ('HOME', 'IPYTHONDIR', 'JUPYTER_RUNTIME_DIR'):
        monkeypatch.setenv(name, str(tmp_path))
    path = repo_root / '.github/notebooks/faces.ipynb'
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert not any(cell.outputs for cell in code)  # as it is committed
    where = dict(metadata=dict(path=str(path.parent)))
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    return {cell.id: [output.get('data') for output in cell.outputs] for cell in code}


def decode(output):
    content = np.frombuffer(base64.b64decode(output['image/png']), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


def edges(image):
    return cv2.Laplacian(image, cv2.CV_32F).std()


def test_faces(cells, repo_root):
    assert cells['install'] == []
    image = cv2.imread(str(repo_root / '.github/quickstart.jpg'))
    faces = FaceDetector(weights_file('.onnx')).detect(image)
    assert len(faces) > 10

    (table,) = cells['table']
    rows = [re.findall(r'[\d.]+', row) for row in table['text/markdown'].splitlines()]
    found = np.array(rows[2:], float)
    np.testing.assert_array_equal(found[:, 0], range(len(faces)))
    np.testing.assert_allclose(found[:, 1], faces.scores, atol=1e-3)
    np.testing.assert_allclose(found[:, 2:], faces.bboxes, atol=0.1)

    near = np.zeros(image.shape[:2], bool)
    for x1, y1, x2, y2 in faces.bboxes.astype(int):
        side = round(0.2 * max(x2 - x1, y2 - y1)) + 3
        near[max(y1 - side, 0) : y2 + side, max(x1 - side, 0) : x2 + side] = True
    (hidden,), (drawn,) = map(decode, cells['hidden']), map(decode, cells['drawn'])
    np.testing.assert_array_equal(hidden[~near], image[~near])
    assert (drawn == (0, 255, 0)).all(axis=2).sum() > 1000
    crops = [decode(output) for output in cells['crops']]
    assert len(crops) == len(faces)
    for crop, plain in zip(crops, faces.crops(image, 0.2), strict=True):
        np.testing.assert_array_equal(crop, plain)
    for crop, blurred in zip(crops, faces.crops(hidden, 0.0), strict=True):
        if min(blurred.shape[:2]) > 60:
            assert edges(blurred) < 0.2 * edges(crop)
