"""Finds faces: ``python -m mmdet_srn detect``, where mim looks for it."""

import sys

from mmdet_srn.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['detect', *sys.argv[1:]]))
