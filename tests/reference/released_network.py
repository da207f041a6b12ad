"""The released SRN written out plainly: torch.nn for the graph, NumPy for the boxes.

Built from the description of the network alone, without mmdet or the package, with
the released parameter names, so that a released ``state_dict`` fits as it is. The
package is held against it. Runs in the precision of its weights; the boxes are
float64.
"""

import math
import re
import zlib
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STRIDES = (4, 8, 16, 32, 64, 128)
STC_LEVELS = (0, 1, 2)
STR_LEVELS = (3, 4, 5)


class Bottleneck(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class RFE(nn.Module):
    def __init__(self, channels):
        super().__init__()
        quarter = channels // 4
        for i, (kh, kw) in enumerate([(1, 5), (5, 1), (1, 3), (3, 1)]):
            branch = nn.Sequential(
                nn.Conv2d(channels, quarter, 1),
                nn.ReLU(),
                nn.Conv2d(quarter, quarter, (kh, kw), padding=(kh // 2, kw // 2)),
                nn.ReLU(),
                nn.Conv2d(quarter, quarter, 1),
                nn.ReLU(),
            )
            setattr(self, f'branch{i}', branch)
        self.cated_conv = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU())

    def forward(self, x):
        parts = [self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)]
        return x + self.cated_conv(torch.cat(parts, 1))


def subnet(channels):
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        RFE(channels),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
    )


class Outputs(NamedTuple):
    """Per level: both pyramids, and logits and deltas of both steps."""

    first_maps: list
    second_maps: list
    first_cls: list
    first_reg: list
    cls: list
    reg: list


class ReleasedSRN(nn.Module):
    """``width``, ``channels`` and ``extra`` are for slim copies."""

    def __init__(self, width=64, channels=256, extra=(1024, 256)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for stage, blocks in enumerate([3, 4, 6, 3]):
            layers = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Bottleneck(before, width * 2**stage, stride))
                before = 4 * width * 2**stage
            setattr(self, f'layer{stage + 1}', nn.Sequential(*layers))
        stages = [4 * width * 2**stage for stage in range(4)]
        self.layer5 = nn.Conv2d(stages[3], extra[0], 3, 2, 1)
        self.layer6 = nn.Conv2d(extra[0], extra[1], 3, 2, 1)
        for level, size in enumerate([*stages, *extra], start=2):
            setattr(self, f'c{level}_conv', nn.Conv2d(size, channels, 1))
        for level, size in enumerate(stages, start=2):
            setattr(self, f'c{level}_lateral', nn.Conv2d(size, channels, 1))
        for level in (2, 3, 4, 5):
            setattr(self, f'p{level}_conv', nn.Conv2d(channels, channels, 3, 1, 1))
        for level in (6, 7):
            setattr(self, f'p{level}_conv', nn.Conv2d(channels, channels, 3, 2, 1))
        self.cls_subnet = subnet(channels)
        self.box_subnet = subnet(channels)
        self.cls_subnet_pred = nn.Conv2d(channels, 2, 1)
        self.box_subnet_pred = nn.Conv2d(channels, 8, 1)

    def pyramids(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        c5 = self.layer4(c4)
        c6 = self.layer5(c5)
        c7 = self.layer6(c6)
        first = [
            self.c2_conv(c2),
            self.c3_conv(c3),
            self.c4_conv(c4),
            self.c5_conv(c5),
            self.c6_conv(c6),
            self.c7_conv(c7),
        ]

        def up(small, like):
            return F.interpolate(
                small, size=like.shape[2:], mode='bilinear', align_corners=True
            )

        l5 = self.c5_lateral(c5)
        l4 = self.c4_lateral(c4)
        l4 = l4 + up(l5, l4)
        l3 = self.c3_lateral(c3)
        l3 = l3 + up(l4, l3)
        l2 = self.c2_lateral(c2)
        l2 = l2 + up(l3, l2)
        p6 = self.p6_conv(l5)
        p7 = self.p7_conv(p6)
        second = [
            self.p2_conv(l2),
            self.p3_conv(l3),
            self.p4_conv(l4),
            self.p5_conv(l5),
            p6,
            p7,
        ]
        return first, second

    def forward(self, x):
        first, second = self.pyramids(x)

        def cls(maps):
            return [self.cls_subnet_pred(self.cls_subnet(m)) for m in maps]

        def reg(maps):
            return [self.box_subnet_pred(self.box_subnet(m)) for m in maps]

        return Outputs(first, second, cls(first), reg(first), cls(second), reg(second))


def seeded_values(shapes, seed=0):
    """Values for released names (name to shape) that keep activations near 1.

    Each tensor depends on its name and the seed only. The predictors are drawn
    such that scores and first-step probabilities lie on both sides of the
    thresholds, and boxes move by a part of their size.
    """
    state = {}
    for name, shape in shapes.items():
        shape = tuple(shape)
        generator = torch.Generator().manual_seed(zlib.crc32(f'{seed} {name}'.encode()))

        def normal(mean, std, shape=shape, generator=generator):
            return mean + std * torch.randn(shape, generator=generator)

        kind = name.rsplit('.', 1)[-1]
        if kind == 'num_batches_tracked':
            value = torch.tensor(1000)
        elif kind == 'running_var':
            value = normal(0, 0.2).exp()
        elif kind in ('running_mean', 'bias'):
            value = normal(0, 0.1)
        elif len(shape) == 1:  # scale of a BatchNorm; the residual branch's is small
            value = normal(0.25 if 'bn3' in name else 1.0, 0.05)
        else:  # 2 keeps the size after a ReLU; sums and maps are halved and more
            gain = 2.0
            if re.match(r'[cp]\d_|.*downsample', name):
                gain = 0.5 if '_lateral' in name else 0.8
            value = normal(0, math.sqrt(gain / math.prod(shape[1:])))
        if name == 'cls_subnet_pred.weight':
            value *= 1.5
        elif name == 'cls_subnet_pred.bias':
            value -= 5
        elif name == 'box_subnet_pred.weight':
            value *= 0.2
        state[name] = value
    return state


def normalise(image):
    """Batch (1, 3, H, W) in float64 of a BGR image, uint8 (H, W, 3)."""
    rgb = image[:, :, ::-1].astype(np.float64) / 255
    rgb = (rgb - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]


def anchors(height, width, stride):
    """Anchors (height * width * 2, 4) of a level."""
    w = np.round(np.sqrt(stride * stride / 1.25))
    h = np.round(w * 1.25)
    half = np.array([(s * w - 1, s * h - 1) for s in (2, 2 * np.sqrt(2))]) / 2
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing='ij')
    centre = (stride - 1) / 2 + stride * np.stack([x, y], -1).reshape(-1, 1, 2)
    return np.concatenate([centre - half, centre + half], -1).reshape(-1, 4)


