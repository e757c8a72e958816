"""Convolutional LSTM codec after Toderici et al., ICLR'16 (arXiv 1511.06085) and CVPR'17 (arXiv 1608.05148).

    x - y, x -> stem -> ConvLSTM -> wanted -(+)-> analysis_t -> binarizer -> 32 bits per 16x16 pixels
       1        1/8       1/8          1    ^       1/16                        |
    x - y ----------------------------------'                                   v
    y <-(+)- synthesis <- ConvLSTM <- lift <----- delta <- transform_t <- values of the bits
     1   ^     1/4, 1/8      1/8       1/8    |     1           1/16
         '-------------- base <- base + delta-'

One pass sends 32 bits per 16x16 pixels (128 per 32x32, 0.125 bpp). The loop is closed over the pixels: the encoder sees
what is still wrong with y. The picture is the sum of two reconstructions, which the papers offer as alternatives: an
additive one, `base`, to which every pass adds a linear function of its bits, and a one-shot one, which a stateful decoder
predicts anew at each pass.

What differs from the papers, and why.
- Their decoder spends 82 % of 537 kMAC per pixel and pass in LSTMs at 1/2 and 1/4 of the picture's size. Here both
  recurrences live at 1/8, where a 3x3 convolution already sees 24 pixels, and a feed-forward synthesis goes from there
  to pixels; decoding runs it once, after the last pass. A pass costs 35 kMAC per pixel to encode, 9 to decode.
- Every pass has a linear analysis and transform of its own, which start as the Karhunen-Loeve transform of what the
  passes before leave over (`models/klt.py`). The untrained network is a transform coder that gets better with each pass,
  and training starts from there; networks without it stood still after the third pass.
- A latent may give several bits (see `binarizer`); how many, per pass, is part of the configuration (`depths`).
- The encoder also sees the picture and the decoder's hidden state (it runs the decoder anyway). Errors shrink from pass
  to pass: a learned gain per pass shows them to the recurrent part at the same size, so one set serves all passes.
- Missing bits are 0, halfway between the two values, and training shows the decoder such passes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.binarizer import from_bits, to_bits
from neurocodec.models.blocks import block as block_named
from neurocodec.models.pointwise import Pointwise
from neurocodec.models.recurrent import LSTMCell, Recurrent


class ConvLSTM(Recurrent):
    """The network as a codec sees it: `initial`, `encoder_step`, `decoder_step`, `synthesis`."""

    stride = 16  # pixels per code location, each way
    bits = 32  # per location and pass
    max_passes = 16

    def __init__(
        self,
        depths: Sequence[Sequence[int]],
        encoder: int = 96,
        decoder: int = 96,
        synthesis: int = 64,
        block: str = "residual-v1",
    ):
        """depths: for each pass the bits of each latent, 32 in all; block: the name of the synthesis's; else channels."""
        # Errors fall roughly like this over the passes: both recurrent parts see them enlarged, to one size.
        fall = torch.arange(1.0, self.max_passes + 1) ** -0.7
        super().__init__(depths, 4 / fall, encoder=encoder, decoder=decoder, synthesis=synthesis, block=block)
        self.code_gain = nn.Parameter(fall)
        self.stem = nn.Conv2d(2 * 3 * 16, encoder, 3, stride=2, padding=1)
        self.encoder = LSTMCell(nn.Conv2d(encoder, 4 * encoder, 3, padding=1), context=decoder, remember=0.0)
        self.wanted = Pointwise(encoder, 3 * 64)
        self.lift = nn.Conv2d(3 * 64, decoder, 3, padding=1)
        self.decoder = LSTMCell(nn.Conv2d(decoder, 4 * decoder, 3, padding=1), context=0, remember=4.0)
        self.widen = nn.Conv2d(decoder, 4 * synthesis, 3, padding=1)
        self.from_base = nn.Conv2d(3 * 16, synthesis, 3, padding=1)
        self.refine = nn.Conv2d(synthesis, synthesis, 3, padding=1)
        kind = block_named(block)
        self.blocks = nn.Sequential(kind(synthesis), kind(synthesis))
        self.to_pixels = nn.Conv2d(synthesis, 3 * 16, 3, padding=1)
        # Activations of about unit size, and a recurrent part that at first adds nothing to the transform coder.
        for layer in (self.stem, self.lift, self.widen, self.refine, self.from_base):
            nn.init.orthogonal_(layer.weight, 1.4)
        for layer in (self.wanted, self.to_pixels):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def reach(self) -> int | None:
        """Pixels to each side that a step looks at, rounded up to 32; None: all of them."""
        places = block_named(self.config["block"]).reach
        return None if places is None else -(-(16 + 2 * 4 * places) // 32) * 32

    def encoder_step(
        self, x: Tensor, y: Tensor, t: int, state: tuple[Tensor, ...], known: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Codes of pass t (from 0) and the encoder's next state.

        x: picture, y: picture after pass t-1, both (N, 3, H, W) in [0, 1] (y may overshoot); state: the encoder's, known:
        the decoder's hidden state. Codes: (N, 32, H/16, W/16) in {-1, +1}.
        """
        h, c = state
        error = (x - y) * self.error_gain[t]  # (N, 3, H, W)
        seen = self.stem(F.pixel_unshuffle(torch.cat([x - 0.5, error], 1), 4))  # (N, E, H/8, W/8)
        h, c = self.encoder(F.leaky_relu(seen, 0.1), torch.cat([h, known], 1), c)
        error = error + F.pixel_shuffle(self.wanted(h), 8)
        return to_bits(self.analysis[t](F.pixel_unshuffle(error, 16)), self.depths[t], noise), (h, c)

    def decoder_step(self, codes: Tensor, t: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The decoder's state after pass t. codes: (N, 32, H/16, W/16) in {-1, 0, +1}, 0 for a bit that is not known."""
        h, c, base = state
        delta = F.pixel_shuffle(self.transform[t](from_bits(codes, self.depths[t])), 16)  # (N, 3, H, W)
        lifted = F.leaky_relu(self.lift(F.pixel_unshuffle(delta, 8)), 0.1)  # (N, D, H/8, W/8)
        h, c = self.decoder(lifted, h, c, gain=self.code_gain[t])
        return h, c, base + delta / self.error_gain[t]

    def synthesis(self, state: tuple[Tensor, ...]) -> Tensor:
        """The picture that a decoder state stands for: (N, 3, H, W), about [0, 1], not clipped."""
        h, _, base = state
        y = F.pixel_shuffle(self.widen(h), 2) + self.from_base(F.pixel_unshuffle(base - 0.5, 4))  # (N, S, H/4, W/4)
        y = F.leaky_relu(y, 0.1)
        y = y + F.leaky_relu(self.refine(y), 0.1)
        return base + F.pixel_shuffle(self.to_pixels(self.blocks(y)), 4)
