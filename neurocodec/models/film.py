"""Feature-wise linear modulation (FiLM: Perez et al., arXiv 1709.07871): what a synthesis is told of how much it knows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEEPEST = 4  # planes that are not known, from which on it makes no difference
PACE = 3.0  # how much faster than other parameters these shall move


class FiLM(nn.Module):
    """A gain and an offset of each channel, linear in how many planes are not known between whole numbers of them; at first none."""

    def __init__(self, channels: int):
        super().__init__()
        # Vectors, not a matrix of them: they are scales, and trained as such.
        self.gain = nn.ParameterList(torch.zeros(channels) for _ in range(DEEPEST + 1))
        self.offset = nn.ParameterList(torch.zeros(channels) for _ in range(DEEPEST + 1))

    def forward(self, f: Tensor, depth: Tensor) -> Tensor:
        """Maps (N, C, h, w), each of a latent of which all but `depth` planes, (N,), are known."""
        depth = depth.clamp(0, DEEPEST)[:, None, None]
        near = F.relu(1 - (depth - torch.arange(DEEPEST + 1, device=depth.device)[:, None]).abs())
        gain, offset = ((PACE * near * torch.stack(list(p))).sum(1)[..., None, None] for p in (self.gain, self.offset))
        return torch.addcmul(offset.to(f.dtype), f, (1 + gain).to(f.dtype))
