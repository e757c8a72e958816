"""Grouped convolution (ResNeXt): a bottleneck of many narrow paths that do not see each other."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise

_PATH = 4  # channels of a path


class Grouped(nn.Module):
    """x + wide(grouped(narrow(x))), 1x1, 3x3, 1x1, with activations before each; C a multiple of 8. Cost: C^2 + 18 C."""

    paper = "1611.05431"
    reach = 1

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.narrow = Pointwise(channels, half)
        self.grouped = nn.Conv2d(half, half, 3, padding=1, groups=half // _PATH)
        self.wide = Pointwise(half, channels)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.grouped(F.leaky_relu(self.narrow(F.leaky_relu(x, 0.1)), 0.1))
        return x + self.wide(F.leaky_relu(y, 0.1))
