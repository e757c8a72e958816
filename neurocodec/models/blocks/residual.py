"""Residual blocks of two 3x3 convolutions (ResNet): deep stages train because each only corrects its input."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.winograd import Conv3x3


class Residual(nn.Module):
    """x + conv(activation(conv(activation(x)))): the form whose shortcut nothing disturbs. Cost: 18 C^2."""

    paper = "1603.05027"
    reach = 2

    def __init__(self, channels: int):
        super().__init__()
        self.first = Conv3x3(channels, channels)
        self.second = Conv3x3(channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.1)), 0.1))


class ResidualV1(nn.Module):
    """x + conv(activation(conv(x))), after the first form, without its last activation. Cost: 18 C^2."""

    paper = "1512.03385"
    reach = 2

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.orthogonal_(self.first.weight, 1.4)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), 0.1))
