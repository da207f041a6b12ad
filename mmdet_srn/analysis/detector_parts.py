"""The parts of SRN's detection, told apart while the real code runs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from mmdet.models import SingleStageDetector
from torch import Tensor

from ..models import spans
from ..models.dense_heads import SRNHead, srn_head
from ..models.sparse import deferred_map, level_outputs
from ..models.sparse.deferred_map import DeferredMap
from . import step_modes
from .part_meter import PartMeter
from .replaced import replaced

PARTS = ('input', 'backbone', 'neck', 'first step', 'second step', 'selection')
"""Reading, resizing and normalising; the network; its selection, decoding and NMS."""

PART_OF = {
    spans.NECK: 'neck',
    spans.FIRST_STEP: 'first step',
    spans.SECOND_STEP: 'second step',
    spans.SELECTION: 'selection',
    spans.NMS: 'selection',
}


@contextmanager
def metered_parts(detector: SingleStageDetector, meter: PartMeter) -> Iterator[None]:
    """Have a detector's calls counted by their parts, all but 'input'.

    What is computed when it is read counts for the step that reads it: so a deferred
    convolution is the second step's, and the neck's where ``second_step`` is 'dense'.
    See ``spans`` for what they share on a neck with one map for both steps.

    Args:
        detector (SingleStageDetector): With an ``SRNHead``.
        meter (PartMeter): Gets the parts.

    Yields:
        None: In the meantime.
    """
    head: SRNHead = detector.bbox_head

    def extract_feat(inputs: Tensor) -> Sequence[Tensor | DeferredMap]:
        with meter.part('backbone'):
            maps = detector.backbone(inputs)
        with meter.part('neck'):
            return detector.neck(maps)

    with ExitStack() as stack:
        for owner, name, function in (
            (detector, 'extract_feat', extract_feat),
            (head, 'predict', meter.metered(head.predict, 'selection')),
            *(
                (module, 'record_function', lambda span: meter.part(PART_OF[span]))
                for module in (srn_head, level_outputs, deferred_map, step_modes)
            ),
        ):
            stack.enter_context(replaced(owner, name, function))
        yield
