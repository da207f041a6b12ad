"""Find faces in images and videos: ``python -m mmdet_srn photo.jpg``."""

import sys

from mmdet_srn.detector.command import main

if __name__ == '__main__':
    sys.exit(main())
