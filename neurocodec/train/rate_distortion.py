"""The objective of scalar latents: distortion plus bits, each picture known after a random number of passes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.planes import GROUPS, PASSES, PLANES, group, planes_known
from neurocodec.train import losses


@dataclass(frozen=True)
class RateDistortion:
    """Loss = 1 - SSIM + 10 MSE + lagrangian * step^power * bits, where step is that of the last pass."""

    figures: ClassVar[str] = "bytes_ssim_by_passes"
    fewest: int = 12  # passes; about 14 bytes of a thumbnail
    most: int = 28  # for nine pictures in ten: about 300 bytes
    lagrangian: float = 2.5e-5
    power: float = 1.6
    shorter: float = 0.25  # share of steps whose pictures are narrower or lower than the network's 32 pixels

    def loss(self, net: nn.Module, x: Tensor, progress: float, rng: np.random.Generator) -> Tensor:
        """A scalar; x: (N, 3, H, W) in [0, 1], H and W multiples of 32."""
        height, width = x.shape[2:]
        if rng.random() < self.shorter:
            side = int(rng.integers(14, 32))
            height, width = (side, width) if rng.random() < 0.5 else (height, side)
        x = x[:, :, :height, :width]
        usual = rng.integers(self.fewest, self.most + 1, len(x))
        many = rng.integers(self.most, PASSES + 1, len(x))
        passes = torch.from_numpy(np.where(rng.random(len(x)) < 0.9, usual, many))
        latents = crop(net, net.analysis_transform(pad(x)), height, width)
        return self.cost(net, latents, x, passes).mean()

    def cost(self, net: nn.Module, latents: list[Tensor], x: Tensor, passes: Tensor) -> Tensor:
        """Of each picture, (N,); latents: of pictures x (N, 3, h, w), cropped, known after `passes`, int (N,)."""
        height, width = x.shape[2:]
        with torch.autocast(x.device.type, enabled=False):
            latents = [z.float() for z in latents]
            steps = [step.to(x.device) for step in steps_after(passes, [z.shape[1] for z in latents])]
            bits = sum(net.prior[i](z, step) for i, (z, step) in enumerate(zip(latents, steps, strict=True)))
        known = [net.approximate(i, z, step) for i, (z, step) in enumerate(zip(latents, steps, strict=True))]
        known = uncrop(net, known, *(-(-n // 32) * 32 for n in (height, width)))
        y = net.synthesis_transform(known, passes.float().to(x.device))[:, :, :height, :width].float()
        weight = self.lagrangian * 2.0 ** (self.power * (PASSES - passes.float()) / GROUPS)
        pixels = height * width / 1024  # so that a bit costs what it does at 32x32
        similarity, error = losses.ssim_each(x, y), ((x - y) ** 2).mean((1, 2, 3))
        return 1 - similarity + 10 * error + weight.to(x.device) * bits / pixels

    def validate(self, net: nn.Module, batches: list[Tensor]) -> list[list[float]]:
        """Mean [bytes by the static prior, SSIM] after passes 12, 14, ... 32, pictures rounded to 8 bits."""
        rows = []
        for count in range(12, PASSES + 1, 2):
            sums = np.zeros(2)
            for x in batches:
                passes = torch.full((len(x),), count)
                latents = net.analysis_transform(x)
                steps = [step.to(x.device) for step in steps_after(passes, [z.shape[1] for z in latents])]
                pairs = list(enumerate(zip(latents, steps, strict=True)))
                bits = sum(net.prior[i](z, step) for i, (z, step) in pairs)
                y = net.synthesis_transform([net.approximate(i, z, step) for i, (z, step) in pairs], passes.float().to(x.device))
                sums += float(bits.sum()) / 8, float(losses.ssim(x, losses.rounded(y))) * len(x)
            rows.append([round(float(v), 4) for v in sums / sum(map(len, batches))])
        return rows


def pad(x: Tensor) -> Tensor:
    """The last row and column repeated up to multiples of 32."""
    return F.pad(x, (0, -x.shape[3] % 32, 0, -x.shape[2] % 32), mode="replicate")


def crop(net: nn.Module, latents: list[Tensor], height: int, width: int) -> list[Tensor]:
    """Only the elements whose pixels begin inside the picture: they alone are coded."""
    return [z[:, :, : -(-height // s), : -(-width // s)] for z, s in zip(latents, net.strides, strict=True)]


def uncrop(net: nn.Module, latents: list[Tensor], height: int, width: int) -> list[Tensor]:
    """Zeros where elements are not coded."""
    return [
        F.pad(z, (0, width // s - z.shape[3], 0, height // s - z.shape[2]))
        for z, s in zip(latents, net.strides, strict=True)
    ]


def steps_after(passes: Tensor, channels: list[int]) -> list[Tensor]:
    """Steps (N, C, 1, 1) to which each channel of each level is known; passes: int (N,)."""
    exponents = torch.tensor([[PLANES - planes_known(int(n), j) for j in range(GROUPS)] for n in passes])
    return [
        2.0 ** exponents[:, [group(level, c) for c in range(count)]].float()[:, :, None, None]
        for level, count in enumerate(channels)
    ]
