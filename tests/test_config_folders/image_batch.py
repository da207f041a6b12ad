"""Images of noise with boxes, as a data loader gives them, and a model run on them."""

import torch
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn


def image_batch(number: int, size: int, num_classes: int = 1, seed: int = 0) -> dict:
    """Make square images.

    Args:
        number: How many.
        size: Height and width in pixels.
        num_classes: The boxes' labels are below it.
        seed: Of the noise, the boxes and the labels.

    Returns:
        ``inputs`` and ``data_samples``, with five boxes in each image.
    """
    generator = torch.Generator().manual_seed(seed)
    samples, images = [], []
    for _ in range(number):
        sides = torch.rand(5, 2, generator=generator) * size / 2 + 8
        corners = torch.rand(5, 2, generator=generator) * (size - sides)
        faces = InstanceData(
            bboxes=torch.cat([corners, corners + sides], dim=1),
            labels=torch.randint(num_classes, (5,), generator=generator),
        )
        shape = (size, size)
        info = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(gt_instances=faces, metainfo=info))
        images.append(torch.randint(256, (3, *shape), generator=generator).byte())
    return dict(inputs=images, data_samples=samples)


def train_and_detect(
    model: nn.Module, number: int = 1, size: int = 96, num_classes: int = 1
) -> tuple[dict[str, Tensor], InstanceData]:
    """Train one step on some images, then detect in one; return losses and objects.

    Losses and boxes must be finite, and the step must reach every parameter, or
    distributed training would stop.
    """
    model.init_weights()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
    unread = {key for key, p in model.named_parameters() if p.requires_grad}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, key=key: unread.discard(key))
    losses = model.train_step(image_batch(number, size, num_classes), optimizer)
    assert all(value.isfinite() for value in losses.values())
    assert unread == set()
    model.eval()
    (found,) = model.test_step(image_batch(1, size, num_classes))
    assert found.pred_instances.bboxes.isfinite().all()
    return losses, found.pred_instances
