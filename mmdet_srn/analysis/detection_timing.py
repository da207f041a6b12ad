"""Times a detector end to end and by its parts, several ways in turn."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models import SingleStageDetector
from mmengine.dataset import Compose, pseudo_collate
from torch.utils.flop_counter import FlopCounterMode

from ..evaluation.parity import Detections
from .detector_parts import metered_parts
from .device_clock import device_clock
from .part_meter import PartMeter
from .peak_memory import peak_memory
from .step_modes import step_mode
from .surviving_share import surviving_share

Batch = Sequence[Path]
"""Image files that go through the network together."""


@dataclass
class Measured:
    """What one way of detection took.

    Attributes:
        parts (list[dict[str, float]]): Seconds of each part, of each timed call.
        seconds (list[float]): Of each timed call.
        flops (dict[str, int]): Of each part in one call of each batch, on average:
            two for each multiply-add of a convolution or matrix product that was
            computed. Empty where they cannot be counted.
        memory (int, optional): Most bytes that a call took; None where unknown.
        percent (float, optional): Of the STC levels' cells that the first step left;
            None where the placement has no such level.
        found (list[Detections]): Of each image, from the first call.
    """

    parts: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    flops: dict[str, float] = field(default_factory=dict)
    memory: int | None = None
    percent: float | None = None
    found: list[Detections] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)

    def part(self, name: str) -> float:
        """Median seconds of a part, 0 if it was never entered."""
        return statistics.median(parts.get(name, 0) for parts in self.parts)

    @property
    def total_flops(self) -> float | None:
        """Of a call; None where they were not counted."""
        return sum(self.flops.values()) if self.flops else None


@dataclass
class Way:
    """One way of detection.

    Attributes:
        detector (SingleStageDetector): In evaluation mode.
        pipeline (Compose): Makes of ``dict(img_path=...)`` what the detector takes.
        mode (str): See ``step_modes.MODES``.
        percent (float, optional): Of the STC levels' cells that are made to survive.
            Defaults to None, what the first step leaves.
        context (Callable): Makes the context of a call, such as autocast.
        countable (bool): Whether multiplications can be counted, which in compiled
            parts they cannot. Defaults to True.
    """

    detector: SingleStageDetector
    pipeline: Compose
    mode: str
    percent: float | None = None
    context: Callable[[], AbstractContextManager] = nullcontext
    countable: bool = True

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.detector.parameters()).device

    def __call__(self, batch: Batch, meter: PartMeter | None = None) -> list[Any]:
        """Detect, from files to boxes.

        Args:
            batch (Batch): The files.
            meter (PartMeter, optional): Gets the parts. Defaults to None.

        Returns:
            list[Any]: Data samples, whose ``pred_instances`` are on the device.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.context())
            stack.enter_context(step_mode(self.detector, self.mode))
            if meter is not None:
                stack.enter_context(metered_parts(self.detector, meter))
            with nullcontext() if meter is None else meter.part('input'):
                packed = [
                    self.pipeline(dict(img_path=str(path), img_id=0, instances=[]))
                    for path in batch
                ]
                data = self.detector.data_preprocessor(pseudo_collate(packed), False)
            return self.detector(**data, mode='predict')


def measure(ways: Sequence[Way], batches: Sequence[Batch], runs: int) -> list[Measured]:
    """Measure all ways, in turn so that what else the machine does hits all.

    Of each way and batch one call warms up, a second tells the memory and the
    detections, a third the multiplications; ``runs`` more are timed.

    Args:
        ways (Sequence[Way]): The ways.
        batches (Sequence[Batch]): What to detect on, at least one.
        runs (int): Timed calls of each way on each batch; 0 for none.

    Returns:
        list[Measured]: Of each way.
    """
    results = [Measured() for _ in ways]
    for way, result in zip(ways, results, strict=True):
        with _share(way, result):
            for batch in batches:
                _warm_up(way, batch, result, len(batches))
    for _ in range(runs):
        for batch in batches:
            for way, result in zip(ways, results, strict=True):
                with _share(way):
                    _time(way, batch, result)
    return results


def _time(way: Way, batch: Batch, result: Measured) -> None:
    clock = device_clock(way.device)
    meter = PartMeter(clock)
    way(batch, meter)
    result.parts.append(meter.totals)
    if way.device.type == 'cpu':
        result.seconds.append(sum(meter.totals.values()))
        return
    # At the ends of parts the clock waits for the device, which it need not otherwise.
    start = clock()
    way(batch)
    result.seconds.append(clock() - start)


@contextmanager
def _share(way: Way, result: Measured | None = None) -> Iterator[None]:
    with surviving_share(way.detector.bbox_head, way.percent) as count:
        yield
    if result is not None:
        result.percent = count.percent


def _warm_up(way: Way, batch: Batch, result: Measured, number: int) -> None:
    way(batch)  # the first one also makes what is kept, by torch and by libraries
    samples: list[Any] = []
    memory = peak_memory(lambda: samples.extend(way(batch)), way.device)
    if memory is not None:
        result.memory = max(memory, result.memory or 0)
    for sample in samples:
        found = sample.pred_instances
        result.found.append(
            (found.bboxes.cpu().float().numpy(), found.scores.cpu().float().numpy())
        )
    if way.countable:
        with FlopCounterMode(display=False) as counter:
            meter = PartMeter(counter.get_total_flops)
            way(batch, meter)
        for part, flops in meter.totals.items():
            result.flops[part] = result.flops.get(part, 0) + flops / number


def above(found: Detections, score_thr: float) -> Detections:
    """Those of an image's detections (boxes, scores) that are good enough."""
    boxes, scores = found
    good = np.asarray(scores) >= score_thr
    return boxes[good], scores[good]
