"""Fire module (SqueezeNet): few channels are expanded by 1x1 and by 3x3 kernels side by side."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pointwise import Pointwise


class Fire(nn.Module):
    """x + [1x1, 3x3](activation(squeeze(activation(x)))), C to C/4 to C/2 and C/2. Cost: 1.5 C^2.

    With the shortcut of the paper's section 6.
    """

    paper = "1602.07360"
    reach = 1

    def __init__(self, channels: int):
        super().__init__()
        few, half = channels // 4, channels // 2
        self.squeeze = Pointwise(channels, few)
        self.one = Pointwise(few, half)
        self.three = nn.Conv2d(few, channels - half, 3, padding=1)
        for layer in (self.one, self.three):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.squeeze(F.leaky_relu(x, 0.1)), 0.1)
        return x + torch.cat([self.one(y), self.three(y)], 1)
