"""The parts of SRN's detection, told apart while the real code runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from mmdet.models import SingleStageDetector
from torch import Tensor, nn

from ..models.dense_heads import SRNHead
from ..models.utils.deferred_map import DeferredMap
from ..models.utils.partial_map import PartialMap, PartialMaps
from .part_meter import PartMeter
from .replaced import replaced

PARTS = ('input', 'backbone', 'neck', 'first step', 'second step', 'selection')
"""Reading, resizing and normalising; the network; its selection, decoding and NMS."""


@contextmanager
def metered_parts(detector: SingleStageDetector, meter: PartMeter) -> Iterator[None]:
    """Have a detector's calls counted by their parts, all but 'input'.

    What is computed when it is read counts for the step that reads it: so a deferred
    convolution is the second step's, and the neck's where ``second_step`` is 'dense'.
    On a neck with one map for both steps they share the class subnet, which counts for
    the first.

    Args:
        detector (SingleStageDetector): With an ``SRNHead``.
        meter (PartMeter): Gets the parts.

    Yields:
        None: In the meantime.
    """
    head: SRNHead = detector.bbox_head
    steps = _Steps(head)

    def extract_feat(inputs: Tensor) -> Sequence[Tensor | DeferredMap]:
        with meter.part('backbone'):
            maps = detector.backbone(inputs)
        with meter.part('neck'):
            maps = detector.neck(maps)
        steps.note(maps)
        return maps

    read_level = head._read_when_needed

    def metered_by_step(stock: Callable) -> Callable:
        def apply(self: PartialMap | PartialMaps, *args) -> Tensor:
            with meter.part(steps.of(self.source)):
                return stock(self, *args)

        return apply

    def read_when_needed(level: int, *args) -> object:
        # dense classification: where there are two, the second is left to ``apply``
        step = 'first step' if level in head.stc_levels else 'second step'
        with meter.part(step):
            return read_level(level, *args)

    with ExitStack() as stack:
        for owner, name, function in (
            (detector, 'extract_feat', extract_feat),
            (DeferredMap, 'dense', meter.metered(DeferredMap.dense, 'neck')),
            (PartialMap, 'apply', metered_by_step(PartialMap.apply)),
            (PartialMaps, 'apply_to_all', metered_by_step(PartialMaps.apply_to_all)),
            (head, '_read_when_needed', read_when_needed),
            (head, '_survivors', meter.metered(head._survivors, 'selection')),
            (head, 'predict', meter.metered(head.predict, 'selection')),
            (head, 'forward', _metered_forward(head, meter, steps)),
        ):
            stack.enter_context(replaced(owner, name, function))
        yield


class _Steps:
    """Which step reads a map."""

    def __init__(self, head: SRNHead) -> None:
        self.number = head.prior_generator.num_levels
        self.first: set[int] = set()

    def note(self, maps: Sequence[Tensor | DeferredMap]) -> None:
        """Take the neck's output."""
        first = maps[: self.number] if len(maps) > self.number else ()
        second = [id(each) for each in maps[self.number :]]
        # a level that the first step does not read is the second's map
        self.first = {
            each.untyped_storage().data_ptr()
            for each in first
            if id(each) not in second
        }

    def of(self, feature_map: Tensor) -> str:
        """Name the step of a map, or of what it is a view of."""
        first = feature_map.untyped_storage().data_ptr() in self.first
        return 'first step' if first else 'second step'


def _metered_forward(head: SRNHead, meter: PartMeter, steps: _Steps) -> Callable:
    """Make of the dense ``forward`` the same one that counts by steps.

    The hooks are there in the meantime alone: with them nothing would be sparse.
    """
    stock = head.forward

    def forward(maps: Sequence[Tensor | DeferredMap]) -> tuple[list[Tensor], ...]:
        with ExitStack() as stack, ExitStack() as inner:

            def enter(module: nn.Module, inputs: tuple[Tensor]) -> None:
                if module in subnets:
                    nonlocal step
                    step = steps.of(inputs[0])
                inner.enter_context(meter.part(step))

            def leave(*args) -> None:
                inner.pop_all().close()

            step = 'second step'
            subnets = {head.cls_subnet, head.reg_subnet}
            predictors = {head.conv_cls, head.conv_reg}
            if head.stc_levels:
                predictors.add(head._first_cls_predictor)
            if head.str_levels:
                predictors.add(head._first_reg_predictor)
            for module in subnets | predictors:
                for handle in (
                    module.register_forward_pre_hook(enter),
                    module.register_forward_hook(leave),
                ):
                    stack.callback(handle.remove)
            return stock(maps)

    return forward
