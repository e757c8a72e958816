"""Picture <-> codes, pass by pass: `Codec` for networks of raw passes, `LatentCodec` for those with a latent told by planes.

They know networks only through the protocols below. To a `Codec`, large pictures go through each step of a network in
strips with a halo as wide as the step's reach, so memory is bounded and the result is that of the whole picture, up to
rounding: there are no seams to hide.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neurocodec.images import Picture
from neurocodec.payload import UNIT, CodedPasses, RawPasses
from neurocodec.planes import Known, Told
from neurocodec.precision import mixed

STRIP_PIXELS = 1 << 21
_State = tuple[Tensor, ...]
Search = Callable[["LatentNetwork", Tensor, Tensor, Tensor], Tensor]  # `search.refine`, all but its first parameters given


class PassNetwork(Protocol):
    """What a network of raw passes offers; shapes are those of `models/conv_lstm.py`."""

    reach: int | None  # pixels to each side that one step looks at, at most; a multiple of 32. None: all of them

    def initial(self, like: Tensor) -> tuple[_State, _State, Tensor]: ...
    def encoder_step(self, x: Tensor, y: Tensor, t: int, state: _State, known: Tensor) -> tuple[Tensor, _State]: ...
    def decoder_step(self, codes: Tensor, t: int, state: _State) -> _State: ...
    def synthesis(self, state: _State) -> Tensor: ...


class LatentNetwork(Protocol):
    """What a network with a latent offers; shapes are those of `models/transform_coder.py`."""

    stride: int
    grid: int  # pixels, each way, at whose multiples strips begin; a multiple of the stride
    # Pixels to each side that a transform looks at, at most; multiples of the grid. None: all of them.
    analysis_reach: int | None
    synthesis_reach: int | None
    of_photos: bool  # or else of thumbnails

    def analysis_transform(self, x: Tensor) -> Tensor: ...
    def synthesis_transform(self, z: Tensor, depth: float) -> Tensor: ...


@dataclass
class Pass:
    """One pass: its `codes`, 1-D in stream order (booleans, or digits as uint8), and what is known after it.

    `state` and `picture` are made when first asked for, which must be before the next pass is asked for.
    """

    codes: np.ndarray
    _step: Callable[[], Any]
    _show: Callable[[Any], Picture]

    @cached_property
    def state(self) -> Any:
        """The decoder's state after this pass."""
        return self._step()

    @cached_property
    def picture(self) -> Picture:
        """The picture after this pass."""
        return self._show(self.state)


