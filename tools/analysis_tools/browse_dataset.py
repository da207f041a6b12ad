"""Draw training samples, as the network gets them, with their boxes on one sheet.

    mim run mmdet_srn browse_dataset srn_r50_fpn_widerface.py --out sheet.png

Green boxes are faces to find, red ones are ignored. No display is needed. (mmdet's own
browse_dataset writes each image to a file of its own, without ignored boxes, and shows
values outside 0..255 in wrong colours.)
"""

import argparse
import sys
from pathlib import Path

import mmdet_srn  # noqa: F401  before cv2, whose images it limits

# isort: split
import cv2
import numpy as np
from mmdet.registry import DATASETS
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

GREEN, RED, WHITE = (0, 200, 0), (0, 0, 255), (255, 255, 255)  # BGR
CAPTION, GAP = 18, 6  # pixels


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a file, or the name of one of this project')
    parser.add_argument('--out', type=Path, default=Path('samples.png'), metavar='PNG')
    parser.add_argument('--num', type=int, default=16, help='samples (default 16)')
    parser.add_argument(
        '--index', type=int, help='only this image of the set, augmented --num times'
    )
    parser.add_argument('--columns', type=int, default=4, help='(default 4)')
    parser.add_argument(
        '--tile', type=int, default=400, help='side of a sample in pixels (default 400)'
    )
    parser.add_argument('--seed', type=int, default=0, help='(default 0)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args(argv)
    if min(args.num, args.columns) < 1 or args.tile < 32:
        parser.error('--num and --columns must be at least 1, --tile at least 32')
    suffix = args.out.suffix
    # No more of the name for cv2, which crashes if that is not UTF-8.
    if not suffix.isascii() or not cv2.haveImageWriter(f'x{suffix}'):
        parser.error(f'--out {args.out}: end it in .png')
    return args


def find_config(name: str) -> Path:
    """Find a config: a file, or the name of one in the project's configs/."""
    shipped = Path(__file__).resolve().parents[2] / 'configs'
    for path in (Path(name), shipped / name, shipped / f'{name}.py'):
        if path.is_file():
            return path
    raise SystemExit(f'{name}: no such config, nor is one of that name in {shipped}')


def to_image(inputs: np.ndarray) -> np.ndarray:
    """Turn (C, H, W) of any type, BGR or grey, into BGR uint8 (H, W, 3)."""
    image = inputs.transpose(1, 2, 0).astype(np.float32).round().clip(0, 255)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)), np.uint8)


def draw_boxes(
    image: np.ndarray, instances: InstanceData, scale: float, colour: tuple
) -> np.ndarray:
    """Draw boxes, scaled, on an image; return them unscaled, (N, 4), pixels xyxy."""
    boxes = get_box_tensor(instances.bboxes).numpy()
    for box in (boxes * scale).round().astype(int).tolist():
        cv2.rectangle(image, box[:2], box[2:], colour, 1)
    return boxes


def draw_sample(sample: dict, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one sample.

    Args:
        sample: What the pipeline returned.
        side: Side of the square, in pixels, that the sample is fitted into.

    Returns:
        The tile, with a caption, and the widths and heights of its faces (N, 2).
    """
    image, data = to_image(sample['inputs'].numpy()), sample['data_samples']
    scale = side / max(image.shape[:2])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=smooth)
    ignored = draw_boxes(image, data.ignored_instances, scale, RED)
    boxes = draw_boxes(image, data.gt_instances, scale, GREEN)
    height, width = image.shape[:2]
    tile = np.full((side + CAPTION, side + GAP, 3), WHITE, np.uint8)
    tile[:height, :width] = image
    factor = data.metainfo.get('scale_factor', (1,))[0]
    caption = f'{len(boxes)} faces, {len(ignored)} ignored, x{factor:.2f}'
    if data.metainfo.get('flip'):
        caption += ', flipped'
    place = (3, side + CAPTION - 5)
    cv2.putText(tile, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1)
    return tile, boxes[:, 2:] - boxes[:, :2]


def main(argv: list[str] | None = None) -> int:
    """Write the sheet and say what is on it."""
    args = parse_args(argv)
    sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
    cfg = Config.fromfile(find_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(args.seed)
    if args.index is None:
        indices = np.random.permutation(len(dataset))[: args.num].tolist()
    elif not 0 <= args.index < len(dataset):
        raise SystemExit(f'--index {args.index}: the set has {len(dataset)} images')
    else:
        indices = [args.index] * args.num
    tiles, heights = [], []
    for number, index in enumerate(indices):
        sample = dataset[index]
        tile, sizes = draw_sample(sample, args.tile)
        print(f'{number:3}  {sample["data_samples"].metainfo.get("img_path", index)}')
        tiles.append(tile)
        heights += sizes[:, 1].tolist()
    columns = min(args.columns, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    content = cv2.imencode(args.out.suffix, np.vstack(rows))[1].tobytes()
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_bytes(content)
    except OSError as error:
        raise SystemExit(f'{args.out} cannot be written: {error}') from error
    told = ''
    if heights:
        told = f', {min(heights):.0f} to {max(heights):.0f} pixels high'
    print(f'{args.out}: {len(indices)} samples, {len(heights)} faces{told}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
