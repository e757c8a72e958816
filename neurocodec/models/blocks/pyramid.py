"""Spatial pyramid pooling as a block of context: means over a few large bins, beside what is there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise

_BINS = (1, 2, 4)  # each way


class Pyramid(nn.Module):
    """x + join of x and of its means over 1x1, 2x2 and 4x4 bins, of C/4 channels each, smoothly enlarged. Cost: 1.75 C^2.

    The pooling is that of the first paper; putting it back on the map, that of the second.
    """

    paper = "1406.4729, 1612.01105"
    reach = None

    def __init__(self, channels: int):
        super().__init__()
        few = channels // 4
        self.levels = nn.ModuleList(Pointwise(channels, few) for _ in _BINS)
        self.join = Pointwise(channels + few * len(_BINS), channels)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(self, x: Tensor) -> Tensor:
        seen, size = F.leaky_relu(x, 0.1), x.shape[2:]
        contexts = [
            F.interpolate(level(F.adaptive_avg_pool2d(seen, bins)), size, mode="bilinear", align_corners=False)
            for bins, level in zip(_BINS, self.levels, strict=True)
        ]
        return x + self.join(torch.cat([seen, *contexts], 1))
