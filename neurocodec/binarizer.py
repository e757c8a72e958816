"""Binarizer: real activations in (-1, 1) to bits in {-1, +1} (arXiv 1511.06085, section 3.1)."""

import torch
from torch import Tensor


class _Sign(torch.autograd.Function):
    """sign(x) with sign(0) = +1 and the gradient of the identity (straight-through)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


def binarize(logits: Tensor, noise: float = 0.0) -> Tensor:
    """Turn logits into bits.

    logits: float, any shape, unbounded. noise: width of the stochastic rounding; 1 rounds tanh(logits) = v up
    with probability (1 + v) / 2 as in the paper's training, 0 takes the sign as in use, values between narrow
    the noise. Returns the same shape and dtype, every value -1 or +1; the gradient is that of tanh.
    """
    v = torch.tanh(logits)
    if noise:
        v = v + noise * (2 * torch.rand_like(v) - 1)
    return _Sign.apply(v)


def keep_prefix(codes: Tensor, counts: Tensor) -> Tensor:
    """Zero (make unknown) all but the first bits of each pass, in stream order (bit by bit, each in raster order).

    codes: float (N, B, h, w) in {-1, +1}. counts: int (N,), bits kept, 0 .. B*h*w. Returns (N, B, h, w) in {-1, 0, +1}.
    """
    n, b, h, w = codes.shape
    position = torch.arange(b * h * w, device=codes.device).view(1, b, h, w)
    return codes * (position < counts.view(n, 1, 1, 1))
