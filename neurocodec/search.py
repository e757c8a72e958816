"""Better latents for one picture, found by trying single steps of the quantizer. Decoding does not change."""

import torch
from torch import Tensor, nn

from neurocodec.planes import PASSES
from neurocodec.train.rate_distortion import RateDistortion, steps_after

_TRIED = 32  # changes per round


@torch.no_grad()
def refine(net: nn.Module, x: Tensor, z: Tensor, passes: int, rounds: int) -> Tensor:
    """A latent (1, C, h, w) of a picture (1, 3, H, W) in [0, 1] for a stream of about so many passes.

    It has a lower cost, the objective that the network was trained for after that pass, than the encoder's latent z, or is
    that. In each round the changes by one step that a gradient promises most of are tried one by one, then the better half
    of those that kept the promise together, and what costs least is taken; after a round in vain, the next ones are tried.
    """
    objective, count = RateDistortion(), torch.tensor([min(max(passes, 1), PASSES)])
    step = steps_after(count, z.shape[1])
    known = torch.round(z / step) * step

    def costs(known: Tensor) -> Tensor:
        return objective.cost(net, known, x.expand(len(known), -1, -1, -1), count.expand(len(known)), step, known=True)

    best = costs(known)
    changed, passed = torch.zeros_like(z, dtype=torch.bool), 0
    for _ in range(rounds):
        with torch.enable_grad():
            start = known.clone().requires_grad_()
            slope = torch.autograd.grad(costs(start).sum(), start)[0]
        promising = (slope.abs() * step).flatten().argsort(descending=True)[passed : passed + _TRIED]
        if len(promising) < _TRIED:
            break
        moves = torch.zeros(_TRIED, z.numel()).scatter_(1, promising[:, None], 1.0).view(_TRIED, *z.shape[1:])
        moves = -moves * step * slope.sign()
        alone = costs(known + moves)
        order = alone.argsort()[: max(1, int((alone < best).sum()))]
        together = torch.stack([moves[order[: len(order) // 2 + 1]].sum(0), moves[order[0]]])
        found = costs(known + together)
        if found.min() >= best:
            passed += _TRIED
            continue
        passed = 0
        move = together[found.argmin()][None]
        known, best, changed = known + move, found.min()[None], changed | (move != 0)
    return torch.where(changed, known, z)
