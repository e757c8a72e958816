"""Efficient spatial pyramid (ESPNet): dilated convolutions of a reduced map, summed up hierarchically."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise

_DILATIONS = (1, 2, 4, 8)


class ESP(nn.Module):
    """x + join of four 3x3 convolutions, 1, 2, 4 and 8 places apart, of C/4 channels each. Cost: 3.5 C^2.

    Each is added to the one before, so that wide kernels leave no grid (hierarchical feature fusion).
    """

    paper = "1803.06815"
    reach = max(_DILATIONS)

    def __init__(self, channels: int):
        super().__init__()
        few = channels // len(_DILATIONS)
        self.reduce = Pointwise(channels, few)
        self.dilated = nn.ModuleList(nn.Conv2d(few, few, 3, padding=d, dilation=d) for d in _DILATIONS)
        self.join = Pointwise(few * len(_DILATIONS), channels)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.reduce(F.leaky_relu(x, 0.1)), 0.1)
        fused = torch.stack([conv(y) for conv in self.dilated]).cumsum(0)
        return x + self.join(F.leaky_relu(torch.cat(tuple(fused), 1), 0.1))
