"""The objective of scalar latents: distortion plus bits, each picture known after a random number of planes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tables import BASE, PLANES
from neurocodec.train import losses


@dataclass(frozen=True)
class RateDistortion:
    """Loss = 1 - similarity + mse * 3^(-keen * depth) * MSE + means * MSE' + lagrangian * 3^(power * depth) * bits, where all but
    `depth` planes are known.

    Similarity is SSIM, or in part MS-SSIM; MSE' is that of means of 8x8 pixels, colours of places, which similarity hardly
    sees; bits are those of 1,024 pixels; planes are known in whole or in part.
    """

    figures: ClassVar[str] = "bytes_ssim_ms_ssim_by_depth"
    learned: ClassVar[None] = None  # beside the codec
    shallowest: float = 0.0  # planes that are not known of a picture, at least: above 0, high rates are given up for low ones
    deepest: float = 2.4  # and at most; about 20 bytes of a thumbnail
    beyond: float = 0.0  # share of pictures of which even less is known, down to nothing
    lagrangian: float = 6e-5
    power: float = 1.2
    balance: float = 0.0  # a picture counts 3^(-balance * depth); at 0.6 planes of photos matter alike
    multiscale: float = 0.0  # share of MS-SSIM in similarity
    mse: float = 5.0  # what the squared error weighs of pictures of which all is known
    keen: float = 0.0  # above 0, of others it weighs less
    means: float = 0.0  # what the squared error of means of 8x8 pixels weighs
    shorter: float = 0.25  # share of steps whose pictures are narrower or lower than 32 pixels

    def loss(self, net: nn.Module, x: Tensor, progress: float, rng: np.random.Generator, *labels: Tensor) -> Tensor:
        """A scalar; x: (N, 3, H, W) in [0, 1]; labels: (N, ...), what else `trade` takes."""
        height, width = x.shape[2:]
        if rng.random() < self.shorter:
            side = int(rng.integers(14, 32))
            height, width = (side, width) if rng.random() < 0.5 else (height, side)
        x = x[:, :, :height, :width]
        depth = self.depths(len(x), rng).to(x.device)
        z = net.analysis_transform(pad(x, net.stride)).float()
        y, bits = self.coded(net, z, depth, torch.rand_like(z) - 0.5)
        costs = self.trade(x, y[:, :, : x.shape[2], : x.shape[3]], bits, depth, *labels)
        return self.mean(costs, depth)

    def depths(self, count: int, rng: np.random.Generator) -> Tensor:
        """How many planes shall not be known of each picture of a batch, float32 (count,)."""
        # One depth in each of so many equal ranges: batches differ less than with independent ones.
        share = (rng.permutation(count) + rng.random(count)) / count
        depth = self.shallowest + (self.deepest - self.shallowest) * share
        if self.beyond:
            depth = np.where(rng.random(count) < self.beyond, rng.uniform(self.deepest, PLANES, count), depth)
        return torch.from_numpy(depth).float()

    def mean(self, costs: Tensor, depth: Tensor) -> Tensor:
        """Of the costs of a batch, each as it counts, a scalar; both (N,)."""
        return (BASE ** (-self.balance * depth) * costs).mean()

    def cost(
        self,
        net: nn.Module,
        z: Tensor,
        x: Tensor,
        depth: Tensor,
        noise: Tensor | float = 0.0,
        expected: Tensor | float = 0.0,
        lacking: float = PLANES,
    ) -> Tensor:
        """Of each picture, (N,); z: latent (N, C, h, w) of pictures x (N, 3, H, W), or of one, known but for `depth` planes, (N,).

        expected: of the latent, what is known anyway; then z is the difference from it, and the synthesis is told of `lacking` planes
        at most. Rounding passes gradients on unchanged; the bits are those of latents with noise, uniform in -0.5 to 0.5 steps, in its
        place, or, without, of those rounded.
        """
        y, bits = self.coded(net, z, depth, noise, expected, lacking)
        return self.trade(x, y[:, :, : x.shape[2], : x.shape[3]], bits, depth)

    def coded(
        self,
        net: nn.Module,
        z: Tensor,
        depth: Tensor,
        noise: Tensor | float = 0.0,
        expected: Tensor | float = 0.0,
        lacking: float = PLANES,
    ) -> tuple[Tensor, Tensor]:
        """What the pictures become, (N, 3, H, W), and their bits, (N,)."""
        with torch.autocast(z.device.type, enabled=False):
            steps, middle, value = net.prior.decoded(z, depth.view(-1, 1, 1, 1))
            bits = net.prior(z, steps, noise * steps) if torch.is_tensor(noise) else net.prior(z + (middle - z).detach(), steps)
        known = z + (value - z).detach() + expected
        return net.synthesis_transform(known, depth.clamp_max(lacking)).float(), bits

    def trade(self, x: Tensor, y: Tensor, bits: Tensor | float, depth: Tensor | int, *labels: Tensor) -> Tensor:
        """Of each picture, (N,): its distortion, plus the bits that y takes at some depth; x, y: (N, 3, H, W) in [0, 1].

        labels: of tasks, here none.
        """
        x, y = x.contiguous(), y.contiguous()  # once for all that follows
        if self.multiscale:
            single, multi = losses.ms_ssim(x, y, thinned=True)
            similarity = (1 - self.multiscale) * single + self.multiscale * multi
        else:
            similarity = losses.ssim_each(x, y)
        error = y - x
        squared = self.mse * BASE ** (-self.keen * depth) * (error**2).mean((1, 2, 3))
        if self.means:
            squared = squared + self.means * (F.avg_pool2d(error, 8, ceil_mode=True) ** 2).mean((1, 2, 3))
        weight = self.lagrangian * BASE ** (self.power * depth)
        pixels = x.shape[2] * x.shape[3] / 1024  # so that a bit costs what it does at 32x32
        return 1 - similarity + squared + weight * bits / pixels

    def validate(self, net: nn.Module, batches: list[Tensor]) -> list[list[float]]:
        """Mean [bytes by the prior, SSIM, MS-SSIM] at depths of 10/3, 3, ... 0, pictures rounded to 8 bits."""
        thirds = range(10, -1, -1)
        sums = np.zeros((len(thirds), 3))
        for x in batches:
            z = net.analysis_transform(x).float()
            for row, third in zip(sums, thirds, strict=True):
                steps, middle, value = net.prior.decoded(z, x.new_full((len(x), 1, 1, 1), third / 3))
                y = net.synthesis_transform(value, third / 3)
                bits = net.prior(middle, steps).sum()
                row += float(bits) / 8, *(float(v.sum()) for v in losses.ms_ssim(x, losses.rounded(y)))
        return np.round(sums / sum(map(len, batches)), 4).tolist()


def pad(x: Tensor, stride: int) -> Tensor:
    """The last row and column repeated up to multiples of `stride`."""
    return F.pad(x, (0, -x.shape[3] % stride, 0, -x.shape[2] % stride), mode="replicate")
