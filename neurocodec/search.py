"""Better latents for one picture, found by trying single steps of the quantizer. Decoding does not change."""

import torch
from torch import Tensor, nn

from neurocodec.train.rate_distortion import RateDistortion

_STAGES = [i / 3 for i in range(8, -1, -1)]  # planes not yet known at which what is known is searched
_AHEAD = (0, 2 / 3, 5 / 3)  # how many planes later it shall be good, too
_TRIED = 32  # changes per round


@torch.no_grad()
def refine(net: nn.Module, x: Tensor, z: Tensor, largest: Tensor, rounds: int) -> Tensor:
    """A latent (1, C, h, w) of a picture (1, 3, H, W) in [0, 1] that costs less than z at every prefix of its stream.

    Cost is the objective that the network was trained for. largest: magnitude of elements, (C, 1, 1). In each round
    of a stage the changes by one step that a gradient promises most of are tried one by one, and then those that kept the
    promise together. What one stage has settled on bounds the next ones, whose digits are finer.
    """
    objective = RateDistortion()
    high = largest.float().expand_as(z)
    low = -high
    z = z.round().clamp(low, high)

    def cost(z: Tensor, depth: float) -> Tensor:
        return objective.cost(net, z, x.expand(len(z), -1, -1, -1), torch.full((len(z),), depth))

    for depth in _STAGES:
        marks = sorted({max(depth - ahead, 0.0) for ahead in _AHEAD})

        def costs(z: Tensor) -> Tensor:
            return torch.stack([cost(z, mark) for mark in marks]).sum(0)

        best, passed = costs(z), 0
        for _ in range(rounds):
            with torch.enable_grad():
                start = z.clone().requires_grad_()
                slope = torch.autograd.grad(cost(start, depth).sum(), start)[0]
            steps = net.prior.steps(z, torch.full((1, 1, 1, 1), depth))
            known = torch.round(z / steps) * steps
            # The nearest number that is known as the next multiple of the step.
            move = known - slope.sign() * (steps + 1) / 2 - z
            allowed = (z + move >= low) & (z + move <= high)
            promising = (slope * -slope.sign() * steps * allowed).flatten().argsort()[passed : passed + _TRIED]
            if len(promising) < _TRIED:
                break
            moves = torch.zeros(_TRIED, z.numel()).scatter_(1, promising[:, None], 1.0).view(_TRIED, *z.shape[1:]) * move
            alone = costs(z + moves)
            order = alone.argsort()[: max(1, int((alone < best).sum()))]
            together = torch.stack([moves[order[:count]].sum(0) for count in (1, len(order) // 2 + 1, len(order))])
            found = costs(z + together)
            if found.min() < best:
                z, best, passed = z + together[found.argmin()], found.min(), 0
            else:
                passed += _TRIED
        steps = net.prior.steps(z, torch.full((1, 1, 1, 1), depth))
        known = torch.round(z / steps) * steps
        low, high = torch.maximum(low, known - (steps - 1) / 2), torch.minimum(high, known + (steps - 1) / 2)
    return z
