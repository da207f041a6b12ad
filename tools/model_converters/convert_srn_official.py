"""Turn the released SRN checkpoint into one that this package loads.

    python tools/model_converters/convert_srn_official.py SRC DST

SRC holds the parameters, with or without a ``module.`` prefix.
Every tensor of SRC must have a place and every weight of the network a source,
including BatchNorm's counters ``num_batches_tracked``; otherwise all misfits are
listed, the exit status is 1 and nothing is written. If each step has its own class
predictor, that of SRC fills both. Other entries of SRC (epoch, optimizer, ...) are
named and left behind.

SRC is read without running code from it: a file that needs arbitrary pickle is refused.
"""

import argparse
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_srn.checkpoint_file import load_checkpoint
from mmdet_srn.datasets import WIDERFaceTxtDataset
from mmdet_srn.engine import AtomicLocalBackend
from mmdet_srn.model_loader import read_config
from mmdet_srn.trust import add_trust_option
from mmdet_srn.version import __version__

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'srn_r50_fpn_widerface_released.py'


def level(digit: str) -> int:
    """Return the index of C2..C7 or P2..P7 in the package's lists."""
    return int(digit) - 2


def subnet(name: str) -> str:
    """Return the package's name of a released subnet, 'cls' or 'box'."""
    return f'bbox_head.{"reg" if name == "box" else name}_subnet'


# Released name without weight, bias, ... -> its names here, maybe several. 0, 2, 4 are
# the convolutions of an RFE branch, each with a ReLU behind.
RULES = (
    (r'((?:conv1|bn1|layer[1-4])\b.*)', lambda m: [f'backbone.{m[1]}']),
    (r'layer([56])', lambda m: [f'neck.extra_convs.{int(m[1]) - 5}']),  # to C6, C7
    (r'c(\d)_conv', lambda m: [f'neck.reducers.{level(m[1])}']),
    (r'c(\d)_lateral', lambda m: [f'neck.fpn.lateral_convs.{level(m[1])}.conv']),
    (r'p(\d)_conv', lambda m: [f'neck.fpn.fpn_convs.{level(m[1])}.conv']),
    (r'(cls|box)_subnet\.0', lambda m: [f'{subnet(m[1])}.0.conv']),
    (
        r'(cls|box)_subnet\.2\.branch(\d)\.([024])',
        lambda m: [f'{subnet(m[1])}.1.branches.{m[2]}.{int(m[3]) // 2}.conv'],
    ),
    (
        r'(cls|box)_subnet\.2\.cated_conv\.0',
        lambda m: [f'{subnet(m[1])}.1.fuse.0.conv'],
    ),
    (r'(cls|box)_subnet\.3', lambda m: [f'{subnet(m[1])}.2.conv']),
    (
        r'cls_subnet_pred',
        lambda m: ['bbox_head.conv_cls', 'bbox_head.conv_cls_first'],
    ),
    (r'box_subnet_pred', lambda m: ['bbox_head.conv_reg']),
)


def places(name: str) -> list[str]:
    """Return the package's names for a released tensor, none if it is unknown."""
    stem, _, kind = name.rpartition('.')
    for pattern, rename in RULES:
        match = re.fullmatch(pattern, stem)
        if match:
            return [f'{place}.{kind}' for place in rename(match)]
    return []


def misfit(name: str, value: Any, place: str, like: Tensor) -> str | None:
    """Say why a released value does not fit a place; None if it does."""
    if not isinstance(value, Tensor):
        return f'no tensor: {name} is a {type(value).__name__}'
    if value.shape != like.shape:
        return (
            f'wrong shape: {name} is {tuple(value.shape)}, '
            f'{place} is {tuple(like.shape)}'
        )
    if value.is_floating_point() != like.is_floating_point():
        return f'wrong type: {name} is {value.dtype}, {place} is {like.dtype}'
    return None


def convert(
    released: Mapping[str, Any], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Rename the released tensors, all of them or none.

    Args:
        released: The released ``state_dict``.
        wanted: ``state_dict`` of the package's network, for its names, shapes and
            types.

    Raises:
        ValueError: If anything does not fit; the message has a line for each misfit.
    """
    state: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    problems = []
    for name, value in released.items():
        own = [p for p in places(str(name).removeprefix('module.')) if p in wanted]
        if not own:
            problems.append(f'unexpected: {name}')
        for place in own:
            source = sources.setdefault(place, name)
            if source != name:
                problem = f'twice: {source} and {name} are one weight'
            else:
                problem = misfit(name, value, place, wanted[place])
            if problem:
                problems.append(problem)
            else:
                # a copy: places must neither share nor keep a larger storage alive
                state[place] = value.detach().to(wanted[place].dtype, copy=True)
    problems += [f'missing: {place}' for place in wanted if place not in sources]
    if problems:
        raise ValueError('\n'.join(dict.fromkeys(problems)))
    return {place: state[place] for place in wanted}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', type=Path, metavar='SRC', help='released checkpoint')
    parser.add_argument('dst', type=Path, metavar='DST', help='file to write')
    parser.add_argument(
        '--config',
        type=Path,
        default=CONFIG,
        help=f'network to fill (default: {CONFIG.name})',
    )
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Convert, or say what does not fit and exit with 1."""
    args = parse_args()
    if args.dst.is_dir() or args.dst.resolve() == args.src.resolve():
        raise SystemExit(f'{args.dst} is {"a folder" if args.dst.is_dir() else "SRC"}')
    try:
        checkpoint = load_checkpoint(args.src)
        cfg = read_config(args.config)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    wanted = MODELS.build(dict(cfg.model, _scope_='mmdet')).state_dict()
    released = checkpoint.pop('state_dict')
    try:
        state = convert(released, wanted)
    except ValueError as error:
        raise SystemExit(
            f'{args.src} does not fit {args.config.name}; nothing is written.\n{error}'
        ) from error
    meta = dict(
        # inference tools take the class names from here, not from the config
        dataset_meta=dict(WIDERFaceTxtDataset.METAINFO),
        cfg=cfg.pretty_text,
        mmdet_srn_version=__version__,
        converted_from=args.src.name,
    )
    try:
        buffer = io.BytesIO()
        torch.save(dict(meta=meta, state_dict=state), buffer)
        AtomicLocalBackend().put(buffer.getbuffer(), args.dst)
    except OSError as error:
        raise SystemExit(f'{args.dst} cannot be written: {error}') from error
    cast = sum(
        value.is_floating_point() and value.dtype != wanted[place].dtype
        for name, value in released.items()
        for place in places(name.removeprefix('module.'))[:1]
    )
    print(f'{args.dst}: {len(state)} tensors from the {len(released)} of {args.src}')
    if len(state) > len(released):
        print('cls_subnet_pred fills the class predictors of both steps')
    if cast:
        print(f'{cast} tensors were of another precision and are float32 now')
    if checkpoint:
        print(f'left behind: {", ".join(map(str, checkpoint))}')


if __name__ == '__main__':
    main()
