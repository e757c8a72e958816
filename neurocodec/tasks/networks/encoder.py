"""The encoder that the segmentation networks share: five stages of convolutions, each followed by pooling (VGG, arXiv 1409.1556).

Narrower than VGG, and with batch normalisation (arXiv 1502.03167), so that it learns from scratch. Weights start as He et al.
propose (arXiv 1502.01852).
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 128)
CONVOLUTIONS = (1, 2, 2, 2, 2)


class Seen(NamedTuple):
    """Of a stage: its map before and after pooling, and where the pooled values were; (N, C, h, w), (N, C, h/2, w/2) twice."""

    before: Tensor
    pooled: Tensor
    places: Tensor | None


class Encoder(nn.Module):
    """(N, 3, H, W) in [0, 1] to what the stages see, at 1/1, 1/2, ... of the size, rounded down."""

    def __init__(self, dilations: tuple[int, ...] = (1, 1, 1, 1, 1)):
        """dilations: of each stage; one above 1 is not followed by pooling (atrous convolutions: arXiv 1606.00915)."""
        super().__init__()
        self.dilations, inputs, stages = dilations, 3, []
        for width, count, dilation in zip(WIDTHS, CONVOLUTIONS, dilations, strict=True):
            stages.append(nn.Sequential(*(convolution(inputs if not i else width, width, dilation) for i in range(count))))
            inputs = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Seen]:
        return self.run(2 * x - 1, 0, len(WIDTHS))

    def run(self, x: Tensor, first: int, end: int) -> list[Seen]:
        """What some of the stages see, of the map that the first of them takes."""
        seen = []
        for stage, dilation in zip(self.stages[first:end], self.dilations[first:end], strict=True):
            before = stage(x)
            x, places = F.max_pool2d(before, 2, return_indices=True) if dilation == 1 else (before, None)
            seen.append(Seen(before, x, places))
        return seen


def convolution(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())
