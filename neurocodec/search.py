"""Better latents for one picture, found by trying single steps of the quantizer. Decoding does not change."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from neurocodec.precision import mixed
from neurocodec.tables import BASE, PLANES
from neurocodec.train.rate_distortion import RateDistortion

_FIRST = 2  # plane up to which everything is known when the search begins
_TRIED = 32  # changes per round
_AROUND = (0.9, 1.1)  # shares of a payload's bytes: two, for what is told at exactly that many is not known before it is coded
_ANYWHERE = (24, 64, 128, 256)  # bytes of 1,024 pixels, for streams that are to be cut anywhere
_PRICE = 0.4  # of a bit, beside that in training: bits of latents with noise fall less than real ones


@torch.no_grad()
def refine(
    net: nn.Module, x: Tensor, z: Tensor, largest: Tensor, objective: RateDistortion, rounds: int, payload: int | None
) -> Tensor:
    """A latent (1, C, h, w) of a picture (1, 3, H, W) in [0, 1] that costs less than z where its stream is to be cut.

    objective: what the network was trained for, which is what costs. largest: magnitude of elements, (C, 1, 1). payload: bytes
    that will be kept, about which costs count; None: at some sizes, as in training, for streams that are to be cut anywhere.

    Plane by plane, in each of some rounds the changes by one step that a gradient promises most of are tried one by one, and
    then those that kept the promise together; they must pay off wherever costs count from there on. What is settled on in one
    plane bounds the next.
    """
    objective = replace(objective, lagrangian=_PRICE * objective.lagrangian)
    sizes = [size * x[0, 0].numel() / 1024 for size in _ANYWHERE] if payload is None else [share * payload for share in _AROUND]
    high = largest.float().expand_as(z)
    low = -high
    z = z.round().clamp(low, high)
    for plane in range(_FIRST, -1, -1):
        depths = [depth for depth in (_depth(net, z, size) for size in sizes) if depth < plane + 1]
        if not depths:
            break

        def costs(z: Tensor, depths: list[float] = depths) -> Tensor:
            with mixed(z.device):
                each = [objective.cost(net, z, x, torch.full((len(z),), depth)) for depth in depths]
            weights = [BASE ** (-objective.balance * depth) for depth in depths]
            return torch.stack([weight * cost for weight, cost in zip(weights, each, strict=True)]).sum(0)

        step, best, passed = BASE**plane, costs(z), 0
        for _ in range(rounds):
            with torch.enable_grad():
                start = z.clone().requires_grad_()
                slope = torch.autograd.grad(costs(start).sum(), start)[0]
            # To the nearest number that is known as the next multiple of the step.
            move = torch.round(z / step) * step - slope.sign() * (step + 1) / 2 - z
            allowed = (z + move >= low) & (z + move <= high)
            promising = (slope.abs() * allowed).flatten().argsort(descending=True)[passed : passed + _TRIED]
            if len(promising) < _TRIED:
                break
            moves = torch.zeros(_TRIED, z.numel()).scatter_(1, promising[:, None], 1.0).view(_TRIED, *z.shape[1:]) * move
            alone = costs(z + moves)
            order = alone.argsort()[: max(1, int((alone < best).sum()))]
            together = torch.stack([moves[order[:count]].sum(0) for count in (1, len(order) // 2 + 1, len(order))])
            after = costs(z + together)
            if after.min() < best:
                z, best, passed = z + together[after.argmin()], after.min(), 0
            else:
                passed += _TRIED
        known = torch.round(z / step) * step
        low, high = torch.maximum(low, known - step // 2), torch.minimum(high, known + step // 2)
    return z


def _depth(net: nn.Module, z: Tensor, size: float) -> float:
    """How many planes of a latent (1, C, h, w) are not known, or in part, of a payload of so many bytes, by the prior."""

    def fits(depth: float) -> bool:
        steps, middle, _ = net.prior.decoded(z, torch.full((1, 1, 1, 1), depth))
        return float(net.prior(middle, steps)) <= 8 * size

    low, high = 0.0, float(PLANES)
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
