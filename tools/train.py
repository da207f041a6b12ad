"""Trains a model: mmdet's own tools/train.py, at the place where mim looks.

All of its options hold (--work-dir, --amp, --resume, --auto-scale-lr,
--cfg-options, --launcher, -h); nothing is copied from it.
--num-workers N sets the worker processes of all of its loaders.
"""

from mmdet_srn._mmdet_tools import run_mmdet_tool

if __name__ == '__main__':
    run_mmdet_tool('train')
