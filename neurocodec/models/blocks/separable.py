"""Depthwise separable convolution (MobileNet): places are mixed channel by channel, channels place by place."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise


class Separable(nn.Module):
    """x + pointwise(activation(depthwise(activation(x)))), 3x3 and 1x1. Cost: C^2 + 9 C."""

    paper = "1704.04861"
    reach = 1

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = Pointwise(channels, channels)
        nn.init.zeros_(self.pointwise.weight)
        nn.init.zeros_(self.pointwise.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(F.leaky_relu(self.depthwise(F.leaky_relu(x, 0.1)), 0.1))
