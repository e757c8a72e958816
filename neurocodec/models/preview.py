"""Preview: a transform codec for thumbnails whose latents are binarized plane by plane (after arXiv 1511.06085, section 3).

    x -> analysis (linear, three scales) -(+)-> gain -> z -> planes of bits          48 channels at 1/32 of the size
     `-> convolutions at 1/4 ... 1/32 ----'                                          36 at 1/16, 52 at 1/8
    y <-(+)- convolutions at 1/4 <- 1/8 <- 1/16 <- 1/32 <- z known to some plane
         `-- base <- transform (linear, three scales) <----'

The founding paper binarizes a tanh unit into one bit, and its network learns what the bits of later passes shall mean.
Here a latent is a number of which each pass tells some elements to one binary digit more (`neurocodec/planes.py`): the
bits are successive approximations by construction, they may be entropy-coded, and one network serves all rates. It is
trained at a random number of passes per picture, so that every prefix decodes well.

The linear part starts as a Karhunen-Loeve transform of 8x8 blocks whose strongest components are transformed again
together with those of their neighbours, twice; the convolutions start by adding nothing to it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.conv_lstm import Pointwise, ResidualBlock
from neurocodec.planes import GROUPS, PASSES, group

_FINEST = 0.14  # of a linear component, in units of the picture's range times the root of its block's samples
_KNOWN = 8  # features that tell the decoder how many passes there are


class Prior(nn.Module):
    """How a level's elements are distributed, for counting bits in training: per channel a mixture of two logistics."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))  # logarithm; that of the narrower half of the elements
        self.ratio = nn.Parameter(torch.full((channels,), 1.0))
        self.share = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor, step: Tensor) -> Tensor:
        """Bits of each picture, (N,), told to `step` (N, C, 1, 1) with a dead zone; z: (N, C, h, w).

        The gradient is that of the bits of an interval as it moves with z, though it only does in whole steps.
        """
        n = (z.detach().abs() / step).floor()
        low = n * step + torch.where(n > 0, z.abs() - z.detach().abs(), torch.zeros_like(z))
        share = torch.sigmoid(self.share)[:, None, None]
        narrow = _logistic(low, step, self.scale)
        wide = _logistic(low, step, self.scale + F.softplus(self.ratio))
        mixed = share * narrow + (1 - share) * wide
        return -torch.log2(torch.where(n > 0, mixed, 2 * mixed).clamp_min(1e-7)).sum((1, 2, 3))


def _logistic(low: Tensor, step: Tensor, scale: Tensor) -> Tensor:
    """Probability of [low, low + step) under a logistic distribution."""
    rate = torch.exp(-scale)[:, None, None]
    return torch.sigmoid(-low * rate) - torch.sigmoid(-(low + step) * rate)


