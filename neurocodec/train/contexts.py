"""Fits the integer tables of `planes.Tables` to a trained network's latents: logistic regressions, rounded to integers."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.planes import FEATURES, FINE, GROUPS, LOGIT, MAX_WEIGHT, ONE, PASSES, PLANES, RANGE, group

_BATCH, _RATE = 256, 0.02
_FEATURES = torch.from_numpy(FEATURES)


@torch.no_grad()
def latents(net: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    """Whole numbers of the finest step, one int32 (N, C, h, w) per level; batches: (n, 3, H, W) in [0, 1]."""
    parts = [[z.trunc().int().cpu() for z in net.analysis_transform(x)] for x in batches]
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def fit(z: list[Tensor], steps: int, seed: int = 0) -> dict[str, Tensor]:
    """Tensors that `Tables.read` reads, fitted to latents in `steps` steps on random passes of random pictures."""
    torch.manual_seed(seed)
    limit = (1 << PLANES) - 1
    z = [level.clamp(-limit, limit) for level in z]
    tops = [_bit_length(level.abs().amax((0, 2, 3))) for level in z]
    weights = []
    for level, values in enumerate(z):
        inputs = values.shape[1] + (z[level - 1].shape[1] if level else 0)
        shape = (values.shape[1], inputs, 3, 3)
        bias = torch.full((PLANES, values.shape[1]), -3.0)
        weights.append([nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape)), nn.Parameter(bias)])
    optimizer = torch.optim.Adam([p for level in weights for p in level], lr=_RATE / 8)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE / 8, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        n = int(torch.randint(0, PASSES, ()))
        picked = torch.randint(0, len(z[0]), (_BATCH,))
        loss = _bits([level[picked] for level in z], n, weights, tops)
        if loss is None:
            schedule.step()
            continue
        optimizer.zero_grad()
        (loss / _BATCH).backward()
        optimizer.step()
        schedule.step()
    tensors = {
        "tables.probability": _probability(),
        "tables.refinement": torch.cat([_refinement(values) for values in z], 2),
    }
    for level, (significance, sign, bias) in enumerate(weights):
        stacked = torch.stack([significance, sign]).detach().flatten(2)
        biases = torch.stack([bias, torch.zeros_like(bias)], 1).detach()
        tensors[f"tables.top.{level}"] = tops[level].to(torch.int16)
        for name, values in (("weights", stacked), ("bias", biases)):
            whole = (values * LOGIT).round().clamp(-MAX_WEIGHT, MAX_WEIGHT)
            tensors[f"tables.{name}.{level}"] = whole.to(torch.int16)
    return tensors


def _bits(z: list[Tensor], n: int, weights: list[list[nn.Parameter]], tops: list[Tensor]) -> Tensor | None:
    """Nats that the new digits of pass n cost, None where there are none: significance and signs, not refinement."""
    k, above, total = PLANES - 1 - n // GROUPS, None, None
    for level, values in enumerate(z):
        groups = torch.tensor([group(level, c) for c in range(values.shape[1])])
        plane = torch.where(groups < n % GROUPS, k, k + 1)[:, None, None]
        lower = (values.abs() >> plane) << plane
        size = _FEATURES[(lower >> k).clamp_max(31).long()]
        features = torch.stack([size, size * values.sign()])  # (2, N, C, h, w)
        inputs = features
        if above is not None:
            up = above.repeat_interleave(2, 3).repeat_interleave(2, 4)[..., : values.shape[2], : values.shape[3]]
            inputs = torch.cat([features, up], 2)
        above = features
        told = ((groups == n % GROUPS) & (k < tops[level])).nonzero()[:, 0]
        if not len(told):
            continue
        significance, sign, bias = weights[level]
        new = lower[:, told] == 0
        now = (values[:, told].abs() >> k) > 0
        logits = F.conv2d(inputs[0], significance[told], padding=1) + bias[k, told][:, None, None]
        positive = F.conv2d(inputs[1], sign[told], padding=1)
        cost = F.binary_cross_entropy_with_logits(logits, now.float(), reduction="none")[new].sum()
        signs = (values[:, told] > 0).float()
        cost = cost + F.binary_cross_entropy_with_logits(positive, signs, reduction="none")[new & now].sum()
        total = cost if total is None else total + cost
    return total


def _bit_length(largest: Tensor) -> Tensor:
    return torch.tensor([int(v).bit_length() for v in largest])


def _refinement(z: Tensor) -> Tensor:
    """int32 (PLANES, 3, C): logits, in units of 1 / LOGIT, that the next binary digit is 1, by the digits known."""
    table = torch.zeros(PLANES, 3, z.shape[1])
    for k in range(PLANES - 1):
        known, digit = z.abs() >> (k + 1), (z.abs() >> k) & 1
        for i in range(3):
            at = known == i + 1 if i < 2 else known > 2
            ones, count = (at & (digit == 1)).sum((0, 2, 3)) + 2.0, at.sum((0, 2, 3)) + 4.0
            table[k, i] = torch.logit(ones / count)
    return (table * LOGIT).round().int()


def _probability() -> Tensor:
    """int32 (2 RANGE + 1,): the logistic function of -RANGE / FINE to RANGE / FINE in units of 1 / ONE."""
    logits = np.arange(-RANGE, RANGE + 1) / FINE
    return torch.from_numpy(np.round(ONE / (1 + np.exp(-logits))).astype(np.int32))
