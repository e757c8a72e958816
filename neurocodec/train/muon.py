"""Muon (K. Jordan, 2024): momentum whose matrices are made nearly orthogonal before they are applied.

In early tests it took a thumbnail codec in a given time to where Adam came in three times that (`models/TRAINING.md`).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = 3.4445, -4.7750, 2.0315  # takes singular values in (0, 1] near 1 in five rounds


def orthogonal(m: Tensor) -> Tensor:
    """The matrix (r, c) with its singular values taken near 1, by Newton-Schulz iteration on the smaller Gram matrix."""
    if m.shape[0] > m.shape[1]:
        return orthogonal(m.T).T
    m = m / (m.norm() + 1e-7)
    gram, product = m @ m.T, None
    a, b, c = _QUINTIC
    for _ in range(5):
        factor = b * gram + c * gram @ gram
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    return product @ m


class Muon(torch.optim.Optimizer):
    """For weights of matrix products and convolutions, (out, in, ...); with Nesterov momentum."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for settings in self.param_groups:
            for p in settings["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - settings["momentum"])
                update = orthogonal(p.grad.lerp(average, settings["momentum"]).flatten(1)).reshape(p.shape)
                tall = max(1.0, p.shape[0] / p[0].numel()) ** 0.5
                p.add_(update, alpha=-settings["lr"] * tall)
