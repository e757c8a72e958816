"""A network in the style of DeepLab (Chen et al., arXiv 1606.00915): atrous convolutions keep the map at 1/8, and a pyramid of them
sees each place at several scales."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tasks.networks.encoder import WIDTHS, Encoder, convolution

RATES = (1, 3, 6, 9)


class DeepLab(nn.Module):
    """Scores (N, K, H, W) of pictures (N, 3, H, W) in [0, 1]."""

    def __init__(self, classes: int):
        super().__init__()
        self.encoder = Encoder(dilations=(1, 1, 1, 2, 4))
        self.pyramid = nn.ModuleList(
            nn.Sequential(convolution(WIDTHS[4], WIDTHS[2], rate), nn.Dropout2d(0.1), nn.Conv2d(WIDTHS[2], classes, 1))
            for rate in RATES
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(x)[4].pooled
        y = sum(branch(y) for branch in self.pyramid)
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
