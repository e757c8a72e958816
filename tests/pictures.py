"""Pictures that tests of `images` share, and what holds for every one that was loaded."""

import io

import numpy as np
from PIL import Image

from neurocodec import images

RGB = np.random.default_rng(7).integers(0, 256, (6, 9, 3), np.uint8)
GREY = RGB[..., 0]
ALPHA = RGB[..., 1]
COLOURS = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (30, 140, 90)]


def levels(picture: images.Picture) -> np.ndarray:
    """(H, W, 3) float in 0..255, after the checks that hold for every Picture."""
    assert picture.rgb.dtype == np.float32 and picture.rgb.shape == (3, picture.height, picture.width)
    assert picture.rgb.min() >= 0 and picture.rgb.max() <= 1
    if picture.alpha is not None:
        assert picture.alpha.dtype == np.uint8 and picture.alpha.shape == picture.rgb.shape[1:]
    return picture.rgb.transpose(1, 2, 0).astype(np.float64) * 255


def saved(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()
