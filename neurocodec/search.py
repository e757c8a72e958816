"""Better latents for one picture, found by gradient descent through the decoder. Decoding does not change."""

import torch
from torch import Tensor, nn

from neurocodec.planes import GROUPS, PASSES
from neurocodec.train.rate_distortion import RateDistortion, crop, pad

_RATE = 0.15  # of a step of the quantizer, per step of Adam


def refine(net: nn.Module, x: Tensor, passes: int, steps: int) -> list[Tensor]:
    """Latents, (1, C, h, w) each, of a picture (1, 3, H, W) in [0, 1] for a stream of about so many passes.

    What they minimise is the objective that the network was trained for, from what its encoder says, in `steps` steps.
    """
    with torch.no_grad():
        latents = crop(net, net.analysis_transform(pad(x)), *x.shape[2:])
    latents = [z.clone().requires_grad_() for z in latents]
    objective = RateDistortion()
    optimizer = torch.optim.Adam(latents, lr=_RATE * 2 ** ((PASSES - passes) / GROUPS), betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.cost(net, latents, x, torch.tensor([passes])).sum().backward()
        optimizer.step()
        schedule.step()
    return [z.detach() for z in latents]
