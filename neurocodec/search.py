"""Better latents for one picture, found by trying single steps of the quantizer. Decoding does not change."""

import torch
from torch import Tensor, nn

from neurocodec.planes import RUNGS
from neurocodec.train.rate_distortion import RateDistortion, steps_after

_STAGES = range(26, RUNGS + 1, 2)  # passes at which what is known is searched, the coarse ones first
_AHEAD = (0, 4, 10)  # how many passes later it shall be good, too
_TRIED = 32  # changes per round


@torch.no_grad()
def refine(net: nn.Module, x: Tensor, z: Tensor, largest: Tensor, rounds: int) -> Tensor:
    """A latent (1, C, h, w) of a picture (1, 3, H, W) in [0, 1] that costs less than z at every prefix of its stream.

    Cost is the objective that the network was trained for. largest: magnitude of each element, (1, C, h, w). In each round
    of a stage the changes by one step that a gradient promises most of are tried one by one, and then those that kept the
    promise together. What one stage has settled on bounds the next ones, whose digits are finer.
    """
    low, high = -largest, largest
    z = z.round().clamp(low, high)
    for passes in _STAGES:
        known = _search(net, x, z, low, high, passes, rounds)
        reach = (_step(passes, z) - 1) / 2
        low, high = torch.maximum(low, known - reach), torch.minimum(high, known + reach)
        z = z.clamp(low, high)
    return z


def _search(net: nn.Module, x: Tensor, z: Tensor, low: Tensor, high: Tensor, passes: int, rounds: int) -> Tensor:
    """What shall be known of z after so many passes."""
    objective = RateDistortion()
    step = _step(passes, z)
    reach = (step - 1) / 2

    def cost(known: Tensor, passes: int) -> Tensor:
        pictures, count = x.expand(len(known), -1, -1, -1), torch.full((len(known),), passes)
        return objective.cost(net, known, pictures, count, _step(passes, z), known=True)

    def costs(known: Tensor) -> Tensor:
        total = cost(known, passes)
        for later in {min(passes + ahead, RUNGS) for ahead in _AHEAD} - {passes}:
            nearest = torch.maximum(torch.minimum(z, known + reach), known - reach)
            total = total + cost(_round(nearest, _step(later, z)), later)
        return total

    known = _round(z, step)
    best, passed = costs(known), 0
    for _ in range(rounds):
        with torch.enable_grad():
            start = known.clone().requires_grad_()
            slope = torch.autograd.grad(cost(start, passes).sum(), start)[0]
        move = -step * slope.sign()
        allowed = (known + move >= low) & (known + move <= high)
        promising = (slope * move * allowed).flatten().argsort()[passed : passed + _TRIED]
        if len(promising) < _TRIED:
            break
        moves = torch.zeros(_TRIED, z.numel()).scatter_(1, promising[:, None], 1.0).view(_TRIED, *z.shape[1:]) * move
        alone = costs(known + moves)
        order = alone.argsort()[: max(1, int((alone < best).sum()))]
        together = torch.stack([moves[order[:count]].sum(0) for count in (1, len(order) // 2 + 1, len(order))])
        found = costs(known + together)
        if found.min() < best:
            known, best, passed = known + together[found.argmin()], found.min(), 0
        else:
            passed += _TRIED
    return known


def _step(passes: int, z: Tensor) -> Tensor:
    return steps_after(torch.tensor([passes]), z.shape[1])


def _round(z: Tensor, step: Tensor) -> Tensor:
    return torch.round(z / step) * step
