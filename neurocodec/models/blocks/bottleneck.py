"""The bottleneck of deeper ResNets: the 3x3 convolution sees half of the channels."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise

SLOPE = 0.1  # of the activations, below 0


class Bottleneck(nn.Module):
    """x + wide(conv(narrow(x))), 1x1, 3x3, 1x1, with activations before each. Cost: 3.25 C^2."""

    paper = "1512.03385, 1603.05027"
    reach = 1

    def __init__(self, channels: int):
        super().__init__()
        self.narrow = Pointwise(channels, channels // 2)
        self.conv = nn.Conv2d(channels // 2, channels // 2, 3, padding=1)
        self.wide = Pointwise(channels // 2, channels)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(F.leaky_relu(x, SLOPE))
        y = self.conv(F.leaky_relu(y, SLOPE, inplace=True))
        return x + self.wide(F.leaky_relu(y, SLOPE, inplace=True))
