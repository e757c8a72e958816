"""Pictures as maps of their patches and back: the order of `pixel_unshuffle`, but with the memory layouts that codecs have on each side.

Maps have their channels last, as convolutions want them, pictures their columns; torch's own functions keep the layout that they
are given, and take twice the time.
"""

from torch import Tensor


def unshuffled(x: Tensor, size: int) -> Tensor:
    """(N, C size^2, H / size, W / size), channels last, of pictures (N, C, H, W)."""
    n, channels, height, width = x.shape
    tiles = x.reshape(n, channels, height // size, size, width // size, size).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(n, height // size, width // size, channels * size**2).permute(0, 3, 1, 2)


def shuffled(f: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W), contiguous, of maps (N, C size^2, H / size, W / size)."""
    n, channels, height, width = f.shape
    tiles = f.unflatten(1, (-1, size, size)).permute(0, 1, 4, 2, 5, 3)
    return tiles.reshape(n, channels // size**2, height * size, width * size)
