"""Spatial transformer (Jaderberg et al., NIPS 2015, arXiv 1506.02025): localisation network, affine grid, bilinear sampler.

A *pose* says where in one picture, in units of half its sides, each place of another lies: an affine map (2, 3).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 96  # pixels a side at which the localisation network looks at pictures
_WIDTHS = (16, 24, 32, 48)
_ROUNDS, _RATE = 40, 2e-3  # of refinement at each scale; of Adam at the coarsest
_SCALES = (8, 4, 2)


def sample(x: Tensor, pose: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) moved by poses (N, 2, 3); what lies outside is the nearest border."""
    grid = F.affine_grid(pose, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def identity(count: int) -> Tensor:
    """Poses (count, 2, 3) that move nothing."""
    return torch.eye(2, 3).expand(count, 2, 3).clone()


class Localisation(nn.Module):
    """The pose by which a scene must be moved to lie like a frame."""

    def __init__(self) -> None:
        super().__init__()
        widths = (6, *_WIDTHS)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, widths[1:], strict=False))
        self.hidden = nn.Linear(widths[-1] * (SIDE // 2 ** len(_WIDTHS)) ** 2, 64)
        self.pose = nn.Linear(64, 6)
        nn.init.zeros_(self.pose.weight)
        nn.init.zeros_(self.pose.bias)

    def forward(self, scene: Tensor, frame: Tensor) -> Tensor:
        """Poses (N, 2, 3); scene, frame: (N, 3, H, W) in [0, 1]."""
        x = torch.cat([scene, frame], 1) - 0.5
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
        x = F.leaky_relu(self.hidden(x.flatten(1)), 0.1)
        return identity(len(x)) + 0.1 * self.pose(x).view(-1, 2, 3)


def refined(scene: Tensor, frame: Tensor, pose: Tensor) -> Tensor:
    """A pose (1, 2, 3) nearer to the best, by gradient steps on the mean difference of pictures (1, 3, H, W), coarse to fine."""
    pose = pose.clone()
    for number, scale in enumerate(_SCALES):
        small = [F.avg_pool2d(x, scale) for x in (scene, frame)]
        change = torch.zeros_like(pose, requires_grad=True)
        optimizer = torch.optim.Adam([change], _RATE / 2**number)
        for _ in range(_ROUNDS):
            with torch.enable_grad():
                difference = sample(small[0], pose + change) - small[1]
                loss = torch.sqrt(difference.square() + 1e-3).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pose = pose + change.detach()
    return pose
