"""A small residual network for thumbnails (He et al., arXiv 1512.03385, section 4.2), with batch normalisation and dropout."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tasks.networks.encoder import convolution

WIDTHS = (32, 64, 128)


class Classifier(nn.Module):
    """Scores (N, K) of pictures (N, 3, H, W) in [0, 1]."""

    def __init__(self, classes: int):
        super().__init__()
        self.first = convolution(3, WIDTHS[0])
        self.wider = nn.ModuleList(convolution(a, b) for a, b in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True))
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
            for width in WIDTHS
        )
        self.scores = nn.Sequential(nn.Dropout(0.4), nn.Linear(WIDTHS[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(2 * x - 1)
        for i, (wider, block) in enumerate(zip(self.wider, self.blocks, strict=True)):
            y = wider(F.max_pool2d(y, 2) if i else y)
            y = F.relu(y + block(y))
        return self.scores(y.mean((2, 3)))
