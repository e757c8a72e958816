"""ThumbHash (Evan Wallace's format) of opaque pictures: the few lowest DCT coefficients of brightness and two colours.

Written anew because no package both decodes as the reference does and lives with today's Pillow; it gives the bytes and
pixels of thumbhash-python 1.0.1. A hash is 3 + 2 bytes of averages and scales, then 4 bits for each coefficient of
l = (r + g + b) / 3, p = (r + g) / 2 - b and q = r - g.
"""

import numpy as np
from PIL import Image

_MOST, _COLOUR = 7, 3  # coefficients along a side: of brightness the longer one, of colours
_SATURATION = 1.25  # the reference decoder's compensation for coarse quantization


def encode(image: Image.Image) -> bytes:
    """The hash of an RGB picture of at most 100 pixels a side."""
    width, height = image.size
    r, g, b = np.asarray(image, np.float64).transpose(2, 0, 1) / 255
    across, down = (max(1, _round(_MOST * n / max(width, height))) for n in (width, height))
    planes = ((r + g + b) / 3, (r + g) / 2 - b, r - g)
    sizes = ((max(3, across), max(3, down)), (_COLOUR, _COLOUR), (_COLOUR, _COLOUR))
    dc, scales, nibbles = [], [], []
    for plane, (nx, ny) in zip(planes, sizes, strict=True):
        cosines = _cosines(height, ny).T @ plane @ _cosines(width, nx) / plane.size
        first, *rest = cosines[_kept(nx, ny)]
        scale = max(map(abs, rest))
        dc.append(first)
        scales.append(scale)
        nibbles += [_round(7.5 + 7.5 * f / scale) if scale else 0 for f in rest]
    wide = width > height
    l_dc, p_dc, q_dc = _round(63 * dc[0]), _round(31.5 + 31.5 * dc[1]), _round(31.5 + 31.5 * dc[2])
    averages = l_dc | p_dc << 6 | q_dc << 12 | _round(31 * scales[0]) << 18
    shape = (down if wide else across) | _round(63 * scales[1]) << 3 | _round(63 * scales[2]) << 9 | wide << 15
    nibbles += [0] * (len(nibbles) % 2)
    pairs = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return averages.to_bytes(3, "little") + shape.to_bytes(2, "little") + pairs


def decode(data: bytes, size: tuple[int, int]) -> Image.Image:
    """The RGB picture of a hash at a size (width, height) of the shape that was encoded."""
    averages, shape = int.from_bytes(data[:3], "little"), int.from_bytes(data[3:5], "little")
    other, wide = max(3, shape & 7), shape >> 15
    sizes = ((_MOST, other) if wide else (other, _MOST), (_COLOUR, _COLOUR), (_COLOUR, _COLOUR))
    dc = ((averages & 63) / 63, (averages >> 6 & 63) / 31.5 - 1, (averages >> 12 & 63) / 31.5 - 1)
    colour = (_SATURATION * (shape >> 3 & 63) / 63, _SATURATION * (shape >> 9 & 63) / 63)
    scales = ((averages >> 18 & 31) / 31, *colour)
    nibbles = iter([n for pair in data[5:] for n in (pair & 15, pair >> 4)])
    planes = []
    for (nx, ny), first, scale in zip(sizes, dc, scales, strict=True):
        kept = _kept(nx, ny)
        cosines = np.zeros((ny, nx))
        cosines[kept] = [first / 2, *(scale * (next(nibbles) / 7.5 - 1) for _ in range(kept.sum() - 1))]
        planes.append(2 * _cosines(size[1], ny) @ cosines @ _cosines(size[0], nx).T)
    l, p, q = planes
    b = l - 2 / 3 * p
    r = (3 * l - b + q) / 2
    rgb = np.stack([r, r - q, b], 2)
    return Image.fromarray((255 * rgb.clip(0, 1) + 0.5).astype(np.uint8))


def _round(x: float) -> int:
    return int(np.floor(x + 0.5))


def _cosines(length: int, count: int) -> np.ndarray:
    """(length, count): the first cosines along a side."""
    return np.cos(np.pi / length * np.outer(np.arange(length) + 0.5, np.arange(count)))


def _kept(nx: int, ny: int) -> np.ndarray:
    """Boolean (ny, nx): the triangle of coefficients that a hash keeps, in raster order."""
    return np.arange(nx) * ny < nx * (ny - np.arange(ny)[:, None])
