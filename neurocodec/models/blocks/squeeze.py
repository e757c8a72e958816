"""Squeeze and excitation: what a map holds on the whole decides how strongly each channel counts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.blocks.residual import Residual


class SqueezeExcitation(Residual):
    """A residual block whose correction is scaled, channel by channel, by a gate of its means. Cost: 18 C^2, and C^2 / 2 a map."""

    paper = "1709.01507"
    reach = None

    def __init__(self, channels: int):
        super().__init__(channels)
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.1)), 0.1))
        gate = torch.sigmoid(self.excite(F.leaky_relu(self.squeeze(y.mean((2, 3))), 0.1)))
        return x + y * gate[:, :, None, None]