def decode(boxes, deltas):
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + deltas[:, :2] * size
    half = size * np.exp(deltas[:, 2:]) / 2
    return np.concatenate([centre - half, centre + half], 1)


def nms(boxes, scores, threshold):
    """Indices of what stays, best first, and how near a decision was."""
    order = np.argsort(-scores, kind='stable')
    boxes = boxes[order]
    area = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    alive = np.ones(len(boxes), dtype=bool)
    kept, margin = [], np.inf
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(order[i])
        rest = np.flatnonzero(alive[i + 1 :]) + i + 1
        low = np.maximum(boxes[i, :2], boxes[rest, :2])
        high = np.minimum(boxes[i, 2:], boxes[rest, 2:])
        inter = np.prod(np.maximum(high - low + 1, 0), axis=1)
        overlap = inter / (area[i] + area[rest] - inter)
        margin = min(margin, np.abs(overlap - threshold).min(initial=np.inf))
        alive[rest[overlap > threshold]] = False
    return np.array(kept, dtype=int), margin


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def to_rows(level_map, channels):
    """One image's map (2 * channels, H, W) as (H * W * 2, channels), float64."""
    array = level_map.detach().double().numpy()
    return array.transpose(1, 2, 0).reshape(-1, channels)


def candidates(outputs, image):
    """What one image of a batch sends to NMS: boxes and scores of each level.

    Also how far the nearest decision of each kind was from its threshold, and the
    share of the STC levels' anchors that the first step drops.
    """
    margins = dict(first=np.inf, score=np.inf, top=np.inf)
    levels, dropped = [], []
    for level, stride in enumerate(STRIDES):
        height, width = outputs.cls[level].shape[-2:]
        boxes = anchors(height, width, stride)
        scores = sigmoid(to_rows(outputs.cls[level][image], 1)[:, 0])
        threshold = 0.0 if height * width < 120 else 0.05
        if threshold:  # else every score is above it
            margins['score'] = min(margins['score'], np.abs(scores - threshold).min())
        keep = scores > threshold
        if level in STC_LEVELS:
            face = sigmoid(to_rows(outputs.first_cls[level][image], 1)[:, 0])
            margins['first'] = min(margins['first'], np.abs(face - 0.01).min())
            dropped.append(1 - face > 0.99)
            keep &= ~dropped[-1]
        if level in STR_LEVELS:
            boxes = decode(boxes, to_rows(outputs.first_reg[level][image], 4))
        boxes = decode(boxes, to_rows(outputs.reg[level][image], 4))
        order = np.flatnonzero(keep)
        order = order[np.argsort(-scores[order], kind='stable')]
        if len(order) > 6000:
            gap = scores[order[5999]] - scores[order[6000]]
            margins['top'] = min(margins['top'], gap)
        levels.append((boxes[order[:6000]], scores[order[:6000]]))
    return levels, margins, float(np.concatenate(dropped).mean())


class Detections(NamedTuple):
    """Best first; the rest is as ``candidates`` returns it, of the whole chain."""

    boxes: np.ndarray
    scores: np.ndarray
    margins: dict
    dropped: float


def detect(outputs, image):
    """Detections of one image of a batch by the released rules."""
    levels, margins, dropped = candidates(outputs, image)
    boxes = np.concatenate([b for b, _ in levels])
    scores = np.concatenate([s for _, s in levels])
    kept, margins['overlap'] = nms(boxes, scores, 0.4)
    if len(kept) > 750:
        margins['top'] = min(margins['top'], scores[kept[749]] - scores[kept[750]])
    kept = kept[:750]
    return Detections(boxes[kept], scores[kept], margins, dropped)
