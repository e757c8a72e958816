"""The bottleneck of deeper ResNets: the 3x3 convolution sees half of the channels, or fewer."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise

SLOPE = 0.1  # of the activations, below 0


class Bottleneck(nn.Module):
    """x + wide(conv(narrow(x))), 1x1, 3x3, 1x1, with activations before each. Cost: 3.25 C^2."""

    paper = "1512.03385, 1603.05027"
    reach = 1

    def __init__(self, channels: int, inner: int | None = None):
        """inner: channels of the 3x3 convolution, if not half."""
        super().__init__()
        inner = inner or channels // 2
        self.narrow = Pointwise(channels, inner)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1)
        self.wide = Pointwise(inner, channels)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(F.leaky_relu(x, SLOPE))
        y = self.conv(F.leaky_relu(y, SLOPE, inplace=True))
        return x + self.wide(F.leaky_relu(y, SLOPE, inplace=True))