@dataclass(frozen=True)
class Codec:
    """A network and the layout of its passes."""

    network: PassNetwork
    layout: RawPasses

    def encode(self, picture: Picture) -> Iterator[Pass]:
        """Passes of a picture, as many as the layout allows; stop asking when there are enough."""
        x = _pad(picture)
        encoder, decoder, grey = self.network.initial(_like(x.shape))

        def code(t: int, known: _State) -> np.ndarray:
            codes = torch.empty(1, *self.layout.code_shape(picture.width, picture.height))

            def step(x: Tensor, h: Tensor, c: Tensor, *known: Tensor) -> _State:
                y = self.network.synthesis(known) if t else grey[:, :, : x.shape[2]]
                codes, state = self.network.encoder_step(x.float(), y, t, (h, c), known[0])
                return codes, *state

            self._sweep(step, (x, *encoder, *known), (codes, *encoder), x.shape, steps=2)
            return codes.numpy().reshape(-1) > 0

        return self._passes(code, decoder, picture.width, picture.height)

    def decode(self, codes: Iterable[np.ndarray], width: int, height: int) -> Iterator[Pass]:
        """Passes of a stream; the last may lack bits at its end. A picture is only made of a pass that is asked for it."""
        source = iter(codes)
        _, state, _ = self.network.initial(_like(self._padded(width, height)))
        return self._passes(lambda t, known: next(source, None), state, width, height)

    def _passes(
        self, code: Callable[[int, _State], np.ndarray | None], state: _State, width: int, height: int
    ) -> Iterator[Pass]:
        """The loop that encoding and decoding share: they differ in where the codes of pass t come from.

        state: the decoder's, overwritten from pass to pass.
        """
        padded, shape = self._padded(width, height), self.layout.code_shape(width, height)

        def show(state: _State) -> Picture:
            y = torch.empty(padded)
            self._sweep(lambda *s: (self.network.synthesis(s).clamp_(0, 1),), state, (y,), padded)
            return Picture(y[0, :, :height, :width].numpy())

        last = None
        for t in range(self.layout.max_passes):
            if last is not None:
                last.state  # from here on, `state` is that of the pass before
            codes = code(t, state)
            if codes is None:
                return

            def step(t: int = t, codes: np.ndarray = codes) -> _State:
                bits = torch.zeros(1, *shape)  # 0: not known
                bits.view(-1)[: len(codes)] = torch.from_numpy(np.where(codes, np.float32(1), np.float32(-1)))
                self._sweep(lambda b, *s: self.network.decoder_step(b, t, s), (bits, *state), state, padded)
                return state

            last = Pass(codes, step, show)
            yield last

    def _padded(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Shape (1, 3, H, W) of the padded picture that the network sees."""
        _, rows, columns = self.layout.code_shape(width, height)
        return 1, 3, rows * self.layout.stride, columns * self.layout.stride

    @torch.no_grad()
    def _sweep(
        self,
        step: Callable[..., _State],
        inputs: _State,
        outputs: _State,
        shape: torch.Size,
        steps: int = 1,
    ) -> None:
        """outputs <- step(*inputs), strip by strip; a tensor may be both input and output.

        All tensors show the same picture of `shape` (1, 3, H, W), each as (1, C, H / k, W / k) with a k of its own.
        steps: of the network, one after the other. The rows of a strip's upper halo are kept from before they were overwritten.
        """
        height, width = shape[2:]
        halo = height if self.network.reach is None else steps * self.network.reach
        strip = max(halo, STRIP_PIXELS // width // UNIT * UNIT)
        kept: list[Tensor] = []
        for top in range(0, height, strip):
            bottom = min(top + strip, height)
            windows = [_rows(t, top, min(bottom + halo, height), height) for t in inputs]
            if top:
                windows = [torch.cat(pair, 2) for pair in zip(kept, windows, strict=True)]
            if bottom < height:
                kept = [_rows(t, bottom - halo, bottom, height).clone() for t in inputs]
            above = halo if top else 0
            for out, result in zip(outputs, step(*windows), strict=True):
                k = height // out.shape[2]
                _rows(out, top, bottom, height).copy_(result[:, :, above // k :][:, :, : (bottom - top) // k])


@dataclass(frozen=True)
class LatentCodec:
    """A network with a latent, and how its planes are laid out."""

    network: LatentNetwork
    layout: CodedPasses

    def encode(self, picture: Picture, search: Search | None = None) -> Iterator[Pass]:
        """All passes of a picture. Raises StreamError when it is larger than the layout allows.

        search: finds a latent that is better than the analysis transform's.
        """
        self.layout.known(picture.width, picture.height)  # refuses a picture that is too large
        lead, latent = self.analysed(picture)
        if search:
            latent = search(self.network, torch.from_numpy(picture.rgb)[None], latent, self._largest)
        return self._shown(self.told(lead, latent, picture.width, picture.height), picture.width, picture.height)

    def decode(self, codes: Iterable[Told], width: int, height: int) -> Iterator[Pass]:
        """Passes of a stream; the last may lack digits. A picture is only made of a pass that is asked for it."""
        return self._shown(codes, width, height)

    def analysed(self, picture: Picture) -> tuple[bytes, Tensor]:
        """What a stream says ahead of its passes, and the latent (1, C, h, w) that they tell."""
        return b"", self.latent(picture)

    def synthesised(self, lead: bytes, z: Tensor, depth: float, width: int, height: int) -> Picture:
        """The picture of what is known of a latent (1, C, h, w), which is all but `depth` planes."""
        y = torch.empty(1, 3, *(n * self.network.stride for n in z.shape[2:]))
        self._sweep(lambda z: self.network.synthesis_transform(z, depth), self.network.synthesis_reach, z, y)
        return Picture(y[0, :, :height, :width].clamp_(0, 1).numpy())

    def told(self, lead: bytes, latent: Tensor, width: int, height: int) -> Iterator[Told]:
        """The passes of a latent (1, C, h, w)."""
        z = latent[0].round().clamp_(-self._largest, self._largest).flatten().to(torch.int32).numpy()

        def truth(known: Known, plane: int, elements: np.ndarray) -> np.ndarray:
            return known.digits(z, plane, elements)

        return self.layout.tell(width, height, lambda table, keys, true: true, truth, lead)

    def latent(self, picture: Picture) -> Tensor:
        """The analysis transform's, (1, C, h, w)."""
        x = _pad(picture, self.network.stride)
        rows, columns = (n // self.network.stride for n in x.shape[2:])
        latent = torch.empty(1, len(self.layout.tables.tops), rows, columns)
        self._sweep(self.network.analysis_transform, self.network.analysis_reach, x, latent)
        return latent

    def _shown(self, passes: Iterable[Told], width: int, height: int) -> Iterator[Pass]:
        def show(told: Told) -> Picture:
            z = torch.from_numpy(told.known.centroids()).view(1, *told.known.shape)
            return self.synthesised(told.lead, z, told.known.depth, width, height)

        for told in passes:
            yield Pass(told, lambda told=told: told, show)

    @property
    def _largest(self) -> Tensor:
        """Magnitude of elements, (C, 1, 1)."""
        return torch.from_numpy(self.layout.known(1, 1).largest)

    @torch.no_grad()
    def _sweep(self, transform: Callable[[Tensor], Tensor], reach: int | None, whole: Tensor, out: Tensor) -> None:
        """out <- transform(whole), strip by strip; both show the same picture, at 1 or 1/stride of its size."""
        height, width = (max(t.shape[i] for t in (whole, out)) for i in (2, 3))
        reach = height if reach is None else reach
        strip = max(reach, 3 * STRIP_PIXELS // width // self.network.grid * self.network.grid)
        for top in range(0, height, strip):
            bottom = min(top + strip, height)
            above, below = max(0, top - reach), min(bottom + reach, height)
            with mixed(whole.device, self.network.of_photos):  # thumbnails would lose by it, and gain no time
                window = transform(_rows(whole, above, below, height).float())
            _rows(out, top, bottom, height).copy_(_rows(window, top - above, bottom - above, below - above))


def _like(shape: Sequence[int]) -> Tensor:
    """A tensor of that shape which takes no memory."""
    return torch.zeros(()).expand(*shape)


def _rows(t: Tensor, top: int, bottom: int, height: int) -> Tensor:
    """View of the rows of t that show rows top .. bottom of a picture `height` pixels high."""
    k = height // t.shape[2]
    return t[:, :, top // k : bottom // k]


def _pad(picture: Picture, unit: int = UNIT) -> Tensor:
    """The picture as (1, 3, H, W), the last row and column repeated up to multiples of `unit`.

    float16, which tells 8-bit samples apart and keeps the memory that a large picture takes down.
    """
    rgb = torch.from_numpy(picture.rgb)[None].half()
    return F.pad(rgb, (0, -picture.width % unit, 0, -picture.height % unit), mode="replicate")
