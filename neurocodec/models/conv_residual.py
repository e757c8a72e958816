"""Convolutional codecs of Toderici et al., ICLR'16 (arXiv 1511.06085, sections 3.2 and 3.4): a map of bits per 4x4 pixels.

`conv-residual-shared`, `conv-residual` (the sum over passes is in `models/residual.py`), and `conv-autoencoder`, one pass:

    error -> conv 64 -> conv 128 -> binarizer -> bits -> conv 128 -> conv 128, shuffled to 32 -> conv 12, shuffled to 3
      1       1/2        1/4                     1/4      1/4         1/4              1/2         1/2            1

The residual networks send 2 bits per location of the 8x8 map of a 32x32 picture, 128 bits a pass (0.125 bpp). The
autoencoder is one network per rate: 8 bits per location for 64 bytes (0.5 bpp), 16 for 128. Larger pictures go through as
a whole: convolutions look beyond a patch's border, so that there are no seams.

What differs from the paper, and why.
- Pixel shuffles stand for deconvolutions (arXiv 1609.05158): the same map, faster on processors.
- Fewer channels, 15 kMAC per pixel and pass, so that two cores can train it. The autoencoders, which have one pass, are shipped
  with a residual block at 1/2 and at 1/4 of the size, each way: 76 kMAC.
- A pass stops at 128 bytes per 32x32 pixels after 8 passes, the most that the paper reports.
"""

from torch import nn

from neurocodec.models.blocks import block as block_named
from neurocodec.models.pointwise import Pointwise
from neurocodec.models.residual import Residual


class ConvResidual(Residual):
    """`conv-residual`: each pass has weights of its own."""

    stride = 4
    bits = 2
    max_passes = 8

    def __init__(self, fine: int = 64, coarse: int = 128, block: str | None = None):
        """Channels at 1/2 (the decoder has half as many) and at 1/4 of the picture's size; block: the name of one for each of these
        maps. Raises NeurocodecError for a name that is not there."""
        super().__init__(
            lambda: _encoder(fine, coarse, self.bits, block), lambda: _decoder(fine // 2, coarse, self.bits, block)
        )
        self.config = {"fine": fine, "coarse": coarse, "block": block}

    @property
    def reach(self) -> int | None:
        """Pixels to each side that a step looks at, rounded up to 32; None: all of them."""
        places = block_named(self.config["block"]).reach if self.config["block"] else 0
        return None if places is None else -(-(10 + (2 + 4) * places) // 32) * 32


class ConvResidualShared(ConvResidual):
    """`conv-residual-shared`: one set of weights for all passes."""

    shared = True


class ConvAutoencoder(ConvResidual):
    """`conv-autoencoder`: a single pass of as many bits as the rate asks for."""

    bits = 8  # unless the configuration says otherwise
    max_passes = 1

    def __init__(self, bits: int = 8, fine: int = 64, coarse: int = 128, block: str | None = None):
        """bits: per location; the rest as in `ConvResidual`."""
        self.bits = bits
        super().__init__(fine, coarse, block)
        self.config["bits"] = bits


def _encoder(fine: int, coarse: int, bits: int, block: str | None) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, fine, 3, stride=2, padding=1),  # (N, 64, H/2, W/2)
        nn.LeakyReLU(0.1),
        *_blocks(block, fine),
        nn.Conv2d(fine, coarse, 3, stride=2, padding=1),  # (N, 128, H/4, W/4)
        nn.LeakyReLU(0.1),
        *_blocks(block, coarse),
        Pointwise(coarse, bits),  # (N, bits, H/4, W/4)
    )


def _decoder(fine: int, coarse: int, bits: int, block: str | None) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(bits, coarse, 3, padding=1, bias=False),  # (N, 128, H/4, W/4)
        nn.LeakyReLU(0.1),
        *_blocks(block, coarse, biases=False),
        nn.Conv2d(coarse, 4 * fine, 3, padding=1, bias=False),
        nn.PixelShuffle(2),  # (N, 32, H/2, W/2)
        nn.LeakyReLU(0.1),
        *_blocks(block, fine, biases=False),
        nn.Conv2d(fine, 12, 3, padding=1, bias=False),
        nn.PixelShuffle(2),  # (N, 3, H, W)
    )


def _blocks(name: str | None, channels: int, biases: bool = True) -> list[nn.Module]:
    """One block, or none."""
    if name is None:
        return []
    block = block_named(name)(channels)
    for module in block.modules():
        if not biases and getattr(module, "bias", None) is not None:
            module.bias = None
    return [block]
