"""Where recurrent codecs start: for each pass the Karhunen-Loeve transform of what the passes before it leave over."""

import torch
import torch.nn.functional as F
from torch import Tensor

from neurocodec.binarizer import Depths, from_bits, to_bits

# What is left of a Gaussian's variance after its first bit, and of that after each further one.
_FIRST_BIT, _NEXT_BIT = 0.36, 0.3
_COMPANDING = 0.8  # tanh(0.8 z) spreads a Gaussian of unit variance about evenly over (-1, 1)


def _allocate(variances: Tensor, bits: int) -> tuple[Tensor, Depths]:
    """Indices of the components that get bits, and how many: each bit goes to where it takes away most."""
    rest, depths = variances.clone(), torch.zeros(len(variances), dtype=torch.int64)
    for _ in range(bits):
        k = int(rest.argmax())
        rest[k] *= _NEXT_BIT if depths[k] else _FIRST_BIT
        depths[k] += 1
    used = depths.nonzero()[:, 0]
    return used, tuple(depths[used].tolist())


@torch.no_grad()
def transforms(pictures: list[Tensor], stride: int, passes: int, bits: int) -> tuple[list[Depths], list[Tensor], list[Tensor]]:
    """Depths, analysis matrices (latents, 3*stride^2) and transforms (3*stride^2, latents) of every pass.

    pictures: float32 (N, 3, H, W) in [0, 1], sides multiples of `stride`. The transform of a pass is the least-squares
    map from the values of its bits to the error it met.
    """
    blocks = [F.pixel_unshuffle(p - 0.5, stride).permute(0, 2, 3, 1).reshape(-1, 3 * stride**2) for p in pictures]
    error = torch.cat(blocks)
    all_depths, analyses, syntheses = [], [], []
    for _ in range(passes):
        values, vectors = torch.linalg.eigh(error.T @ error / len(error))
        values, vectors = values.flip(0).clamp_min(1e-12), vectors.flip(1)
        used, depths = _allocate(values, bits)
        analysis = _COMPANDING * (vectors[:, used] / values[used].sqrt()).T
        known = from_bits(to_bits((error @ analysis.T)[:, :, None, None], depths), depths)[:, :, 0, 0]
        synthesis = torch.linalg.lstsq(known, error).solution.T
        error = error - known @ synthesis.T
        all_depths.append(depths)
        analyses.append(analysis)
        syntheses.append(synthesis)
    return all_depths, analyses, syntheses
