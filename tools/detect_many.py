"""Find the faces of many pictures, on one machine or a Ray cluster; see README.md."""

import os
import sys

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet

try:
    from mmdet_srn.many.command import main
except ImportError as error:
    sys.exit(f'detect_many: {error}; pip install "mmdet_srn[onnx,ray]"')

if __name__ == '__main__':
    sys.exit(main())
