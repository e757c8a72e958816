"""`photo`: the codec of whole pictures (`models/transform_coder.py`), 192 numbers per 16x16 pixels.

Bottlenecks keep it at 17 kMAC per pixel each way.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise
from neurocodec.models.transform_coder import TransformCoder


class Bottleneck(nn.Module):
    """x + wide(conv(narrow(x))) with activations before each, at first x alone (arXiv 1603.05027); (N, C, h, w) to the same."""

    convs = 1  # that reach one place further

    def __init__(self, channels: int):
        super().__init__()
        self.narrow = Pointwise(channels, channels // 2)
        self.conv = nn.Conv2d(channels // 2, channels // 2, 3, padding=1)
        self.wide = Pointwise(channels // 2, channels)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(F.leaky_relu(x, 0.1))
        y = self.conv(F.leaky_relu(y, 0.1))
        return x + self.wide(F.leaky_relu(y, 0.1))


class Photo(TransformCoder):
    """Maps at 1/4, 1/8 and 1/16."""

    unshuffle, stride = 4, 16
    finest, of_photos = 0.1, True
    block = Bottleneck

    def __init__(self, channels: int = 192, widths: Sequence[int] = (96, 160, 256), blocks: Sequence[int] = (2, 3, 4)):
        super().__init__(channels, widths, blocks)
