"""Fits the integer tables of `planes.Tables` to a trained network's latents: logistic regressions, rounded to integers."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.planes import (
    BASE,
    CLASSES,
    FEATURES,
    FINE,
    GROUPS,
    LARGEST,
    LOGIT,
    MAX_WEIGHT,
    ONE,
    PASSES,
    PLANES,
    RANGE,
    group,
    plane_of,
)  # fmt: skip

_BATCH, _RATE = 512, 0.02
_FEATURES = torch.from_numpy(FEATURES)


@torch.no_grad()
def latents(net: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """Whole numbers of the finest step, int32 (N, C, h, w); batches: (n, 3, H, W) in [0, 1]."""
    parts = [net.analysis_transform(x).round().int().cpu() for x in batches]
    return torch.cat(parts).clamp(-LARGEST, LARGEST)


def fit(z: Tensor, steps: int, seed: int = 0) -> dict[str, Tensor]:
    """Tensors that `Tables.read` reads, fitted to latents in `steps` steps on random passes of random pictures."""
    torch.manual_seed(seed)
    channels = z.shape[1]
    tops = _planes_needed(z.abs().amax((0, 2, 3)))
    bias = torch.stack([_bias(z, k) for k in range(PLANES)])  # (PLANES, CLASSES, 2, C)
    weights = nn.Parameter(torch.zeros(2, channels, channels, 3, 3))
    unknown = nn.Parameter(bias[:, 0].clone())
    optimizer = torch.optim.Adam([weights, unknown], lr=_RATE / 8)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE / 8, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        n = int(torch.randint(0, PASSES, ()))
        loss = _bits(z[torch.randint(0, len(z), (_BATCH,))], n, weights, unknown, tops)
        if loss is not None:
            optimizer.zero_grad()
            (loss / _BATCH).backward()
            optimizer.step()
        schedule.step()
    bias[:, 0] = unknown.detach()
    return {
        "tables.top": tops.to(torch.int16),
        "tables.weights": _whole(weights.detach().flatten(2), MAX_WEIGHT),
        "tables.bias": _whole(bias, RANGE // FINE * LOGIT),
        "tables.probability": _probability(),
    }


def nearest(z: Tensor, step: Tensor | int) -> Tensor:
    """The nearest multiples of an odd step to whole numbers."""
    return torch.div(z + step // 2, step, rounding_mode="floor") * step


def _bits(z: Tensor, n: int, weights: Tensor, unknown: Tensor, tops: Tensor) -> Tensor | None:
    """Nats that pass n costs for elements of which nothing is known yet; None where it tells no channel."""
    k = plane_of(n)
    groups = torch.tensor([group(c) for c in range(z.shape[1])])
    value = torch.where((groups < n % GROUPS)[:, None, None], nearest(z, BASE**k), nearest(z, BASE ** (k + 1)))
    told = ((groups == n % GROUPS) & (k < tops)).nonzero()[:, 0]
    if not len(told):
        return None
    size = _FEATURES[(value.abs() // BASE**k).clamp_max(40).long()]
    new = value[:, told] == 0
    digit = nearest(z[:, told], BASE**k).sign()
    bias = unknown[k][:, told, None, None]
    changed = F.conv2d(size, weights[0, told], padding=1) + bias[0]
    up = F.conv2d(size * value.sign(), weights[1, told], padding=1) + bias[1]
    entropy = F.binary_cross_entropy_with_logits
    cost = entropy(changed, (digit != 0).float(), reduction="none")[new].sum()
    return cost + entropy(up, (digit > 0).float(), reduction="none")[new & (digit != 0)].sum()


def _planes_needed(largest: Tensor) -> Tensor:
    """The least number of planes, of each channel, whose digits reach its largest magnitude."""
    reach = torch.tensor([(BASE**t - 1) // 2 for t in range(PLANES + 1)])
    return (reach[None] < largest[:, None]).sum(1)


def _bias(z: Tensor, k: int) -> Tensor:
    """Logits (CLASSES, 2, C) that the digit of plane k is not 0, and that it is 1 (away from 0 where that has a side)."""
    value = nearest(z, BASE ** (k + 1))
    digit = (nearest(z, BASE**k) - value) // BASE**k
    digit = torch.where(value < 0, -digit, digit)
    kind = (value.abs() // BASE ** (k + 1)).clamp_max(CLASSES - 1)
    rows = []
    for i in range(CLASSES):
        counts = [((kind == i) & (digit == d)).sum((0, 2, 3)) + 1.0 for d in (-1, 0, 1)]
        rows.append(torch.stack([torch.log((counts[0] + counts[2]) / counts[1]), torch.log(counts[2] / counts[0])]))
    return torch.stack(rows)


def _whole(logits: Tensor, largest: int) -> Tensor:
    return (logits * LOGIT).round().clamp(-largest, largest).to(torch.int16)


def _probability() -> Tensor:
    """int32 (2 RANGE + 1,): the logistic function of -RANGE / FINE to RANGE / FINE in units of 1 / ONE."""
    logits = np.arange(-RANGE, RANGE + 1) / FINE
    return torch.from_numpy(np.round(ONE / (1 + np.exp(-logits))).astype(np.int32))
