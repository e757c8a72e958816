"""A fully connected conditional random field over a network's scores (Krahenbuhl & Koltun, arXiv 1210.5644).

Every place hears from every other, the more the nearer it is and the more its colour is like; mean-field inference. Places are
those of a coarser map, so that the matrix of all pairs fits into memory: what they have heard is enlarged and added to the scores.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PLACES = 5000


class CRF(nn.Module):
    """A network's scores (N, K, H, W), made more consistent; pictures (N, 3, H, W) in [0, 1]."""

    def __init__(
        self,
        network: nn.Module,
        appearance: float = 1.0,
        smoothness: float = 0.3,
        far: float = 0.1,
        near: float = 0.02,
        alike: float = 0.06,
        rounds: int = 5,
    ):
        """appearance, smoothness: weights of what is heard from places alike and near, and from those near. far, near: standard
        deviations of both in shares of the picture's height; alike: that of colours, in [0, 1]."""
        super().__init__()
        self.network, self.rounds = network, rounds
        self.weights, self.spreads, self.alike = (appearance, smoothness), (far, near), alike

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(x)
        return torch.stack([score + self._heard(score, picture) for score, picture in zip(scores, x, strict=True)])

    def _heard(self, scores: Tensor, x: Tensor) -> Tensor:
        """What is added to scores (K, H, W) of a picture (3, H, W)."""
        (height, width), classes = x.shape[1:], len(scores)
        share = min(1.0, (_PLACES / (height * width)) ** 0.5)
        size = (max(1, round(share * height)), max(1, round(share * width)))
        unary, colours = (F.interpolate(m[None], size, mode="area")[0].flatten(1).T for m in (scores, x))
        far, near = (_apart(size, spread) for spread in self.spreads)
        unlike = torch.cdist(colours, colours).square_().div_(2 * self.alike**2)
        kernel = sum(weight * _shares(energy) for weight, energy in zip(self.weights, (unlike.add_(far), near), strict=True))
        heard = torch.zeros_like(unary)
        for _ in range(self.rounds):
            heard = kernel @ torch.softmax(unary + heard, 1)
        return F.interpolate(heard.T.reshape(1, classes, *size), (height, width), mode="bilinear", align_corners=False)[0]


@lru_cache(maxsize=2)
def _apart(size: tuple[int, int], spread: float) -> Tensor:
    """How far places of a map (h, w) are from each other, (h w, h w), in squares of a deviation in heights, halved."""
    rows, columns = (torch.arange(n) / size[0] for n in size)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)
    return torch.cdist(places, places).square() / (2 * spread**2)


def _shares(energy: Tensor) -> Tensor:
    """Of what each place hears, the share that each other has."""
    heard = torch.exp(-energy).fill_diagonal_(0)
    return heard / heard.sum(1, keepdim=True).clamp_min(1e-9)
