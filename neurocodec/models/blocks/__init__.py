"""Building blocks of the literature for the stages of convolutional codecs: (N, C, h, w) to (N, C, h, w), one file an idea.

A block is a module class made with the number of channels. It says its `paper`, and how many places to each side it looks at,
at most (`reach`; None: everywhere). Blocks that add to their input add nothing at first. Cost is in multiply-adds per place, C
channels, without biases. Where a block's paper normalises batches, it does not: a codec's activations must not depend on what else
is coded. Activations are leaky ReLUs.
"""

from typing import ClassVar, Protocol

from torch import Tensor

from neurocodec.errors import NeurocodecError
from neurocodec.models.blocks.bottleneck import Bottleneck
from neurocodec.models.blocks.esp import ESP
from neurocodec.models.blocks.fire import Fire
from neurocodec.models.blocks.grouped import Grouped
from neurocodec.models.blocks.inception import Inception, InceptionResidual
from neurocodec.models.blocks.plain import Plain
from neurocodec.models.blocks.pyramid import Pyramid
from neurocodec.models.blocks.residual import Residual, ResidualV1
from neurocodec.models.blocks.separable import Separable
from neurocodec.models.blocks.shuffle import Shuffle
from neurocodec.models.blocks.squeeze import SqueezeExcitation


class Block(Protocol):
    """A block's class."""

    paper: ClassVar[str]
    reach: ClassVar[int | None]

    def __init__(self, channels: int): ...
    def __call__(self, x: Tensor) -> Tensor: ...


BLOCKS: dict[str, type[Block]] = {
    "plain": Plain,
    "residual": Residual,
    "residual-v1": ResidualV1,
    "bottleneck": Bottleneck,
    "inception": Inception,
    "inception-residual": InceptionResidual,
    "separable": Separable,
    "fire": Fire,
    "grouped": Grouped,
    "shuffle": Shuffle,
    "esp": ESP,
    "squeeze-excitation": SqueezeExcitation,
    "pyramid": Pyramid,
}


def block(name: str) -> type[Block]:
    """The block of a name. Raises NeurocodecError for an unknown one."""
    if name not in BLOCKS:
        raise NeurocodecError(f"no block {name!r}; there are {', '.join(BLOCKS)}")
    return BLOCKS[name]
