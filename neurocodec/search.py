"""Better latents for one picture, found by trying single steps of the quantizer. Decoding does not change."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from neurocodec.planes import BASE
from neurocodec.train.rate_distortion import RateDistortion

_FIRST = 2  # plane up to which everything is known when the search begins
_TRIED = 32  # changes per round
_PRICE = 0.5  # of a bit, beside that in training, which is told bits of latents with noise: they fall less when latents do


@torch.no_grad()
def refine(net: nn.Module, x: Tensor, z: Tensor, largest: Tensor, objective: RateDistortion, rounds: int) -> Tensor:
    """A latent (1, C, h, w) of a picture (1, 3, H, W) in [0, 1] that costs less than z after each of the last planes.

    objective: what the network was trained for, which is what costs, but for the price of bits. largest: magnitude of elements,
    (C, 1, 1). Plane by plane, in each of some rounds the changes by one step that a gradient promises most of are tried one by
    one, and then those that kept the promise together; they must pay off there and after all planes to come. What is settled on
    in one plane bounds the next.
    """
    objective = replace(objective, lagrangian=_PRICE * objective.lagrangian)
    high = largest.float().expand_as(z)
    low = -high
    z = z.round().clamp(low, high)

    def cost(z: Tensor, plane: int) -> Tensor:
        return objective.cost(net, z, x, torch.full((len(z),), float(plane)))

    def costs(z: Tensor, plane: int) -> Tensor:
        return torch.stack([cost(z, later) for later in range(plane + 1)]).sum(0)

    for plane in range(_FIRST, -1, -1):
        step, best, passed = BASE**plane, costs(z, plane), 0
        for _ in range(rounds):
            with torch.enable_grad():
                start = z.clone().requires_grad_()
                slope = torch.autograd.grad(cost(start, plane).sum(), start)[0]
            # To the nearest number that is known as the next multiple of the step.
            move = torch.round(z / step) * step - slope.sign() * (step + 1) / 2 - z
            allowed = (z + move >= low) & (z + move <= high)
            promising = (slope.abs() * allowed).flatten().argsort(descending=True)[passed : passed + _TRIED]
            if len(promising) < _TRIED:
                break
            moves = torch.zeros(_TRIED, z.numel()).scatter_(1, promising[:, None], 1.0).view(_TRIED, *z.shape[1:]) * move
            alone = costs(z + moves, plane)
            order = alone.argsort()[: max(1, int((alone < best).sum()))]
            together = torch.stack([moves[order[:count]].sum(0) for count in (1, len(order) // 2 + 1, len(order))])
            found = costs(z + together, plane)
            if found.min() < best:
                z, best, passed = z + together[found.argmin()], found.min(), 0
            else:
                passed += _TRIED
        known = torch.round(z / step) * step
        low, high = torch.maximum(low, known - step // 2), torch.minimum(high, known + step // 2)
    return z
