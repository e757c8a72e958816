"""The objective of scalar latents: distortion plus bits, each picture known after a random number of passes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.planes import BASE, GROUPS, RUNGS, PLANES, group, planes_known
from neurocodec.train import losses


@dataclass(frozen=True)
class RateDistortion:
    """Loss = 1 - similarity + 5 MSE + lagrangian * step^power * bits, where step is that of the last rung.

    Similarity is SSIM, or in part MS-SSIM; bits are those of 1,024 pixels.
    """

    figures: ClassVar[str] = "bytes_ssim_ms_ssim_by_rungs"
    fewest: int = 28  # rungs; about 20 bytes of a thumbnail
    lagrangian: float = 6e-5
    power: float = 1.2
    partial: float = 0.5  # share of pictures of whose next pass the first digits are known
    multiscale: float = 0.0  # share of MS-SSIM in similarity
    shorter: float = 0.25  # share of steps whose pictures are narrower or lower than 32 pixels

    def loss(self, net: nn.Module, x: Tensor, progress: float, rng: np.random.Generator) -> Tensor:
        """A scalar; x: (N, 3, H, W) in [0, 1], H and W multiples of 8."""
        height, width = x.shape[2:]
        if rng.random() < self.shorter:
            side = int(rng.integers(14, 32))
            height, width = (side, width) if rng.random() < 0.5 else (height, side)
        x = x[:, :, :height, :width]
        passes = torch.from_numpy(rng.integers(self.fewest, RUNGS + 1, len(x)))
        z = net.analysis_transform(pad(x, net.stride))
        # Streams end anywhere, and digits are told channel by channel; most bytes of a pass are in the first ones.
        told = torch.from_numpy(rng.random(len(x)) ** 2 * (rng.random(len(x)) < self.partial)).float()
        first = torch.arange(z.shape[1])[:, None, None] < (told * z.shape[1]).round()[:, None, None, None]
        step = torch.where(first, steps_after((passes + 1).clamp_max(RUNGS), z.shape[1]), steps_after(passes, z.shape[1]))
        return self.cost(net, z, x, passes + told, step).mean()

    def cost(self, net: nn.Module, z: Tensor, x: Tensor, passes: Tensor, step: Tensor, known: bool = False) -> Tensor:
        """Of each picture, (N,); z: latent (N, C, h, w) of pictures x (N, 3, H, W), known to `step` after `passes`, (N,),
        whole or not.

        Rounding passes gradients on unchanged; the bits are those of latents with uniform noise in its place, or, where z is
        already `known`, its own.
        """
        height, width = x.shape[2:]
        with torch.autocast(x.device.type, enabled=False):
            z, step = z.float(), step.to(x.device)
            bits = net.prior(z if known else z + step * (torch.rand_like(z) - 0.5), step)
        rounded = z + (torch.round(z / step) * step - z).detach()
        y = net.synthesis_transform(rounded)[:, :, :height, :width].float()
        weight = self.lagrangian * BASE ** (self.power * (RUNGS - passes) / GROUPS)
        pixels = height * width / 1024  # so that a bit costs what it does at 32x32
        if self.multiscale:
            single, multi = losses.ms_ssim(x, y)
            similarity = (1 - self.multiscale) * single + self.multiscale * multi
        else:
            similarity = losses.ssim_each(x, y)
        error = ((x - y) ** 2).mean((1, 2, 3))
        return 1 - similarity + 5 * error + weight.to(x.device) * bits / pixels

    def validate(self, net: nn.Module, batches: list[Tensor]) -> list[list[float]]:
        """Mean [bytes by the prior, SSIM, MS-SSIM] after rungs 22, 24, ..., pictures rounded to 8 bits."""
        rows = []
        for count in range(22, RUNGS + 1, 2):
            sums = np.zeros(3)
            for x in batches:
                passes = torch.full((len(x),), count)
                z = net.analysis_transform(x)
                step = steps_after(passes, z.shape[1]).to(x.device)
                known = torch.round(z / step) * step
                y = net.synthesis_transform(known)
                bits = net.prior(known, step).sum()
                sums += float(bits) / 8, *(float(v.sum()) for v in losses.ms_ssim(x, losses.rounded(y)))
            rows.append([round(float(v), 4) for v in sums / sum(map(len, batches))])
        return rows


def pad(x: Tensor, stride: int) -> Tensor:
    """The last row and column repeated up to multiples of `stride`."""
    return F.pad(x, (0, -x.shape[3] % stride, 0, -x.shape[2] % stride), mode="replicate")


def steps_after(passes: Tensor, channels: int) -> Tensor:
    """Steps (N, C, 1, 1) to which each channel is known; passes: int (N,)."""
    exponents = torch.tensor([[PLANES - planes_known(int(n), j) for j in range(GROUPS)] for n in passes])
    return float(BASE) ** exponents[:, [group(c) for c in range(channels)]].float()[:, :, None, None]
