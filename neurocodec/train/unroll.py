"""The objective of networks of raw passes: distortion after each pass of an unrolled window, bits being free."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neurocodec.binarizer import keep_prefix
from neurocodec.train import losses


@dataclass(frozen=True)
class Unroll:
    """Passes in a row; `models/TRAINING.md` argues for the defaults."""

    figures: ClassVar[str] = "ssim_ms_ssim_by_pass"
    learned: ClassVar[None] = None  # beside the codec
    window: int = 4  # passes through which the gradient flows
    late: float = 0.15  # share of steps whose window starts at a later pass
    partial: float = 0.3  # share of pictures whose last pass lacks bits
    noise: float = 0.2  # width of stochastic rounding in steps of the last bit; falls to 0 over the run

    def loss(self, net: nn.Module, x: Tensor, progress: float, rng: np.random.Generator) -> Tensor:
        """Mean distortion over a window of passes, a scalar; passes before it run without gradient.

        x: (N, 3, H, W) in [0, 1]; progress: of the run, 0 to 1. For some pictures the last pass is cut at a random bit.
        """
        start = 0
        if rng.random() < self.late:
            start = self.window * int(rng.integers(1, net.max_passes // self.window))
        last = start + self.window - 1
        encoder, decoder, y = net.initial(x)
        total = x.new_zeros(())
        for t in range(last + 1):
            with torch.set_grad_enabled(t >= start):
                codes, encoder = net.encoder_step(x, y, t, encoder, decoder[0], self.noise * (1 - progress))
                if t == last and self.partial:
                    size = codes[0].numel()
                    cut = torch.randint(1, size, (len(x),), device=x.device)
                    whole = torch.rand(len(x), device=x.device) >= self.partial
                    codes = keep_prefix(codes, torch.where(whole, size, cut))
                decoder = net.decoder_step(codes, t, decoder)
                y = net.synthesis(decoder)
                if t >= start:
                    total = total + losses.distortion(x, y)
        return total / self.window

    def validate(self, net: nn.Module, batches: list[Tensor]) -> list[list[float]]:
        """Mean [SSIM, MS-SSIM] after each pass, pictures rounded to 8 bits; batches: (N, 3, H, W) in [0, 1]."""
        sums = np.zeros((net.max_passes, 2))
        for x in batches:
            encoder, decoder, y = net.initial(x)
            for t in range(net.max_passes):
                codes, encoder = net.encoder_step(x, y, t, encoder, decoder[0])
                decoder = net.decoder_step(codes, t, decoder)
                y = net.synthesis(decoder)
                sums[t] += [float(v.sum()) for v in losses.ms_ssim(x, losses.rounded(y))]
        return [[round(float(v), 4) for v in row] for row in sums / sum(map(len, batches))]
