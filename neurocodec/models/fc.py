"""Fully connected codecs of Toderici et al., ICLR'16 (arXiv 1511.06085, sections 3.2 and 3.3): 4 bits per 8x8 patch and pass.

`fc-residual-shared`, `fc-residual` (the sum over passes is in `models/residual.py`):

    error, 192 -> tanh 512 -> binarizer -> 4 bits -> tanh 512 -> 192, added to y

`fc-lstm`, in which base is the sum of all transform_t and y is predicted anew from it and the LSTM after each pass:

    x - y, x -> tanh 192 -> LSTM 128 -> 192
                                         v
    x - y ----------------------------->(+)-> analysis_t -> binarizer -> 4 bits -> transform_t
                                                                                        |
    y <-(+)- 192 <- tanh 192 <-- LSTM 256 <-- tanh 192 <--------------------------------+
         ^             ^                                                                v
         '-------------+---- base <------------------------------------------ base <-- (+)

A patch is one location of a map at 1/8 of the picture's size, so all patches of a picture of any size are coded at once;
none knows anything of its neighbours. A pass sends 64 bits per 32x32 pixels (0.0625 bpp), 16 passes 128 bytes.

What differs from the paper, and why.
- The paper leaves the depth open. Here it is one hidden layer each way: 4 bits name 16 patches, whatever comes after them.
- The paper's LSTM layers are 512 wide and two deep each way, 131 kMAC per pixel and pass: too much to train on two
  cores. Here one layer each way makes 16, and the decoder, which has to remember the picture, gets most of it.
- `fc-lstm` starts as a transform coder with matrices of its own for every pass, for the reasons that `models/conv_lstm.py`
  gives: without, it stood still at 0.37 after the third pass.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.binarizer import from_bits, to_bits
from neurocodec.models.pointwise import Pointwise
from neurocodec.models.recurrent import LSTMCell, Recurrent
from neurocodec.models.residual import Residual, error_gain

_PATCH = 8
_SAMPLES = 3 * _PATCH**2


class FcResidual(Residual):
    """`fc-residual`: each pass has weights of its own."""

    stride = _PATCH
    bits = 4
    max_passes = 16

    def __init__(self, hidden: int = 512):
        """hidden: width of the layers."""
        super().__init__(lambda: _encoder(hidden, self.bits), lambda: _decoder(hidden, self.bits))
        self.config = {"hidden": hidden}


class FcResidualShared(FcResidual):
    """`fc-residual-shared`: one set of weights for all passes."""

    shared = True


def _encoder(hidden: int, bits: int) -> nn.Module:
    return nn.Sequential(
        nn.PixelUnshuffle(_PATCH),  # (N, 192, H/8, W/8)
        Pointwise(_SAMPLES, hidden),
        nn.Tanh(),
        Pointwise(hidden, bits),  # (N, 4, H/8, W/8)
    )


def _decoder(hidden: int, bits: int) -> nn.Module:
    return nn.Sequential(
        Pointwise(bits, hidden, bias=False),  # (N, 512, H/8, W/8)
        nn.Tanh(),
        Pointwise(hidden, _SAMPLES, bias=False),
        nn.PixelShuffle(_PATCH),  # (N, 3, H, W)
    )


class FcLSTM(Recurrent):
    """`fc-lstm`, as a codec sees it: `initial`, `encoder_step`, `decoder_step`, `synthesis`."""

    stride = _PATCH  # pixels per code location, each way
    bits = 4  # per location and pass
    max_passes = 16
    reach = 32  # pixels to each side that a step looks at, rounded up: a patch only itself

    def __init__(self, depths: Sequence[Sequence[int]], hidden: int = 192, encoder: int = 128, decoder: int = 256):
        """depths: for each pass the bits of each latent, 4 in all; widths: of fully connected and of the two LSTM layers."""
        gain = error_gain(self.max_passes, self.stride, self.bits)
        super().__init__(depths, gain, hidden=hidden, encoder=encoder, decoder=decoder)
        self.stem = Pointwise(2 * _SAMPLES, hidden)
        self.encoder = LSTMCell(Pointwise(hidden, 4 * encoder), context=decoder, remember=0.0)
        self.wanted = Pointwise(encoder, _SAMPLES)
        self.lift = Pointwise(_SAMPLES, hidden)
        self.decoder = LSTMCell(Pointwise(hidden, 4 * decoder), context=0, remember=4.0)
        self.widen = Pointwise(decoder + _SAMPLES, hidden)
        self.to_pixels = Pointwise(hidden, _SAMPLES)
        for layer in (self.wanted, self.to_pixels):  # the recurrent part at first adds nothing to the transform coder
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encoder_step(
        self, x: Tensor, y: Tensor, t: int, state: tuple[Tensor, ...], known: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Codes of pass t (from 0), (N, 4, H/8, W/8) in {-1, +1}, and the encoder's next state.

        x: picture, y: picture after pass t-1, both (N, 3, H, W) in [0, 1] (y may overshoot); state: the encoder's, known:
        the decoder's hidden state; noise as in `to_bits`, 1 in the paper.
        """
        h, c = state
        error = F.pixel_unshuffle((x - y) * self.error_gain[t], self.stride)  # (N, 192, H/8, W/8)
        seen = torch.tanh(self.stem(torch.cat([F.pixel_unshuffle(x - 0.5, self.stride), error], 1)))
        h, c = self.encoder(seen, torch.cat([h, known], 1), c)
        return to_bits(self.analysis[t](error + self.wanted(h)), self.depths[t], noise), (h, c)

    def decoder_step(self, codes: Tensor, t: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The decoder's state after pass t. codes: (N, 4, H/8, W/8) in {-1, 0, +1}, 0 for a bit that is not known."""
        h, c, base = state
        delta = self.transform[t](from_bits(codes, self.depths[t]))  # (N, 192, H/8, W/8)
        h, c = self.decoder(torch.tanh(self.lift(delta)), h, c, gain=1 / self.error_gain[t])
        return h, c, base + F.pixel_shuffle(delta, self.stride) / self.error_gain[t]

    def synthesis(self, state: tuple[Tensor, ...]) -> Tensor:
        """The picture that a decoder state stands for: (N, 3, H, W), about [0, 1], not clipped."""
        h, _, base = state
        seen = torch.cat([h, F.pixel_unshuffle(base - 0.5, self.stride)], 1)
        return base + F.pixel_shuffle(self.to_pixels(torch.tanh(self.widen(seen))), self.stride)
