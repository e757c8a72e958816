"""Muon (K. Jordan, 2024): momentum whose matrices are made nearly orthogonal before they are applied.

In early tests it took a thumbnail codec in a given time to where Adam came in three times that (`models/TRAINING.md`).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from neurocodec.train import parallel

_QUINTIC, _ROUNDS = (3.4445, -4.7750, 2.0315), 5  # takes singular values in (0, 1] near 1


def orthogonal(m: Tensor) -> Tensor:
    """The matrix (r, c) with its singular values taken near 1, by Newton-Schulz iteration on the smaller Gram matrix."""
    if m.shape[0] > m.shape[1]:
        return orthogonal(m.T).T
    m = m / (m.norm() + 1e-7)
    gram, product = m @ m.T, None
    a, b, c = _QUINTIC
    for left in reversed(range(_ROUNDS)):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        if left:
            gram = factor @ gram @ factor
    return product @ m


class Muon(torch.optim.Optimizer):
    """For weights of matrix products and convolutions, (out, in, ...); with Nesterov momentum."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient. Of several processes, each makes its share of matrices orthogonal."""
        for settings in self.param_groups:
            learning = [p for p in settings["params"] if p.grad is not None]
            updates = []
            for i, p in enumerate(learning):
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - settings["momentum"])
                if i % parallel.count() != parallel.rank():
                    updates.append(torch.zeros_like(p))
                    continue
                # Kernels are channels last, so that this makes matrices of them without a copy.
                rows = p.grad.lerp(average, settings["momentum"]).movedim(1, -1)
                updates.append(orthogonal(rows.flatten(1)).reshape(rows.shape).movedim(-1, 1))
            parallel.add(updates)
            for p, update in zip(learning, updates, strict=True):
                tall = max(1.0, p.shape[0] / p[0].numel()) ** 0.5
                p.add_(update, alpha=-settings["lr"] * tall)
