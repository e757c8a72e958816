"""Codes <-> payload, of two kinds: raw bits, and digits through a range coder. Every byte prefix of either decodes.

A payload object says of a model how many passes there are, what they weigh, and how they become bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from neurocodec import entropy
from neurocodec.errors import StreamError
from neurocodec.light import LIGHT
from neurocodec.planes import NO_DIGITS, Coder, Known, Symbols, Told, Truth, tell
from neurocodec.tables import ONE, PASSES, RANKS, Tables

UNIT = 32  # pixels; pictures are padded to multiples of it
_FREE_PIXELS, _PIXELS_PER_BYTE = 1 << 21, 1 << 12  # bounds what a payload of a few bytes can ask for


def _least(width: int, height: int) -> int:
    return max(1, -(-(width * height - _FREE_PIXELS) // _PIXELS_PER_BYTE))


def _check(payload: bytes, least: int, width: int, height: int) -> None:
    if len(payload) < least:
        raise StreamError(f"a payload of {len(payload)} bytes is too short for {width}x{height} pixels")


@dataclass(frozen=True)
class RawPasses:
    """Payload of the founding paper: `bits` raw bits per `stride` x `stride` pixels and pass, nothing else."""

    bits: int
    stride: int
    max_passes: int
    default_passes: int | None = 8  # 1 bpp: visually close to the original, room to cut
    default_bytes: ClassVar[None] = None
    fit: ClassVar[None] = None
    search: ClassVar[bool] = False

    def of(self, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> "RawPasses":
        """The payload of a model with these weights and this configuration, which may set the bits."""
        return replace(self, bits=config.get("bits", self.bits))

    def code_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(bits, rows, columns) of one pass for a picture of the given size in pixels."""
        return self.bits, -(-height // UNIT) * UNIT // self.stride, -(-width // UNIT) * UNIT // self.stride

    def pass_bytes(self, width: int, height: int) -> int:
        """Bytes of one whole pass."""
        return int(np.prod(self.code_shape(width, height), dtype=np.int64)) // 8

    def least(self, width: int, height: int) -> int:
        """Bytes below which a payload is not decoded: 1, and more for pictures of more than two megapixels."""
        return _least(width, height)

    def default_room(self, width: int, height: int) -> None:
        """No bytes of a payload that is asked for without a rate: it has passes, or a stream's bytes."""

    def most(self, width: int, height: int) -> int:
        """Bytes of a payload of all passes."""
        return self.max_passes * self.pass_bytes(width, height)

    def passes_in(self, size: int, width: int, height: int) -> int:
        """How many passes it takes to fill so many bytes."""
        return min(-(-size // self.pass_bytes(width, height)), self.max_passes)

    def pack(self, codes: Iterable[np.ndarray], width: int, height: int, limit: int | None = None) -> bytes:
        """Payload, its first `limit` bytes, of passes, each a 1-D boolean array: bit 0 of all locations in raster order, ..."""
        return b"".join(np.packbits(code).tobytes() for code in codes)[:limit]

    def sizes(self, payload: bytes, width: int, height: int) -> tuple[list[int], int]:
        """Bytes of each pass in a payload, and how many passes are whole. Raises StreamError as `unpack` does."""
        size, most, least = self.pass_bytes(width, height), self.most(width, height), self.least(width, height)
        if len(payload) > most:
            raise StreamError(f"{len(payload) - most} bytes of trailing garbage after the last pass")
        _check(payload, least, width, height)
        return [min(size, len(payload) - start) for start in range(0, len(payload), size)], len(payload) // size

    def is_whole(self, code: np.ndarray, width: int, height: int) -> bool:
        """Whether no bit of a pass is missing."""
        return len(code) == 8 * self.pass_bytes(width, height)

    def cut(self, payload: bytes, passes: int, width: int, height: int) -> bytes:
        """The payload's first passes."""
        return payload[: passes * self.pass_bytes(width, height)]

    def unpack(self, payload: bytes, width: int, height: int) -> Iterator[np.ndarray]:
        """Passes of a payload, each a 1-D boolean array; the last may be shorter: the bits of a cut pass that are there.

        Raises StreamError when the payload is longer than all passes or too short for so large a picture.
        """
        sizes, _ = self.sizes(payload, width, height)  # checked now, not when the first pass is asked for
        ends = np.cumsum(sizes)
        octets = np.frombuffer(payload, np.uint8)
        return (np.unpackbits(octets[end - size : end]).astype(bool) for size, end in zip(sizes, ends, strict=True))


@dataclass(frozen=True)
class CodedPasses:
    """Payload of a latent told plane by plane (`planes`): the digits of each pass through a range coder (`entropy`).

    stride: pixels per element, each way. max_pixels: of a picture. fit: pixels to which large pictures are scaled down, if
    they are. search: whether an encoder may search for better digits. tables: the model's.
    """

    stride: int
    max_pixels: int
    default_bytes: int | None = None
    default_bpp: float | None = None
    fit: int | None = None
    search: bool = False
    tables: Tables | None = None
    default_passes: ClassVar[None] = None

    def of(self, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> "CodedPasses":
        """The payload of a model with these weights and this configuration."""
        return replace(self, tables=Tables.read(tensors))

    def with_scene(self, tensors: Mapping[str, np.ndarray]) -> "ScenePasses":
        """The payload of a camera's variant of this model."""
        return ScenePasses(**vars(self) | {"search": False}, scene=Tables.read(tensors))

    @property
    def max_passes(self) -> int:
        """Passes that tell anything."""
        return RANKS * max(self.tables.tops) if self.tables else PASSES

    def known(self, width: int, height: int) -> Known:
        """What is known of a picture's latent before the first pass. Raises StreamError for too large a picture."""
        if width * height > self.max_pixels:
            raise StreamError(f"{width}x{height} pixels are more than the model's {self.max_pixels}")
        tops = self.tables.tops
        return Known(tops, (len(tops), -(-height // self.stride), -(-width // self.stride)))

    def tell(self, width: int, height: int, code: Coder, truth: Truth | None = None, lead: bytes = b"") -> Iterator[Told]:
        """The passes of a picture, told by a coder."""
        return tell(self.known(width, height), self.tables, code, truth)

    def _tell(self, width: int, height: int) -> entropy.Tell:
        return lambda code: self.tell(width, height, code)

    def least(self, width: int, height: int) -> int:
        """Bytes below which a payload is not decoded: 1, and more for pictures of more than two megapixels."""
        return _least(width, height)

    def default_room(self, width: int, height: int) -> int | None:
        """Bytes of a payload that is asked for without a rate."""
        return self.default_bpp and max(self.least(width, height), int(self.default_bpp * width * height / 8))

    def most(self, width: int, height: int) -> int:
        """No payload has more bytes."""
        known = self.known(width, height)
        return 2 * int(known.tops.sum()) * known.shape[1] * known.shape[2] + 8

    def passes_in(self, size: int, width: int, height: int) -> int:
        """How many passes it may take to fill so many bytes."""
        return self.max_passes

    def pack(self, codes: Iterable[Told], width: int, height: int, limit: int | None = None) -> bytes:
        """Payload, its first `limit` bytes, of whole passes; no more of them are asked for than it takes."""
        return entropy.pack(codes, limit)

    def sizes(self, payload: bytes, width: int, height: int) -> tuple[list[int], int]:
        """Bytes of each pass in a payload, by its digits' information, and how many passes are whole."""
        return entropy.sizes(payload, self._tell(width, height))

    def is_whole(self, told: Told, width: int, height: int) -> bool:
        """Whether no digit of a pass is missing."""
        return told.whole

    def cut(self, payload: bytes, passes: int, width: int, height: int) -> bytes:
        """The least of the payload that holds its first passes and that is decoded."""
        return entropy.cut(payload, passes, self._tell(width, height), self.least(width, height))

    def unpack(self, payload: bytes, width: int, height: int) -> Iterator[Told]:
        """Passes, of the last one the digits that are certain.

        Raises StreamError for an empty payload, bytes after the last pass, and too large a picture.
        """
        _check(payload, self.least(width, height), width, height)
        return entropy.unpack(payload, self._tell(width, height))


KINDS = np.array([[58, 3, 3]]) / 64  # probabilities of what a stream is to its camera's scene
STILL, MOVED, OTHER = (bytes([kind]) for kind in range(3))  # in some light; in some light and moved; something else
POSE = 12  # bytes
_LEADS = {STILL: 1 + LIGHT, MOVED: 1 + LIGHT + POSE, OTHER: 1}  # bytes
AS_IT_IS = STILL + bytes(LIGHT)
_OCTETS = np.full((1, 256), 1 / 256)


def _lights() -> np.ndarray:
    """Probabilities, (1, 256), of a light's numbers, modulo 256, which are small as a rule; exact multiples of 1 / ONE."""
    shares = 96_000 // (3 + np.minimum(np.arange(256), 256 - np.arange(256))) ** 2
    shares[0] += ONE - shares.sum()
    return shares[None] / ONE


_LIGHTS = _lights()


@dataclass(frozen=True)
class ScenePasses(CodedPasses):
    """Payload of a camera's variant: ahead of the first pass it says what the picture is to the camera's scene.

    scene: the tables for differences from the scene; `tables` are for other pictures.
    """

    scene: Tables | None = None

    def tell(self, width: int, height: int, code: Coder, truth: Truth | None = None, lead: bytes = b"") -> Iterator[Told]:
        """The passes of a picture, told by a coder; an encoder says what they are led by."""
        true = np.frombuffer(lead, np.uint8) if lead else None
        found, coded = b"", []

        def tell_more(table: np.ndarray, count: int) -> None:
            nonlocal found
            mine = None if true is None else true[len(found) : len(found) + count]
            symbols = code(table, np.zeros(count, np.uint8), mine)
            coded.append(Symbols(table, np.zeros(len(symbols), np.uint8), symbols))
            found += bytes(symbols)

        tell_more(KINDS, 1)
        if found in (STILL, MOVED):
            tell_more(_LIGHTS, LIGHT)
        if found[:1] == MOVED and len(found) == 1 + LIGHT:
            tell_more(_OCTETS, POSE)
        if len(found) != _LEADS.get(found[:1]):
            yield Told(self.known(width, height), 0, NO_DIGITS, NO_DIGITS, tuple(coded), 0.0, AS_IT_IS)
            return
        tables = self.tables if found == OTHER else self.scene
        for one in tell(self.known(width, height), tables, code, truth):
            yield replace(one, coded=(*coded, *one.coded), lead=found)
            coded = []
