"""The Haar pyramid of a latent's leading channels: means and differences of neighbours, in place.

Brightness and colours of adjacent patches are alike, of which no transform of single patches into as many numbers can make use. Each
level replaces 2x2 elements by an orthonormal mean, which the next level takes on, and three differences.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 2
GRID = 2**LEVELS  # elements, each way, that become one mean
_HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2  # its own inverse


def split(maps: Tensor, levels: int = LEVELS) -> Tensor:
    """Means and differences of maps, both float32 (N, C, h, w): the mean of GRID x GRID elements lies at the first of them.

    The last row and column of an odd number are paired with themselves.
    """
    height, width = maps.shape[2:]
    quads = _mixed(F.pad(maps, (0, width % 2, 0, height % 2), mode="replicate"))
    if levels > 1:
        quads = torch.cat([split(quads[:, :, 0], levels - 1)[:, :, None], quads[:, :, 1:]], 2)
    return F.pixel_shuffle(quads.flatten(1, 2), 2)[:, :, :height, :width]


def join(maps: Tensor, levels: int = LEVELS) -> Tensor:
    """The inverse of `split`."""
    height, width = maps.shape[2:]
    maps = F.pad(maps, (0, width % 2, 0, height % 2))
    if levels > 1:
        quads = F.pixel_unshuffle(maps, 2).unflatten(1, (-1, 4))
        quads = torch.cat([join(quads[:, :, 0], levels - 1)[:, :, None], quads[:, :, 1:]], 2)
        maps = F.pixel_shuffle(quads.flatten(1, 2), 2)
    return F.pixel_shuffle(_mixed(maps).flatten(1, 2), 2)[:, :, :height, :width]


def _mixed(maps: Tensor) -> Tensor:
    """Mean and differences of each 2x2 elements, or the other way round, (N, C, 4, h / 2, w / 2)."""
    return torch.einsum("ij,ncjyx->nciyx", _HAAR.to(maps), F.pixel_unshuffle(maps, 2).unflatten(1, (-1, 4)))
