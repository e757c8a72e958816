"""U-Net (Ronneberger, Fischer & Brox, arXiv 1505.04597): at each size, the encoder's map is put beside the decoder's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tasks.networks.encoder import WIDTHS, Encoder, Seen, convolution


class Decoder(nn.Module):
    """Of what an encoder's stages saw, outputs (N, K, H, W)."""

    def __init__(self, outputs: int):
        super().__init__()
        below = (*WIDTHS[1:], WIDTHS[4])
        self.stages = nn.ModuleList(convolution(width + under, width) for width, under in zip(WIDTHS, below, strict=True))
        self.middle = convolution(WIDTHS[4], WIDTHS[4])
        self.outputs = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(WIDTHS[0], outputs, 1))

    def forward(self, seen: list[Seen]) -> Tensor:
        y = self.middle(seen[4].pooled)
        for stage, at in zip(reversed(self.stages), reversed(seen), strict=True):
            y = stage(torch.cat([at.before, F.interpolate(y, size=at.before.shape[2:])], 1))
        return self.outputs(y)


class UNet(nn.Module):
    """Outputs (N, K, H, W) of pictures (N, 3, H, W) in [0, 1]."""

    def __init__(self, outputs: int):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
