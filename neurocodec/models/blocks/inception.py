"""Inception: kernels of several sizes side by side, each behind a 1x1 convolution that lets it see few channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise


class Branches(nn.Module):
    """1x1, 1x1 - 3x3, 1x1 - 5x5 and pooling - 1x1, of C/4, C/2, C/8 and C/8 channels; C a multiple of 8."""

    def __init__(self, channels: int):
        super().__init__()
        quarter, eighth = channels // 4, channels // 8
        self.one = Pointwise(channels, quarter)
        self.to_three = Pointwise(channels, quarter)
        self.three = nn.Conv2d(quarter, channels - quarter - 2 * eighth, 3, padding=1)
        self.to_five = Pointwise(channels, eighth)
        self.five = nn.Conv2d(eighth, eighth, 5, padding=2)
        self.pooled = Pointwise(channels, eighth)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, 0.1)
        three = self.three(F.leaky_relu(self.to_three(x), 0.1))
        five = self.five(F.leaky_relu(self.to_five(x), 0.1))
        pooled = self.pooled(F.max_pool2d(x, 3, stride=1, padding=1))
        return torch.cat([self.one(x), three, five, pooled], 1)


class Inception(nn.Module):
    """The branches' outputs, one after the other. Cost: 2.3 C^2."""

    paper = "1409.4842"
    reach = 2

    def __init__(self, channels: int):
        super().__init__()
        self.branches = Branches(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.branches(x)


class InceptionResidual(nn.Module):
    """x + a 1x1 convolution of the branches' outputs (Inception-ResNet). Cost: 3.3 C^2."""

    paper = "1602.07261"
    reach = 2

    def __init__(self, channels: int):
        super().__init__()
        self.branches = Branches(channels)
        self.join = Pointwise(channels, channels)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.join(F.leaky_relu(self.branches(x), 0.1))
