"""Better latents for one picture, found by gradient descent through the decoder. Decoding does not change."""

import torch
from torch import Tensor, nn

from neurocodec.planes import BASE, GROUPS, PASSES
from neurocodec.train.rate_distortion import RateDistortion, steps_after

_RATE = 0.1  # of a step of the quantizer, per step of Adam


def refine(net: nn.Module, x: Tensor, z: Tensor, passes: int, steps: int) -> Tensor:
    """A latent (1, C, h, w) of a picture (1, 3, H, W) in [0, 1] for a stream of about so many passes.

    What it minimises, in `steps` steps from the encoder's latent z, is the objective that the network was trained for.
    """
    z = z.clone().requires_grad_()
    objective, count = RateDistortion(), torch.tensor([passes])
    step = steps_after(count, z.shape[1])
    optimizer = torch.optim.Adam([z], lr=_RATE * BASE ** ((PASSES - passes) / GROUPS), betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.cost(net, z, x, count, step).sum().backward()
        optimizer.step()
        schedule.step()
    return z.detach()
