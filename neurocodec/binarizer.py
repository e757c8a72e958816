"""Binarizer: real latents to planes of bits in {-1, +1}, and back (after arXiv 1511.06085, section 3.1).

The paper takes one bit of each tanh unit. Here a unit may give several, by successive approximation: bit k says on which
side of what is known so far the value lies, and weighs 2^-(k+1). With depth 1 everywhere it is the paper's binarizer.
Learning to count in binary is hard for a network whose every bit is a unit of its own; this one counts by construction.

`depths` says how many bits each channel gets. Bits are ordered plane by plane, the planes by channel, so a prefix of a
pass knows the coarse values of all channels before the fine value of any.
"""

import torch
from torch import Tensor

Depths = tuple[int, ...]


def _planes(depths: Depths) -> list[tuple[int, int]]:
    """(channel, k) of every bit, in stream order."""
    return [(c, k) for k in range(max(depths)) for c, depth in enumerate(depths) if depth > k]


def _weights(depths: Depths, like: Tensor) -> Tensor:
    """Matrix (channels, bits) that turns bits into values."""
    matrix = like.new_zeros(len(depths), sum(depths))
    for i, (c, k) in enumerate(_planes(depths)):
        matrix[c, i] = 0.5 ** (k + 1)
    return matrix


class _Approximate(torch.autograd.Function):
    """Values in (-1, 1) to bits; backwards, `from_bits` followed by this passes a gradient unchanged (straight-through)."""

    @staticmethod
    def forward(ctx, values: Tensor, depths: Depths) -> Tensor:
        rest, bits = values.clone(), []
        for c, k in _planes(depths):
            bit = torch.where(rest[:, c] >= 0, 1.0, -1.0).to(values.dtype)
            rest[:, c] -= bit * 0.5 ** (k + 1)
            bits.append(bit)
        ctx.weights = _weights(depths, values)
        return torch.stack(bits, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        share = ctx.weights / (ctx.weights**2).sum(1, keepdim=True)
        return torch.einsum("nbhw,cb->nchw", grad, share.to(grad.dtype)), None


def to_bits(logits: Tensor, depths: Depths, noise: float = 0.0) -> Tensor:
    """Bits of tanh(logits): float (N, channels, h, w) to (N, sum(depths), h, w) in {-1, +1}.

    noise: width of the stochastic rounding in training, in steps of each channel's last bit. With 1 and depth 1, v is
    rounded up with probability (1 + v) / 2, as in the paper; 0 rounds as in use.
    """
    values = torch.tanh(logits)
    if noise:
        step = torch.tensor([2.0 ** (1 - d) for d in depths], device=logits.device).view(1, -1, 1, 1)
        values = values + noise * step * (2 * torch.rand_like(values) - 1)
    return _Approximate.apply(values, depths)


def from_bits(bits: Tensor, depths: Depths) -> Tensor:
    """Values (N, channels, h, w) in (-1, 1) of bits (N, sum(depths), h, w) in {-1, 0, +1}, 0 for one that is not known."""
    return torch.einsum("nbhw,cb->nchw", bits, _weights(depths, bits))


def keep_prefix(bits: Tensor, counts: Tensor) -> Tensor:
    """Forget all but the first bits of each pass, in stream order: bit by bit, each in raster order.

    bits: (N, B, h, w) in {-1, +1}. counts: int (N,), bits kept, 0 .. B*h*w. Returns (N, B, h, w) in {-1, 0, +1}.
    """
    n, b, h, w = bits.shape
    position = torch.arange(b * h * w, device=bits.device).view(1, b, h, w)
    return bits * (position < counts.view(n, 1, 1, 1))
