"""SegNet (Badrinarayanan, Kendall & Cipolla, arXiv 1511.00561): a decoder that unpools to where the encoder's maxima were."""

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tasks.networks.encoder import CONVOLUTIONS, WIDTHS, Encoder, convolution


class SegNet(nn.Module):
    """Scores (N, K, H, W) of pictures (N, 3, H, W) in [0, 1]."""

    def __init__(self, classes: int):
        super().__init__()
        self.encoder = Encoder()
        self.stages = nn.ModuleList()
        for width, outputs, count in zip(WIDTHS, (WIDTHS[0], *WIDTHS[:-1]), CONVOLUTIONS, strict=True):
            self.stages.append(nn.Sequential(*(convolution(width, width if i < count - 1 else outputs) for i in range(count))))
        self.scores = nn.Conv2d(WIDTHS[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x)
        y = seen[4].pooled
        for stage, at in zip(reversed(self.stages), reversed(seen), strict=True):
            y = stage(F.max_unpool2d(y, at.places, 2, output_size=at.before.shape[2:]))
        return self.scores(y)
