"""Channel shuffle (ShuffleNet): 1x1 convolutions in groups, between which channels change groups."""

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 4


class Shuffle(nn.Module):
    """x + grouped 1x1(depthwise 3x3(shuffled grouped 1x1(x))); C a multiple of 16. Cost: C^2 / 8 + 2.25 C.

    As in the paper, the inner maps have C/4 channels and no activation follows the depthwise convolution.
    """

    paper = "1707.01083"
    reach = 1

    def __init__(self, channels: int):
        super().__init__()
        few = channels // 4
        self.narrow = nn.Conv2d(channels, few, 1, groups=_GROUPS)
        self.depthwise = nn.Conv2d(few, few, 3, padding=1, groups=few)
        self.wide = nn.Conv2d(few, channels, 1, groups=_GROUPS)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.narrow(F.leaky_relu(x, 0.1)), 0.1)
        return x + self.wide(self.depthwise(F.channel_shuffle(y, _GROUPS)))
