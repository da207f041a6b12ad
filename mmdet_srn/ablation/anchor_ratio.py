"""Figure 1a: positives and negatives before and after the first step.

    python -m mmdet_srn.ablation.anchor_ratio CONFIG CHECKPOINT OUT.json

Looks at training batches with a trained model, in eval mode, and trains nothing. On
STC levels, "after" are the anchors that the first step leaves, positives that it drops
not among them (training keeps those unless ``filter_positives``). On STR levels,
"after" are the first step's refined boxes, matched again. "Before" are all anchors.
The second step's matching says what is positive and negative.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
from mmdet.models.utils import unpack_gt_instances
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

from ..model_loader import load_detector
from ..models.dense_heads import SRNHead
from ..models.dense_heads.anchor_grid import flatten_maps
from ..models.losses.two_stage_focal_loss import survives


@torch.no_grad()
def count_anchors(model: torch.nn.Module, data: dict[str, Any]) -> dict[str, Tensor]:
    """Count the anchors of one batch.

    Args:
        model: A single-stage detector with an ``SRNHead``, in eval mode.
        data: A batch as its data preprocessor returns it, with ground truth.

    Returns:
        'positive' and 'negative', each (2, levels): before and after the first step.
    """
    head: SRNHead = model.bbox_head
    gts, ignored, metas = unpack_gt_instances(data['data_samples'])
    maps = head(model.extract_feat(data['inputs']))
    first_scores, first_deltas, scores, _ = maps
    grid = head.anchor_grid(scores, metas)
    refined = grid.anchors  # (N, P, 4)
    left = everything = torch.ones_like(grid.anchors[..., 0], dtype=torch.bool)
    if head.str_levels:
        moved = flatten_maps(first_deltas, head.bbox_coder.encode_size)
        refined = head.second_priors(grid, moved)
    if head.stc_levels:
        logits = flatten_maps(first_scores, head.cls_out_channels)
        left = grid.replace(left, head.stc_levels, survives(logits, head.theta))

    counts: dict[str, list[Tensor]] = dict(positive=[], negative=[])
    for boxes, kept in ((grid.anchors, everything), (refined, left)):
        targets = head.match_step(head.assigner, boxes, grid.valid, gts, ignored)
        matters = kept & (targets.label_weights > 0)
        positive = targets.labels < head.num_classes
        for name, chosen in (('positive', positive), ('negative', ~positive)):
            found = grid.levels[chosen & matters]
            counts[name].append(torch.bincount(found, minlength=len(grid.sizes)))
    return {name: torch.stack(rows).cpu() for name, rows in counts.items()}


def summarize(
    counts: dict[str, Tensor], stc_levels: tuple[int, ...], str_levels: tuple[int, ...]
) -> dict[str, Any]:
    """Sum up counts, of any number of batches, over the levels of STC and of STR.

    Returns:
        The counts, and for ``stc`` and ``str``, where there are such levels, positives
        and negatives before and after, ``gain`` (by which their ratio has grown) and
        ``positives_kept``, None where there is nothing to divide by.
    """
    result: dict[str, Any] = {name: rows.tolist() for name, rows in counts.items()}
    for name, levels in (('stc', stc_levels), ('str', str_levels)):
        if levels:
            own = list(levels)
            sums = {sign: n[:, own].sum(dim=1).tolist() for sign, n in counts.items()}
            (p0, p1), (n0, n1) = sums['positive'], sums['negative']
            gain = p1 * n0 / (n1 * p0) if p0 and n0 and n1 else None
            kept = p1 / p0 if p0 else None
            result[name] = dict(**sums, gain=gain, positives_kept=kept)
    return result


def main(argv: list[str] | None = None) -> int:
    """Count and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('out', type=Path)
    parser.add_argument('--batches', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    set_random_seed(args.seed)
    cfg, model, _ = load_detector(args.config, args.checkpoint, device=None)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    found, images = [], 0
    for batch in itertools.islice(loader, args.batches):
        data = model.data_preprocessor(batch, training=True)
        images += len(data['data_samples'])
        found.append(count_anchors(model, data))
    total = {name: sum(counts[name] for counts in found) for name in found[0]}
    head = model.bbox_head
    result = dict(batches=len(found), images=images, theta=head.theta)
    result |= summarize(total, head.stc_levels, head.str_levels)
    args.out.write_text(f'{json.dumps(result, indent=1)}\n', encoding='utf-8')
    print(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
