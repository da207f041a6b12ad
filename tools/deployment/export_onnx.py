"""Export to ONNX: ``python -m mmdet_srn export``, where mim looks for it."""

import sys

from mmdet_srn.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['export', *sys.argv[1:]]))
