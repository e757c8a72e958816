"""What the feed-forward networks of Toderici et al., ICLR'16 (arXiv 1511.06085, section 3.2) have in common: residual coding.

    x -(-)-> * gain_t -> encoder_t -> binarizer -> bits -> decoder_t -> / gain_t -(+)-> y
        ^                                                                         |
        '-------------------------- y, at first mid-grey -------------------------'

Pass t codes what the passes before it left over, r_t = r_{t-1} - F_t(r_{t-1}), and the picture is the sum of all F_t. The
weights are the same for every pass (shared) or each pass has its own (distinct).

What differs from the paper, and why.
- Errors shrink from pass to pass: a learned gain per pass, one number, shows them to the networks at one size and scales
  back what these answer. Without it, shared weights would have to answer every pass alike.
- Decoders have no biases, so that a location whose bits are not known, all 0, adds nothing to the picture.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from neurocodec.binarizer import to_bits


def error_gain(passes: int, stride: int, bits: int) -> Tensor:
    """Where a gain per pass starts, (passes,): errors of thumbnails fall about so with the bits that are spent on them."""
    spent = torch.arange(passes) * bits * (8 / stride) ** 2  # per 8x8 pixels, before each pass
    return 2 * (1 + spent / 4) ** 0.4


class Residual(nn.Module):
    """The network as a codec sees it: `initial`, `encoder_step`, `decoder_step`, `synthesis`; a subclass has the layers."""

    linear_parts: ClassVar[tuple[str, ...]] = ()  # no parameters start well
    reach = 32  # pixels to each side that a step looks at, rounded up
    stride: int  # pixels per code location, each way
    bits: int  # per location and pass
    max_passes: int
    shared = False  # one set of weights for all passes

    def __init__(self, encoder: Callable[[], nn.Module], decoder: Callable[[], nn.Module]):
        """encoder: makes one, (N, 3, H, W) to logits (N, bits, H/stride, W/stride); decoder: makes one that goes back."""
        super().__init__()
        count = 1 if self.shared else self.max_passes
        self.encoders = nn.ModuleList(encoder() for _ in range(count))
        self.decoders = nn.ModuleList(decoder() for _ in range(count))
        self.gain = nn.Parameter(error_gain(self.max_passes, self.stride, self.bits))

    @classmethod
    def start(cls, pictures: list[Tensor], **config: Any) -> Self:
        """An untrained network; its weights are random, whatever the pictures."""
        return cls(**config)

    def initial(self, like: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor], Tensor]:
        """States before the first pass: the encoder's, without channels, the decoder's picture, and that picture: mid-grey.

        like: (N, 3, H, W), H and W multiples of 32; only its shape, dtype and device count.
        """
        n, _, h, w = like.shape
        nothing = like.new_zeros(n, 0, h // self.stride, w // self.stride)
        grey = like.new_full((), 0.5).expand_as(like)
        return (nothing, nothing), (grey.clone(),), grey

    def encoder_step(
        self, x: Tensor, y: Tensor, t: int, state: tuple[Tensor, ...], known: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Codes of pass t (from 0), (N, bits, H/stride, W/stride) in {-1, +1}, and the encoder's state, which is empty.

        x: picture, y: picture after pass t-1, both (N, 3, H, W) in [0, 1] (y may overshoot); noise as in `to_bits`, 1 in
        the paper.
        """
        logits = self.encoders[t % len(self.encoders)]((x - y) * self.gain[t])
        return to_bits(logits, (1,) * self.bits, noise), state

    def decoder_step(self, codes: Tensor, t: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The decoder's state after pass t. codes: (N, bits, ...) in {-1, 0, +1}, 0 for a bit that is not known."""
        return (state[0] + self.decoders[t % len(self.decoders)](codes) / self.gain[t],)

    def synthesis(self, state: tuple[Tensor, ...]) -> Tensor:
        """The picture that a decoder state stands for: (N, 3, H, W), about [0, 1], not clipped."""
        return state[0]
