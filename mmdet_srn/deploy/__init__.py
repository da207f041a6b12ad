"""Use without PyTorch: export to ONNX, and a runner of what was exported.

``onnx_export`` is not imported here: it needs a newer torch than the rest.
"""

from .onnx_runner import OnnxRunner

__all__ = ['OnnxRunner']