class Preview(nn.Module):
    """The network as a codec sees it: `analysis_transform`, `approximate`, `synthesis_transform`. Latents: (N, C, H/s, W/s) for s in `strides`."""

    strides = (32, 16, 8)
    linear_parts = ("linear", "inverse")  # parameters that start well

    def __init__(
        self,
        channels: Sequence[int] = (48, 36, 52),
        carried: int = 12,
        encoder: Sequence[int] = (64, 128),
        decoder: Sequence[int] = (64, 144),
    ):
        """channels: of the latents, coarse to fine; carried: of a scale on to the next coarser one; others: at 1/4, 1/8."""
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": tuple(channels),
            "carried": carried,
            "encoder": tuple(encoder),
            "decoder": tuple(decoder),
        }
        patches = (4 * carried, 4 * carried, 3 * 64)
        kept = (channels[0], channels[1] + carried, channels[2] + carried)
        self.linear = nn.ModuleList(Pointwise(p, k, bias=False) for p, k in zip(patches, kept, strict=True))
        self.inverse = nn.ModuleList(Pointwise(k, p, bias=False) for p, k in zip(patches, kept, strict=True))
        for level, c in enumerate(channels):
            step = torch.tensor([2.0 ** (group(level, i) / GROUPS) / _FINEST for i in range(c)])
            self.register_buffer(f"gain{level}", step.view(1, c, 1, 1))
            self.register_buffer(f"size{level}", torch.ones(1, c, 1, 1))  # standard deviation of z / gain at the start
        self.prior = nn.ModuleList(Prior(c) for c in channels)
        self.offset = nn.ParameterList(torch.full((2, c), -0.3) for c in channels)
        fine, coarse = encoder
        self.look = nn.Conv2d(48, fine, 3, padding=1)
        self.look_block = ResidualBlock(fine)
        self.down = nn.ModuleList(nn.Conv2d(i, coarse, 3, stride=2, padding=1) for i in (coarse, coarse, fine))
        self.down_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(coarse) for _ in range(count))) for count in (1, 1, 2)
        )
        self.heads = nn.ModuleList(Pointwise(coarse, c) for c in channels)
        fine, coarse = decoder
        self.lift = nn.ModuleList(nn.Conv2d(c, coarse, 3, padding=1) for c in channels)
        self.up = nn.ModuleList(Pointwise(coarse, 4 * coarse) for _ in channels[1:])
        self.known = nn.Linear(_KNOWN, coarse)
        self.up_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(coarse) for _ in range(count))) for count in (1, 1, 2)
        )
        self.widen = Pointwise(coarse, 4 * fine)
        self.from_base = nn.Conv2d(48, fine, 3, padding=1)
        self.blocks = nn.Sequential(ResidualBlock(fine), ResidualBlock(fine))
        self.to_pixels = nn.Conv2d(fine, 48, 3, padding=1)
        for layer in (self.look, *self.down, *self.lift, *self.up, self.widen, self.from_base):
            nn.init.orthogonal_(layer.weight, 1.0)
        for layer in (*self.heads, self.to_pixels, self.known):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @classmethod
    def start(cls, pictures: list[Tensor], **config: Any) -> "Preview":
        """An untrained network: a linear transform coder for such pictures, float32 (N, 3, H, W) in [0, 1]."""
        net = cls(**config)
        carried = net.config["carried"]
        maps = [p - 0.5 for p in pictures]
        with torch.no_grad():
            for level, block in ((2, 8), (1, 2), (0, 2)):
                maps = [F.pixel_unshuffle(m, block) for m in maps]
                samples = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, m.shape[1]) for m in maps])
                values, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
                kept = net.linear[level].out_features
                basis = vectors.flip(1)[:, :kept]
                net.linear[level].weight.copy_(basis.T)
                net.inverse[level].weight.copy_(basis)
                own = values.flip(0)[:kept].clamp_min(1e-6).sqrt()[carried if level else 0 :]
                getattr(net, f"size{level}").copy_(own.view(1, -1, 1, 1))
                net.prior[level].scale.copy_((own * getattr(net, f"gain{level}").flatten()).log() - 1)
                maps = [net.linear[level](m)[:, :carried] for m in maps]
        return net

    def estimate(self, level: int, lower: Tensor, step: Tensor) -> Tensor:
        """What an element of a level is taken to be that is known to lie within a step above `lower`, in magnitude.

        lower: (N, C, h, w), a multiple of step with the element's sign, or 0, which stands for itself; step: broadcast.
        The fraction of a step that is added is learned: one per channel for where an element has just become known, and
        one for more.
        """
        first, later = torch.sigmoid(self.offset[level]).view(2, 1, -1, 1, 1)
        return lower + lower.sign() * step * torch.where(lower.abs() == step, first, later)

    def approximate(self, level: int, z: Tensor, step: Tensor) -> Tensor:
        """`estimate` of a latent z (N, C, h, w) told to `step` (N, C, 1, 1); the gradient passes unchanged."""
        lower = (z.detach() / step).trunc() * step
        return self.estimate(level, lower, step) + (z - z.detach())

    def analysis_transform(self, x: Tensor) -> list[Tensor]:
        """Latents, coarse to fine, of pictures (N, 3, H, W) in [0, 1], H and W multiples of 32."""
        carried = self.config["carried"]
        linear = []
        m = x - 0.5
        for level, block in ((2, 8), (1, 2), (0, 2)):
            m = self.linear[level](F.pixel_unshuffle(m, block))
            linear.append(m[:, carried if level else 0 :])
            m = m[:, :carried]
        f = self.look_block(F.leaky_relu(self.look(F.pixel_unshuffle(x - 0.5, 4)), 0.1))  # (N, E, H/4, W/4)
        latents = []
        for level, y in zip((2, 1, 0), linear, strict=True):
            f = self.down_blocks[level](F.leaky_relu(self.down[level](f), 0.1))  # (N, E, H/s, W/s)
            latents.append((y + self.heads[level](f)) * getattr(self, f"gain{level}"))
        return latents[::-1]

    def synthesis_transform(self, latents: Sequence[Tensor], passes: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), about [0, 1], not clipped, of latents known after some passes.

        passes: float (N,), 0 .. PASSES, the last one perhaps in part.
        """
        values = [z / getattr(self, f"gain{level}") for level, z in enumerate(latents)]
        base, f = values[0], None
        for level, block in ((0, 2), (1, 2), (2, 8)):
            base = F.pixel_shuffle(self.inverse[level](base if level == 0 else torch.cat([base, values[level]], 1)), block)
            lifted = self.lift[level](values[level] / getattr(self, f"size{level}"))
            f = lifted if f is None else lifted + F.pixel_shuffle(self.up[level - 1](f), 2)
            if level == 2:
                octave = torch.arange(1, _KNOWN + 1, device=passes.device) * torch.pi
                f = f + self.known(torch.cos(passes[:, None] / PASSES * octave)).view(len(passes), -1, 1, 1)
            f = self.up_blocks[level](F.leaky_relu(f, 0.1))  # (N, D, H/s, W/s)
        y = F.pixel_shuffle(self.widen(f), 2) + self.from_base(F.pixel_unshuffle(base, 4))  # (N, D, H/4, W/4)
        return base + 0.5 + F.pixel_shuffle(self.to_pixels(self.blocks(F.leaky_relu(y, 0.1))), 4)
