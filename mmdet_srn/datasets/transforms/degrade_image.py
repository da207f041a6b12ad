"""Blur and JPEG artefacts, as photographs on the web have them."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DegradeImage(BaseTransform):
    """Blur an image, then store it as a JPEG of low quality, each at random.

    It reads and changes img, an uint8 array (H, W, 3): it goes before
    PhotoMetricDistortion, which makes floats of it.

    Args:
        prob: Probability of each of the two. Defaults to 0.2.
        sigma: Smallest and largest standard deviation of the Gaussian blur in pixels.
            Defaults to (0.5, 2.0).
        quality: Lowest and highest JPEG quality, of 100. Defaults to (20, 80).
    """

    def __init__(
        self,
        prob: float = 0.2,
        sigma: tuple[float, float] = (0.5, 2.0),
        quality: tuple[int, int] = (20, 80),
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be within [0, 1], not {prob}')
        if not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f'sigma must be positive, not {sigma}')
        if not 0 <= quality[0] <= quality[1] <= 100:
            raise ValueError(f'quality must be within [0, 100], not {quality}')
        self.prob = prob
        self.sigma = sigma
        self.quality = quality

    @cache_randomness
    def _draw(self) -> tuple[float | None, int | None]:
        """Draw the blur's standard deviation and the quality, None for none."""
        blurred, compressed = np.random.uniform(size=2) < self.prob
        sigma = np.random.uniform(*self.sigma)
        quality = np.random.randint(self.quality[0], self.quality[1] + 1)
        return sigma if blurred else None, quality if compressed else None

    def transform(self, results: dict) -> dict:
        """Change the image."""
        sigma, quality = self._draw()
        image = results['img']
        if sigma is not None:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
        if quality is not None:
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            _, content = cv2.imencode('.jpg', image, options)
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, sigma={self.sigma}, '
            f'quality={self.quality})'
        )
