"""Ways to a map of twice the size, (N, I, h, w) to (N, O, 2h, 2w); costs in multiply-adds per place of the smaller map."""

from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError
from neurocodec.models.pointwise import Pointwise


class Upsampler(Protocol):
    """An upsampler's class. reach: places of the smaller map to each side that it looks at."""

    paper: ClassVar[str]
    reach: ClassVar[int]

    def __init__(self, inputs: int, outputs: int): ...
    def __call__(self, x: Tensor) -> Tensor: ...


class DepthToSpace(Pointwise):
    """Each place's channels become 2x2 places. Cost: 4 I O."""

    paper = "1609.05158"
    reach = 0

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, 4 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), 2)


class Transposed(nn.ConvTranspose2d):
    """A learned 4x4 kernel for each place, summed up where they overlap. Cost: 16 I O."""

    paper = "1411.4038"
    reach = 1

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 4, stride=2, padding=1)


class Nearest(nn.Conv2d):
    """Each place four times, then a 3x3 convolution, which leaves no checkerboard. Cost: 36 I O."""

    paper = "10.23915/distill.00003"
    reach = 1

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class BedOfNails(nn.Conv2d):
    """Each place at the top left of four, the others 0, then a 3x3 convolution. Cost: 36 I O."""

    paper = "1411.5928"
    reach = 1

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        nails = x.new_zeros(n, channels, 2 * height, 2 * width)
        nails[:, :, ::2, ::2] = x
        return super().forward(nails)


UPSAMPLERS: dict[str, type[Upsampler]] = {
    "depth-to-space": DepthToSpace,
    "transposed": Transposed,
    "nearest": Nearest,
    "bed-of-nails": BedOfNails,
}


def upsampler(name: str) -> type[Upsampler]:
    """The upsampler of a name. Raises NeurocodecError for an unknown one."""
    if name not in UPSAMPLERS:
        raise NeurocodecError(f"no upsampler {name!r}; there are {', '.join(UPSAMPLERS)}")
    return UPSAMPLERS[name]
