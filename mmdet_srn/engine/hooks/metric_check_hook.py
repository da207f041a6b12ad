"""Find errors of an evaluation before it starts."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner


@HOOKS.register_module()
class MetricCheckHook(Hook):
    """Show the data set to the metrics before validation, test or training starts.

    A metric would find what it cannot evaluate only at the end. Those with a method
    ``check_images``, such as ``WIDERFaceMetric``, get an iterator over the data set's
    ``get_data_info`` at the start, and may raise an error.
    """

    def before_run(self, runner: Runner) -> None:
        """Check the loops that will run; others are not built."""
        for loop in (runner._val_loop, runner._test_loop):
            if not isinstance(loop, BaseLoop):
                continue
            dataset = loop.dataloader.dataset
            if not hasattr(dataset, 'get_data_info'):  # not one of mmengine's
                continue
            for metric in loop.evaluator.metrics:
                if hasattr(metric, 'check_images'):
                    metric.check_images(map(dataset.get_data_info, range(len(dataset))))
