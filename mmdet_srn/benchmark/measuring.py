"""Times, FLOPs and memory of detectors, end to end and part by part."""

import os
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.models import SingleStageDetector
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose, pseudo_collate
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import timer
from torch.utils.flop_counter import FlopCounterMode

from ..evaluation.parity import Detections
from ..models import spans
from .memory import peak_memory
from .survivors import survivors
from .variants import compute_as

os.environ.setdefault('KINETO_LOG_LEVEL', '6')  # else each profile writes to stderr
PARTS = ('input', 'backbone', 'neck', 'first step', 'second step', 'selection')
"""Reading, resizing and normalising; the network; selection, decoding and NMS."""
PART_OF_SPAN = {
    **{f'benchmark.{part}': part for part in PARTS},
    spans.NECK: 'neck',
    spans.FIRST_STEP: 'first step',
    spans.SECOND_STEP: 'second step',
    spans.SELECTION: 'selection',
    spans.NMS: 'selection',
}
"""What is computed when it is read counts for the step that reads it: a deferred
convolution is the second step's, but the neck's where ``second_step`` is 'dense'."""


@dataclass
class Variant:
    """A detector, and how it is run.

    Attributes:
        detector: In evaluation mode, with an ``SRNHead``.
        pipeline: Makes of ``dict(img_path=...)`` what the detector takes.
        mode: See ``variants.MODES``.
        percent, count: Cells that are made to survive, or None, and cells that did in
            all calls; see ``survivors``.
        context: Factory of the context of a call, such as autocast.
        countable: Whether FLOPs can be counted; not so in compiled parts.
    """

    detector: SingleStageDetector
    pipeline: Compose
    mode: str
    percent: float | None = None
    context: Callable[[], AbstractContextManager] = nullcontext
    countable: bool = True
    count: Counter[str] = field(default_factory=Counter)

    @property
    def device(self) -> torch.device:
        """Device of the detector."""
        return next(self.detector.parameters()).device

    def __call__(self, batch: Sequence[Path]) -> list[DetDataSample]:
        """Detect, from files to ``pred_instances`` on the device."""
        model, head = self.detector, self.detector.bbox_head
        with (
            torch.no_grad(),
            self.context(),
            compute_as(head, self.mode),
            survivors(head, self.percent, self.count),
        ):
            with record_function('benchmark.input'):
                files = [dict(img_path=str(p), img_id=0, instances=[]) for p in batch]
                data = pseudo_collate([self.pipeline(file) for file in files])
                data = model.data_preprocessor(data, False)
            with record_function('benchmark.backbone'):
                maps = model.backbone(data['inputs'])
            with record_function('benchmark.neck'):
                maps = model.neck(maps)
            with record_function('benchmark.selection'):
                samples = data['data_samples']
                found = head.predict(maps, samples, rescale=True)
                return model.add_pred_to_datasample(samples, found)


@dataclass
class Measured:
    """What a variant took.

    Attributes:
        parts: Seconds of each part, of each profiled call.
        seconds: Seconds of each timed call.
        flops: FLOPs of each part in a call, averaged over the batches: two per
            multiply-add of convolutions and matrix products; empty where unknown.
        memory: Largest number of bytes that a call took; None where unknown.
        found: Detections of each image.
    """

    parts: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    flops: Counter[str] = field(default_factory=Counter)
    memory: int | None = None
    found: list[Detections] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return statistics.median(self.seconds)

    def part(self, name: str) -> float:
        """Median seconds of a part, 0 if it was never entered."""
        return statistics.median(parts.get(name, 0) for parts in self.parts)


def measure(
    variants: Sequence[Variant], batches: Sequence[Sequence[Path]], runs: int
) -> list[Measured]:
    """Measure variants on batches.

    For each variant and batch, one call warms up, one gives memory and detections, one
    the FLOPs. Then ``runs`` calls of each are timed and as many profiled, interleaved
    so that other load affects all variants alike.
    """
    results = [_measure_once(variant, batches) for variant in variants]
    for _ in range(runs):
        for batch in batches:
            for variant, result in zip(variants, results, strict=True):
                start = timer()  # waits for a GPU
                variant(batch)
                result.seconds.append(timer() - start)
                on_gpu = variant.device.type == 'cuda'
                result.parts.append(profile_parts(partial(variant, batch), on_gpu))
    return results


def _measure_once(variant: Variant, batches: Sequence[Sequence[Path]]) -> Measured:
    result = Measured()
    for batch in batches:
        variant(batch)  # torch and other libraries also make what they keep
        samples, memory = peak_memory(partial(variant, batch), variant.device)
        if memory is not None:
            result.memory = max(memory, result.memory or 0)
        for sample in samples:
            boxes, scores = sample.pred_instances.bboxes, sample.pred_instances.scores
            result.found.append(
                (boxes.cpu().float().numpy(), scores.cpu().float().numpy())
            )
        if variant.countable:
            for part, flops in count_flops(partial(variant, batch)).items():
                result.flops[part] += flops / len(batches)
    return result


def profile_parts(call: Callable[[], object], on_gpu: bool = False) -> Counter[str]:
    """Measure the seconds of each part; on a GPU, of its kernels except for input."""
    kinds = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    with profile(activities=kinds) as profiler:
        call()
    parts: Counter[str] = Counter()
    for event in profiler.events():
        if event.name in PART_OF_SPAN and event.device_type == DeviceType.CPU:
            part, microseconds = PART_OF_SPAN[event.name], event.time_range.elapsed_us()
            if on_gpu and part != 'input':
                microseconds = event.device_time_total
            parts[part] += microseconds / 1e6
            outer = event.cpu_parent
            while outer is not None and outer.name not in PART_OF_SPAN:
                outer = outer.cpu_parent
            if outer is not None:  # a part's time excludes that of inner spans
                parts[PART_OF_SPAN[outer.name]] -= microseconds / 1e6
    return parts


def count_flops(call: Callable[[], object]) -> Counter[str]:
    """Count the FLOPs of each part of a call."""
    with FlopCounterMode(display=False) as counter, _FlopsOfParts(counter) as mode:
        call()
    return mode.flops


class _FlopsOfParts(TorchDispatchMode):
    """Splits a counter's FLOPs at the spans, which a mode sees as operators."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self._counter, self._inside, self._last = counter, ['input'], 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if 'profiler::_record_function' in func.name():
            total, part = self._counter.get_total_flops(), self._inside[-1]
            self.flops[part] += total - self._last
            self._last = total
            if 'enter' in func.name():
                self._inside.append(PART_OF_SPAN.get(args[0], part))
            else:
                self._inside.pop()
        return func(*args, **(kwargs or {}))


def time_interleaved(
    calls: Sequence[Callable], runs: int, before: Callable = lambda: None
) -> list[float]:
    """Time calls in turn, so that other load affects all alike; return their medians.

    Each is called once untimed and ``runs`` times timed; ``before`` each, another
    function that is not timed.
    """
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for call, found in zip(calls, times, strict=True):
            before()
            start = timer()
            call()
            if run:
                found.append(timer() - start)
    return [statistics.median(found) for found in times]
