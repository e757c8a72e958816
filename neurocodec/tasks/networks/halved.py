"""A network that sees pictures at half of their size: a quarter of the work, so that training from scratch sees more of them."""

import torch.nn.functional as F
from torch import Tensor, nn


class Halved(nn.Module):
    """Scores (N, K, H, W) of pictures (N, 3, H, W), enlarged from those (N, K, h, w) that a network gives half of each side.

    While it is trained they are not enlarged: they are of every other row and column.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(F.avg_pool2d(x, 2, ceil_mode=True))
        return scores if self.training else F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=False)
