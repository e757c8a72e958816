"""Fully connected codecs of Toderici et al., ICLR'16 (arXiv 1511.06085, sections 3.2 and 3.3): 4 bits per 8x8 patch and pass.

`fc-residual-shared`, `fc-residual` (the sum over passes is in `models/residual.py`):

    error, 192 -> tanh 512 -> tanh 512 -> binarizer -> 4 bits -> tanh 512 -> tanh 512 -> 192, added to y

`fc-lstm`:

    x - y, 192 -> tanh 192 -> LSTM 128 -> binarizer -> 4 bits -> LSTM 320 -> 192 = y, predicted anew

A patch is one location of a map at 1/8 of the picture's size, so all patches of a picture of any size are coded at once;
none knows anything of its neighbours. A pass sends 64 bits per 32x32 pixels (0.0625 bpp), 16 passes 128 bytes.

What differs from the paper, and why.
- The paper leaves the depth open; two hidden layers each way make 11 kMAC per pixel and pass.
- The paper's LSTM layers are 512 wide and two deep each way, 131 kMAC per pixel and pass: too much to train on two
  cores. Here one layer each way makes 11, and the decoder, which has to remember the picture, gets most of it.
- A learned gain per pass shows the shrinking errors to `fc-lstm` at one size, as it does to the residual networks.
"""

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.binarizer import to_bits
from neurocodec.models.conv_lstm import Pointwise
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
        Pointwise(hidden, hidden),
        nn.Tanh(),
        Pointwise(hidden, bits),  # (N, 4, H/8, W/8)
    )


def _decoder(hidden: int, bits: int) -> nn.Module:
    return nn.Sequential(
        Pointwise(bits, hidden, bias=False),  # (N, 512, H/8, W/8)
        nn.Tanh(),
        Pointwise(hidden, hidden, bias=False),
        nn.Tanh(),
        Pointwise(hidden, _SAMPLES, bias=False),
        nn.PixelShuffle(_PATCH),  # (N, 3, H, W)
    )


class LSTMCell(nn.Module):
    """LSTM (arXiv 1409.2329) at every location by itself."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.from_input = Pointwise(inputs, 4 * hidden)
        self.from_hidden = Pointwise(hidden, 4 * hidden, bias=False)
        # Inputs of unit size move the gates at once; what has been said is kept until training knows better.
        nn.init.normal_(self.from_input.weight, std=inputs**-0.5)
        nn.init.constant_(self.from_input.bias[hidden : 2 * hidden], 2.0)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Next (h, c), each (N, hidden, ...)."""
        i, f, o, g = (self.from_input(x) + self.from_hidden(h)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class FcLSTM(nn.Module):
    """`fc-lstm`, as a codec sees it: `initial`, `encoder_step`, `decoder_step`, `synthesis`."""

    linear_parts: ClassVar[tuple[str, ...]] = ()  # no parameters start well
    stride = _PATCH  # pixels per code location, each way
    bits = 4  # per location and pass
    max_passes = 16
    reach = 32  # pixels to each side that a step looks at, rounded up: a patch only itself

    def __init__(self, hidden: int = 192, encoder: int = 128, decoder: int = 320):
        """Widths: of the fully connected layer and of the two LSTM layers."""
        super().__init__()
        self.config = {"hidden": hidden, "encoder": encoder, "decoder": decoder}
        self.gain = error_gain(self.max_passes, self.stride, self.bits)
        self.stem = Pointwise(_SAMPLES, hidden)
        self.encoder = LSTMCell(hidden, encoder)
        self.to_logits = Pointwise(encoder, self.bits)
        self.decoder = LSTMCell(self.bits, decoder)
        self.to_pixels = Pointwise(decoder, _SAMPLES)

    @classmethod
    def start(cls, pictures: list[Tensor], **config: Any) -> Self:
        """An untrained network; its weights are random, whatever the pictures."""
        return cls(**config)

    def initial(self, like: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        """States before the first pass, encoder (h, c) and decoder (h, c), and the picture known so far, mid-grey.

        like: (N, 3, H, W), H and W multiples of 8; only its shape, dtype and device count.
        """
        n, _, h, w = like.shape
        e, d = self.config["encoder"], self.config["decoder"]
        zeros = [like.new_zeros(n, c, h // self.stride, w // self.stride) for c in (e, e, d, d)]
        zeros = [z.contiguous(memory_format=torch.channels_last) for z in zeros]
        return (zeros[0], zeros[1]), (zeros[2], zeros[3]), like.new_full((), 0.5).expand_as(like)

    def encoder_step(
        self, x: Tensor, y: Tensor, t: int, state: tuple[Tensor, ...], known: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Codes of pass t (from 0), (N, 4, H/8, W/8) in {-1, +1}, and the encoder's next state.

        x: picture, y: picture after pass t-1, both (N, 3, H, W) in [0, 1] (y may overshoot); noise as in `to_bits`, 1 in
        the paper.
        """
        error = F.pixel_unshuffle((x - y) * self.gain[t], self.stride)  # (N, 192, H/8, W/8)
        h, c = self.encoder(torch.tanh(self.stem(error)), *state)
        return to_bits(self.to_logits(h), (1,) * self.bits, noise), (h, c)

    def decoder_step(self, codes: Tensor, t: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The decoder's state after pass t. codes: (N, 4, H/8, W/8) in {-1, 0, +1}, 0 for a bit that is not known."""
        return self.decoder(codes, *state)

    def synthesis(self, state: tuple[Tensor, ...]) -> Tensor:
        """The picture that a decoder state stands for: (N, 3, H, W), about [0, 1], not clipped."""
        return 0.5 + F.pixel_shuffle(self.to_pixels(state[0]), self.stride)
