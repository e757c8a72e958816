"""Convolutional LSTM codec after Toderici et al., ICLR'16 (arXiv 1511.06085) and CVPR'17 (arXiv 1608.05148).

    x, x - y_{t-1} -> stem -> ConvLSTM -> binarizer -> 32 bits per 16x16 pixels
                1/4     1/8       1/8         1/16            |
    y_t <- synthesis <- ConvLSTM <- lift <--------------------'
     1       1/4, 1/8      1/8      1/16

One pass sends 32 bits per 16x16 pixels (128 per 32x32, 0.125 bpp). The decoder predicts the picture itself at
each pass ("one-shot reconstruction"); the loop is closed over the pixels: the encoder sees what is still wrong.

What differs from the papers, and why. Their decoder spends 82 % of 537 kMAC per pixel and pass in LSTMs at 1/2
and 1/4 of the picture's size. Here both recurrences live at 1/8, where a 3x3 convolution already sees 24 pixels,
and a feed-forward synthesis goes from there to pixels; decoding runs it once, after the last pass, instead of at
every pass. The encoder also sees the picture and the decoder's hidden state (it runs the decoder anyway), so it
need not guess what the decoder knows. Errors shrink from pass to pass: a learned gain per pass enlarges them for the
encoder and shrinks the decoder's steps, so that one set of weights serves all passes. Missing bits are 0, halfway between the two values, and training shows the decoder such passes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.binarizer import binarize


class Pointwise(nn.Linear):
    """1x1 convolution of (N, C, h, w) as a matrix product, which is the faster of the two on processors."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvLSTMCell(nn.Module):
    """Convolutional LSTM (arXiv 1506.04214) with a 3x3 kernel on the input and 1x1 on the hidden state.

    `context` extra channels join the hidden state on its way into the gates. The cell sums up corrections that get
    ever smaller, so it forgets little at first, its output is not squashed, and `gain` scales what is added.
    """

    def __init__(self, inputs: int, hidden: int, context: int = 0):
        super().__init__()
        self.from_input = nn.Conv2d(inputs, 4 * hidden, 3, padding=1)
        self.from_hidden = Pointwise(hidden + context, 4 * hidden, bias=False)
        nn.init.constant_(self.from_input.bias[hidden : 2 * hidden], 4.0)  # the forget gate

    def forward(
        self, x: Tensor, h: Tensor, c: Tensor, context: Tensor | None = None, gain: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        known = h if context is None else torch.cat([h, context], 1)
        i, f, o, g = (self.from_input(x) + self.from_hidden(known)).chunk(4, 1)
        c = torch.sigmoid(f) * c + gain * torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * c, c


class ConvLSTM(nn.Module):
    """The network as a codec sees it: `initial`, `encoder_step`, `decoder_step`, `synthesis`."""

    stride = 16  # pixels per code location, each way
    bits = 32  # per location and pass
    max_passes = 16
    reach = 32  # pixels to each side that a step looks at, rounded up

    def __init__(self, encoder: int = 96, decoder: int = 128, synthesis: int = 64):
        super().__init__()
        self.config = {"encoder": encoder, "decoder": decoder, "synthesis": synthesis}
        # Errors fall roughly like this over the passes: the encoder sees them enlarged, the decoder's steps shrink.
        fall = torch.arange(1.0, self.max_passes + 1) ** -0.7
        self.error_gain, self.code_gain = nn.Parameter(4 / fall), nn.Parameter(fall)
        self.stem = nn.Conv2d(2 * 3 * 16, encoder, 3, stride=2, padding=1)
        self.encoder = ConvLSTMCell(encoder, encoder, context=decoder)
        self.to_bits = nn.Conv2d(encoder, self.bits, 4, stride=2, padding=1)
        self.lift = nn.Conv2d(self.bits, 4 * decoder, 3, padding=1)
        self.decoder = ConvLSTMCell(decoder, decoder)
        self.widen = nn.Conv2d(decoder, 4 * synthesis, 3, padding=1)
        self.refine = nn.Conv2d(synthesis, synthesis, 3, padding=1)
        self.to_pixels = nn.Conv2d(synthesis, 3 * 16, 3, padding=1)
        # Activations of about unit size from the first step on; the picture starts near grey.
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                rectified = layer in (self.stem, self.lift, self.widen, self.refine)
                nn.init.orthogonal_(layer.weight, 1.4 if rectified else 1.0)
        nn.init.orthogonal_(self.to_pixels.weight, 0.1)

    def initial(self, like: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        """States before the first pass: encoder (h, c), decoder (h, c) and the picture known so far, mid-grey.

        like: (N, 3, H, W), H and W multiples of 16; only its shape, dtype and device count.
        """
        n, _, h, w = like.shape
        e, d = self.config["encoder"], self.config["decoder"]
        zeros = [like.new_zeros(n, c, h // 8, w // 8) for c in (e, e, d, d)]
        zeros = [z.contiguous(memory_format=torch.channels_last) for z in zeros]
        return (zeros[0], zeros[1]), (zeros[2], zeros[3]), like.new_full((), 0.5).expand_as(like)

    def encoder_step(
        self, x: Tensor, y: Tensor, t: int, state: tuple[Tensor, ...], known: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Codes of pass t (from 0) and the encoder's next state.

        x: picture, y: picture after pass t-1, both (N, 3, H, W) in [0, 1] (y may overshoot); state: the encoder's,
        known: the decoder's hidden state. Codes: (N, 32, H/16, W/16) in {-1, +1}.
        """
        seen = torch.cat([x - 0.5, (x - y) * self.error_gain[t]], 1)  # (N, 6, H, W)
        seen = F.leaky_relu(self.stem(F.pixel_unshuffle(seen, 4)), 0.1)  # (N, E, H/8, W/8)
        state = self.encoder(seen, *state, context=known)
        return binarize(self.to_bits(state[0]), noise), state  # (N, 32, H/16, W/16)

    def decoder_step(self, codes: Tensor, t: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The decoder's state after pass t. codes: (N, 32, H/16, W/16) in {-1, 0, +1}, 0 for a bit that is not known."""
        bits = F.leaky_relu(F.pixel_shuffle(self.lift(codes), 2), 0.1)  # (N, D, H/8, W/8)
        return self.decoder(bits, *state, gain=self.code_gain[t])

    def synthesis(self, state: tuple[Tensor, ...]) -> Tensor:
        """The picture that a decoder state stands for: (N, 3, H, W), about [0, 1], not clipped."""
        y = F.leaky_relu(F.pixel_shuffle(self.widen(state[0]), 2), 0.1)  # (N, S, H/4, W/4)
        y = y + F.leaky_relu(self.refine(y), 0.1)
        return 0.5 + F.pixel_shuffle(self.to_pixels(y), 4)
