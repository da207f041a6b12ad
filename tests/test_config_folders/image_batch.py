"""Images of noise with boxes, as a data loader gives them."""

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


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
