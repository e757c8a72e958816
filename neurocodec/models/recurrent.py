"""What `conv-lstm` and `fc-lstm` share: LSTM cells, and linear transforms for every pass, with which they start."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from neurocodec.models import klt
from neurocodec.models.pointwise import Pointwise


class LSTMCell(nn.Module):
    """LSTM (arXiv 1409.2329) with 1x1 kernels on the hidden state; convolutional (arXiv 1506.04214) if `from_input` is.

    from_input: a layer of inputs to 4 * hidden channels. `context` extra channels join the hidden state on its way into the
    gates. The output is not squashed and `gain` scales what is added to the cell, since a decoder's cell sums up
    corrections that get ever smaller; `remember` is the first bias of the forget gate.
    """

    def __init__(self, from_input: nn.Conv2d | nn.Linear, context: int, remember: float):
        super().__init__()
        hidden = len(from_input.bias) // 4
        self.from_input = from_input
        self.from_hidden = Pointwise(hidden + context, 4 * hidden, bias=False)
        nn.init.constant_(self.from_input.bias[hidden : 2 * hidden], remember)

    def forward(self, x: Tensor, h: Tensor, c: Tensor, gain: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Next (h, c), each (N, hidden, ...); here h is the hidden state and context together."""
        i, f, o, g = (self.from_input(x) + self.from_hidden(h)).chunk(4, 1)
        c = torch.sigmoid(f) * c + gain * torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * c, c


class Recurrent(nn.Module):
    """The part of a network that a subclass completes with `encoder_step`, `decoder_step` and `synthesis`."""

    linear_parts: ClassVar[tuple[str, ...]] = ("analysis", "transform")  # parameters that start well
    stride: int  # pixels per code location, each way
    bits: int  # per location and pass
    max_passes: int

    def __init__(self, depths: Sequence[Sequence[int]], error_gain: Tensor, **config: Any):
        """depths: for each pass the bits of each latent; error_gain: (passes,), by which errors are enlarged to one size;
        config: the rest of the configuration, with the channels of the `encoder` and `decoder` LSTMs."""
        super().__init__()
        self.depths = [tuple(d) for d in depths]
        if len(self.depths) != self.max_passes or any(sum(d) != self.bits for d in self.depths):
            raise ValueError(f"depths must list {self.max_passes} passes of {self.bits} bits each")
        self.config: dict[str, Any] = {"depths": self.depths, **config}
        patch = 3 * self.stride**2
        self.analysis = nn.ModuleList(Pointwise(patch, len(d), bias=False) for d in self.depths)
        self.transform = nn.ModuleList(Pointwise(len(d), patch, bias=False) for d in self.depths)
        self.error_gain = nn.Parameter(error_gain)

    @classmethod
    def start(cls, pictures: list[Tensor], **config: Any) -> Self:
        """An untrained network: a transform coder for such pictures, float32 (N, 3, H, W) in [0, 1]."""
        depths, analyses, transforms = klt.transforms(pictures, cls.stride, cls.max_passes, cls.bits)
        net = cls(depths, **config)
        with torch.no_grad():
            for t, gain in enumerate(net.error_gain):
                net.analysis[t].weight.copy_(analyses[t] / gain)
                net.transform[t].weight.copy_(transforms[t] * gain)
        return net

    def initial(self, like: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        """States before the first pass: encoder (h, c), decoder (h, c, base) and the picture known so far, mid-grey.

        like: (N, 3, H, W), H and W multiples of the stride; only its shape, dtype and device count. LSTMs are at 1/8.
        """
        n, _, h, w = like.shape
        e, d = self.config["encoder"], self.config["decoder"]
        zeros = [like.new_zeros(n, c, h // 8, w // 8) for c in (e, e, d, d)]
        zeros = [z.contiguous(memory_format=torch.channels_last) for z in zeros]
        grey = like.new_full((), 0.5).expand_as(like)
        return (zeros[0], zeros[1]), (zeros[2], zeros[3], grey.clone()), grey
