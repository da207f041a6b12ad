"""Many pictures: ``python -m mmdet_srn detect_many``, where mim looks for it."""

import os
import sys

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet

from mmdet_srn.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['detect_many', *sys.argv[1:]]))
