"""Bytes <-> header and payload: the container (normative text: bitstream_spec.md).

    container:  head (at most 12 bytes for ordinary pictures)  [alpha block]  payload

Nothing here imports torch, and nothing is allocated on the word of a head before `check_size` has passed it.
"""

import zlib
from dataclasses import dataclass

import construct as c
import numpy as np

from neurocodec.errors import StreamError

MAGIC = b"\x8eNC"
VERSION = 1
MAX_SIDE = 65_535  # pixels
MAX_PIXELS = 1 << 27
_MAX_HEAD = 64  # bytes; bounds the work that a hostile head can cause

_HEAD = c.Struct(
    "magic" / c.Const(MAGIC),
    "flags" / c.BitStruct("version" / c.Nibble, "reserved" / c.BitsInteger(2), "checksum" / c.Flag, "alpha" / c.Flag),
    "model" / c.VarInt,
    "fingerprint" / c.Int16ub,
    "width" / c.VarInt,
    "height" / c.VarInt,
    "alpha_bytes" / c.If(c.this.flags.alpha, c.VarInt),
    "checksum" / c.If(c.this.flags.checksum, c.Struct("length" / c.VarInt, "crc32" / c.Int32ub)),
    "end" / c.Tell,
)


@dataclass(frozen=True)
class Header:
    """What a container says before its payload.

    model: permanent number; fingerprint: of the weights, 16 bits; width, height: pixels; alpha: the compressed
    alpha block or None; checksum: whether the payload is protected by its length and CRC-32.
    """

    model: int
    fingerprint: int
    width: int
    height: int
    alpha: bytes | None = None
    checksum: bool = False


def check_size(width: int, height: int) -> None:
    """Raise StreamError unless a picture of this many pixels is within the limits of the specification."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise StreamError(f"size {width}x{height} is outside the limits (sides 1 to {MAX_SIDE}, {MAX_PIXELS} pixels in all)")


def write(header: Header, payload: bytes) -> bytes:
    """A container. Raises StreamError when the size is outside the limits."""
    check_size(header.width, header.height)
    checksum = {"length": len(payload), "crc32": zlib.crc32(payload)} if header.checksum else None
    head = _HEAD.build(
        {
            "flags": {
                "version": VERSION,
                "reserved": 0,
                "checksum": header.checksum,
                "alpha": header.alpha is not None,
            },
            "model": header.model,
            "fingerprint": header.fingerprint,
            "width": header.width,
            "height": header.height,
            "alpha_bytes": None if header.alpha is None else len(header.alpha),
            "checksum": checksum,
        }
    )
    return head + (header.alpha or b"") + payload


def read(data: bytes) -> tuple[Header, bytes]:
    """Header and payload of a container; the payload may be cut anywhere. Raises StreamError, see the specification."""
    if not data:
        raise StreamError("empty file")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise StreamError("not a neurocodec stream (wrong magic)")
    if len(data) > 3 and data[3] >> 4 != VERSION:
        raise StreamError(f"version {data[3] >> 4} of the format is not known")
    if len(data) > 3 and data[3] & 0b1100:
        raise StreamError("reserved flags are set")
    try:
        head = _HEAD.parse(data[:_MAX_HEAD])
    except c.ConstructError:
        raise StreamError("the header is truncated or malformed") from None
    check_size(head.width, head.height)
    start = head.end + (head.alpha_bytes or 0)
    if start > len(data):
        raise StreamError("truncated in the alpha block")
    payload = data[start:]
    if head.checksum is not None:
        if len(payload) > head.checksum.length:
            raise StreamError(f"{len(payload) - head.checksum.length} bytes of trailing garbage")
        if len(payload) == head.checksum.length and zlib.crc32(payload) != head.checksum.crc32:
            raise StreamError("checksum does not match: the payload is damaged")
    alpha = data[head.end : start] if head.flags.alpha else None
    return Header(head.model, head.fingerprint, head.width, head.height, alpha, head.flags.checksum), payload


def pack_alpha(alpha: np.ndarray) -> bytes:
    """Alpha block, lossless: zlib over the differences of each row to the row above, modulo 256. alpha: uint8 (H, W)."""
    return zlib.compress(np.diff(alpha, axis=0, prepend=np.zeros_like(alpha[:1])).tobytes(), 9)


def unpack_alpha(block: bytes, width: int, height: int) -> np.ndarray:
    """The alpha plane, uint8 (height, width). Raises StreamError when the block is not exactly one such plane."""
    inflate = zlib.decompressobj()
    try:
        plane = inflate.decompress(block, width * height + 1)
    except zlib.error:
        raise StreamError("the alpha block is damaged") from None
    if len(plane) != width * height or not inflate.eof or inflate.unused_data:
        raise StreamError("the alpha block is not one plane of the picture's size")
    return np.cumsum(np.frombuffer(plane, np.uint8).reshape(height, width), axis=0, dtype=np.uint8)
