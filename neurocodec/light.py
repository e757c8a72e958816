"""How light a frame is beside its camera's scene: of each colour a gain and an offset, as automatic exposure and the day change them.

A light is LIGHT bytes: whole numbers, modulo 256, of green, of red less green and of blue less green, three for gains, less 1, in
units of 1 / 128, and three for offsets in units of 1 / 255.
"""

import numpy as np

from neurocodec.images import Picture

LIGHT = 6  # bytes
_UNITS = np.array([128.0, 255.0])
_ROUNDS, _SPARED, _LEVEL = 6, 2.5, 1 / 255  # of least squares; medians of the error that are not spared; what is no error at all
_FLAT = 1e-4  # variance of pictures that say little of a gain


def fit(scene: Picture, frame: Picture) -> bytes:
    """The light in which a scene is most like a frame of its size, where that is the scene at all."""
    numbers = [_fitted(x.ravel(), y.ravel()) for x, y in zip(*(p.rgb[:, ::2, ::2] for p in (scene, frame)), strict=True)]
    red, green, blue = np.array(numbers)
    return (np.stack([green, red - green, blue - green]).T % 256).astype(np.uint8).tobytes()


def lit(picture: Picture, light: bytes) -> Picture:
    """A picture in a light."""
    green, red, blue = np.frombuffer(light, np.uint8).reshape(2, 3).T.astype(int)
    numbers = np.stack([red + green, green, blue + green]).astype(np.int8)  # modulo 256
    gain, offset = (numbers / _UNITS).astype(np.float32).T[:, :, None, None]
    return Picture(np.clip((1 + gain) * picture.rgb + offset, 0, 1))


def _fitted(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Gain and offset from x to y, in their units, by least squares of what is not far off."""
    near, gain, offset = np.ones(len(x), bool), 1.0, float(np.median(y - x))
    for _ in range(_ROUNDS):
        error = np.abs(gain * x + offset - y)
        near = error <= _SPARED * np.median(error) + _LEVEL
        off = x[near] - x[near].mean()
        gain = float(((off * y[near]).mean() + _FLAT) / ((off * off).mean() + _FLAT))
        gain = 1 + _whole(gain - 1, 0) / _UNITS[0]
        offset = float((y[near] - gain * x[near]).mean())
    return _whole(gain - 1, 0), _whole(offset, 1)


def _whole(value: float, which: int) -> int:
    return int(np.clip(np.round(value * _UNITS[which]), -128, 127))
