import numpy as np
import pytest
from mmdet.datasets.transforms import Resize

from mmdet_srn.evaluation.protocols import PROTOCOLS, describe_protocol


@pytest.mark.parametrize(
    ('name', 'size', 'scaled'),
    [
        # (width, height); the long side becomes 640, also where that enlarges.
        ('vga', (1024, 768), (640, 480)),
        ('vga', (768, 1024), (480, 640)),
        ('vga', (320, 160), (640, 320)),
        # The short side becomes 1100 ...
        ('1650x1100', (1024, 768), (1467, 1100)),
        ('1650x1100', (768, 1024), (1100, 1467)),
        # ... unless the long one would pass 1650.
        ('1650x1100', (1024, 512), (1650, 825)),
        ('1650x1100', (512, 1024), (825, 1650)),
    ],
)
def test_long_and_short_side(name, size, scaled):
    resize = Resize(scale=PROTOCOLS[name].scale, keep_ratio=True)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    result = resize(dict(img=image, img_shape=image.shape[:2]))
    assert result['img'].shape[:2] == scaled[::-1]


def test_description():
    assert describe_protocol('vga').startswith('vga (single scale, long side')
    assert describe_protocol('my own') == 'my own'
    assert 'nobody said' in describe_protocol('unknown')
