"""Find the faces of many pictures, on one machine or a Ray cluster; see README.md."""

import os
import sys

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet

from mmdet_srn.many.command import main

if __name__ == '__main__':
    sys.exit(main())
