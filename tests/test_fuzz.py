"""A part of tests/fuzz.py."""

import pytest

from tests import fuzz


@pytest.mark.parametrize('reader', fuzz.READERS)
def test_damaged_files_are_taken_or_named(reader, tmp_path, monkeypatch):
    if reader == 'onnx':
        pytest.importorskip('onnx', reason='needs onnx, of the extra onnx')
        pytest.importorskip(
            'onnxruntime', reason='needs onnxruntime, of the extra onnx'
        )
    monkeypatch.chdir(tmp_path)
    counts, faults = fuzz.fuzz(reader, 60, 1, tmp_path)
    assert faults == []
    assert counts.total() == 60 and counts['taken'] > 0
    if reader != 'results':  # whose oddities are counted, not raised
        assert counts['refused'] > 0


def test_a_fault_is_found(tmp_path, monkeypatch):
    """The script does see code that runs, and errors without the file's name."""
    monkeypatch.chdir(tmp_path)

    def careless(path):
        fuzz.pickle.loads(path.read_bytes())

    monkeypatch.setitem(fuzz.READERS, 'bad', ('x.pkl', fuzz._checkpoints, careless))
    hostile = fuzz._checkpoints()[-1]
    assert fuzz.try_one('bad', hostile, tmp_path) == ('fault', 'the file ran code')
    assert fuzz.try_one('bad', b'', tmp_path)[0] == 'fault'
