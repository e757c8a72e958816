"""Preview: a transform codec for thumbnails whose latent is binarized plane by plane (after arXiv 1511.06085, section 3).

    x --> 3x3 convolutions at 1/2 -> 1/4 -> 1/8 of the size --> gain --> z, 64 numbers per 8x8 pixels --> planes of digits
      '-> linear transform of 8x8 pixels -------------------^
    y <-- convolutions at 1/2 <- 1/4 <- 1/8 of the size <------------- z known to some plane
      ^-- linear transform to 8x8 pixels <---------------------------'

The founding paper binarizes a tanh unit into one bit, and its network learns what the bits of later passes shall mean.
Here a latent is a number of which each pass tells some channels to one digit more (`neurocodec/planes.py`): the digits are
successive approximations by construction, they may be entropy-coded, and one network serves all rates. It is trained
at a random number of passes per picture, so that every prefix decodes well.

The linear transforms start as the Karhunen-Loeve transform of training pictures and its inverse, and the convolutions start
by adding nothing: the untrained network is a transform coder, and training starts from there.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise
from neurocodec.models.winograd import Conv3x3
from neurocodec.planes import BASE, GROUPS, group

_FINEST = 0.26  # step of the coefficients of an orthonormal transform that an untrained network is told to at last
_LOGISTIC = 3**0.5 / torch.pi  # scale of a logistic distribution of unit variance
_PATCH = 3 * 8 * 8  # samples
_PACE = 3.0  # how much faster than other parameters a prior's shall move


class Prior(nn.Module):
    """How latents are distributed, for counting bits in training: per channel a logistic distribution."""

    def __init__(self, scale: Tensor):
        """scale: of each channel at first, (C,)."""
        super().__init__()
        self.mean = nn.Parameter(torch.zeros_like(scale))
        self.scale = nn.Parameter(scale.log() / _PACE)

    def forward(self, z: Tensor, step: Tensor) -> Tensor:
        """Bits of each picture, (N,), for intervals of width `step` (N, C, 1, 1) around z (N, C, h, w)."""
        rate = torch.exp(-_PACE * self.scale)[:, None, None]
        far = (z - _PACE * self.mean[:, None, None]).abs() * rate
        half = 0.5 * step * rate
        return -torch.log2((torch.sigmoid(half - far) - torch.sigmoid(-half - far)).clamp_min(1e-7)).sum((1, 2, 3))


class ResidualBlock(nn.Module):
    """x + conv(activation(conv(activation(x)))), at first x alone (arXiv 1603.05027); (N, C, h, w) to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = Conv3x3(channels, channels)
        self.second = Conv3x3(channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.1)), 0.1))


class Preview(nn.Module):
    """The network as a codec sees it: `analysis_transform` and `synthesis_transform`. Latent: (N, C, H/8, W/8)."""

    stride = 8
    linear_parts: ClassVar[tuple[str, ...]] = ("analysis", "synthesis")  # parameters that start well

    def __init__(self, channels: int = 64, widths: Sequence[int] = (64, 128, 256), blocks: Sequence[int] = (1, 2, 2)):
        """channels: of the latent; widths: of the maps at 1/2, 1/4 and 1/8; blocks: residual blocks there, each way."""
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels, "widths": tuple(widths), "blocks": tuple(blocks)}
        gain = torch.tensor([BASE ** (group(c) / GROUPS) for c in range(channels)])
        self.register_buffer("gain", gain.view(1, channels, 1, 1))
        self.prior = Prior(gain)

        def residual(level: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(widths[level]) for _ in range(blocks[level])))

        self.analysis = Pointwise(_PATCH, channels)
        self.synthesis = Pointwise(channels, _PATCH)
        self.down = nn.ModuleList(
            (
                nn.Conv2d(12, widths[0], 3, padding=1),
                nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1),
                nn.Conv2d(widths[1], widths[2], 3, stride=2, padding=1),
            )
        )
        self.down_blocks = nn.ModuleList(residual(level) for level in range(3))
        self.to_latent = Pointwise(widths[2], channels)
        self.from_latent = Conv3x3(channels, widths[2])
        self.up_blocks = nn.ModuleList(residual(level) for level in range(3))
        self.up = nn.ModuleList((Pointwise(widths[1], 4 * widths[0]), Pointwise(widths[2], 4 * widths[1])))
        self.to_pixels = nn.Conv2d(widths[0], 12, 3, padding=1)

    @classmethod
    def start(cls, pictures: list[Tensor], **config: Any) -> "Preview":
        """An untrained network that is a transform coder of such pictures, float32 (N, 3, H, W) in [0, 1]."""
        net = cls(**config)
        patches = F.pixel_unshuffle(pictures[0] - 0.5, cls.stride).permute(0, 2, 3, 1).reshape(-1, _PATCH)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        largest = torch.arange(_PATCH - 1, _PATCH - 1 - len(net.gain[0]), -1)
        basis, deviation = vectors[:, largest], values[largest].clamp_min(1e-9).sqrt() / _FINEST
        with torch.no_grad():
            net.analysis.weight.copy_(basis.T / _FINEST)
            net.synthesis.weight.copy_(basis * _FINEST)
            net.from_latent.weight.div_(deviation.max())
            net.prior.scale.add_((_LOGISTIC * deviation).log() / _PACE)
            for part in (net.analysis.bias, net.synthesis.bias, *net.to_latent.parameters(), *net.to_pixels.parameters()):
                part.zero_()
        return net

    def analysis_transform(self, x: Tensor) -> Tensor:
        """Latent of pictures (N, 3, H, W) in [0, 1], H and W multiples of 8, in units of the finest step."""
        f = F.pixel_unshuffle(x - 0.5, 2)
        for down, blocks in zip(self.down, self.down_blocks, strict=True):
            f = blocks(down(f))
        return (self.to_latent(f) + self.analysis(F.pixel_unshuffle(x - 0.5, self.stride))) * self.gain

    def synthesis_transform(self, z: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), about [0, 1], not clipped, of a latent known after any passes."""
        z = z / self.gain
        f = self.from_latent(z)
        for level in (2, 1):
            f = F.pixel_shuffle(self.up[level - 1](self.up_blocks[level](f)), 2)
        y = F.pixel_shuffle(self.to_pixels(self.up_blocks[0](f)), 2)
        return y + F.pixel_shuffle(self.synthesis(z), self.stride) + 0.5
