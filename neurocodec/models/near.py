"""A 3x3 convolution of many channels of which only the leading ones say something of their neighbours."""

from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise
from neurocodec.models.winograd import Conv3x3


class NearConv(nn.Module):
    """Sees the 3x3 places around of leading channels, and of the others only the place itself; (N, C, h, w) to (N, D, h, w)."""

    def __init__(self, channels: int, outputs: int, near: int):
        """near: how many channels lead."""
        super().__init__()
        self.near = Conv3x3(near, outputs)
        self.own = Pointwise(channels - near, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        near, own = x.split([self.near.in_channels, self.own.in_features], 1)
        return self.near(near) + self.own(own)
