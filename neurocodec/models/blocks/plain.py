"""A plain convolution."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.winograd import Conv3x3


class Plain(nn.Module):
    """conv(activation(x)), 3x3, which at first passes the activation on. Cost: 9 C^2."""

    paper = "1409.1556"
    reach = 1

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv3x3(channels, channels)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.leaky_relu(x, 0.1))
