"""Fully convolutional networks (Long, Shelhamer & Darrell, arXiv 1411.4038).

    pool5 (1/32) -> scores -(x2)-+-(x2)-+-(x8)-> scores of every pixel        FCN-8s
    pool4 (1/16) -> scores ------'      |          FCN-16s goes on from here by x16, FCN-32s from the first scores by x32
    pool3 (1/8)  -> scores -------------'

Each starts from the one before (`encoder` and the deeper scores), as in the paper. Doubling is a transposed convolution that is
learned and starts as bilinear interpolation; the last step to the picture's size is bilinear, as there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tasks.networks.encoder import WIDTHS, Encoder, convolution


class FCN(nn.Module):
    """Scores (N, K, H, W) of pictures (N, 3, H, W) in [0, 1]."""

    def __init__(self, classes: int, skips: int):
        """skips: of how many shallower maps the scores are added: 0 for FCN-32s, 1 for FCN-16s, 2 for FCN-8s."""
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Sequential(
            convolution(WIDTHS[4], 2 * WIDTHS[4]), nn.Dropout2d(0.3), nn.Conv2d(2 * WIDTHS[4], classes, 1)
        )
        self.scores = nn.ModuleList(nn.Conv2d(WIDTHS[3 - i], classes, 1) for i in range(skips))
        self.twice = nn.ModuleList(doubling(classes) for _ in range(skips))
        for layer in self.scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x)
        y = self.head(seen[4].pooled)
        for i, (score, twice) in enumerate(zip(self.scores, self.twice, strict=True)):
            skip = score(seen[3 - i].pooled)
            y = fitted(twice(y), skip) + skip
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)


def doubling(channels: int) -> nn.ConvTranspose2d:
    """A transposed convolution to twice the size, bilinear at first."""
    layer = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = ramp[:, None] * ramp
    return layer


def fitted(y: Tensor, like: Tensor) -> Tensor:
    """y with its last row and column repeated, or cut, to the size of another map."""
    rows, columns = (b - a for a, b in zip(y.shape[2:], like.shape[2:], strict=True))
    return F.pad(y, (0, max(0, columns), 0, max(0, rows)), mode="replicate")[:, :, : like.shape[2], : like.shape[3]]
