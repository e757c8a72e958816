"""Range coding of digits in {0, 1, 2} with given probabilities; any byte prefix decodes as far as it is certain.

The coder is constriction's, which works in 32-bit words. A stream is its words, big-endian, cut anywhere: what follows the
cut could be anything from all zeros to all ones, and since a range decoder is monotone in what it reads, a digit is certain
as long as both extremes agree on it. No byte is spent on lengths or padding.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import constriction
import numpy as np

from neurocodec.errors import StreamError

_MODEL = constriction.stream.model.Categorical(perfect=False)
_WORD, _SEAL = 4, 8  # bytes: of a word; that a finished coder may have written beyond need
_Decoder = constriction.stream.queue.RangeDecoder

Walk = Generator[np.ndarray, np.ndarray, None]  # yields probabilities, float64 (n, 3), and is sent digits, uint8 (n,)


def pack(passes: Iterable[np.ndarray], walk: Walk, limit: int | None = None) -> bytes:
    """Bytes of passes of digits, as few as make the last digit certain, or the first `limit` of more than those."""
    encoder = constriction.stream.queue.RangeEncoder()
    found: list[_Told] = []
    for digits in passes:
        found.append(_Told(digits, walk.send(found[-1].digits if found else None)[: len(digits)]))
        if len(digits):
            encoder.encode(digits.astype(np.int32), _MODEL, found[-1].probabilities)
        if limit is not None and encoder.num_words() * _WORD >= limit + _SEAL:
            return encoder.get_compressed().astype(">u4").tobytes()[:limit]
    data = encoder.get_compressed().astype(">u4").tobytes()
    for length in range(max(1, len(data) - _SEAL), len(data)):
        number = int.from_bytes(data[:length], "big")
        for near in (number, number + 1):  # the coder's own choice may need more bytes than a neighbour
            if near < 256**length and _tells(near.to_bytes(length, "big"), found):
                return near.to_bytes(length, "big")[:limit]
    return data[:limit]


def unpack(payload: bytes, walk: Walk) -> Iterator[np.ndarray]:
    """Passes of digits, the last one cut to those that are certain. Raises StreamError for bytes after the last pass."""
    return iter([told.digits for told in _passes(payload, walk)])


def cut(payload: bytes, passes: int, walk: Walk) -> bytes:
    """The least of a payload in which its first passes are certain; all of it if it holds no more. Raises StreamError."""
    found = list(islice(_passes(payload, walk), passes))
    length = max(1, int(sum(told.bits for told in found) / 8))
    while length < len(payload) and not _tells(payload[:length], found):
        length += 1
    return payload[:length]


def sizes(payload: bytes, walk: Walk) -> tuple[list[int], int]:
    """Bytes of each pass, by the information in its digits, and how many passes are whole. Raises StreamError."""
    found = list(_passes(payload, walk))
    ends = [min(len(payload), int(np.ceil(bits / 8))) for bits in np.cumsum([told.bits for told in found])]
    ends[-1] = len(payload)
    return np.diff(ends, prepend=0).tolist(), sum(len(told.digits) == len(told.probabilities) for told in found)


@dataclass(frozen=True)
class _Told:
    """A pass: the probabilities of its digits, and those digits, from the first on, that are there."""

    digits: np.ndarray
    probabilities: np.ndarray

    @property
    def bits(self) -> float:
        """Information in the digits."""
        return float(-np.log2(self.probabilities[np.arange(len(self.digits)), self.digits]).sum())


def _passes(payload: bytes, walk: Walk) -> Iterator[_Told]:
    """What a payload tells for certain, up to the first pass that is cut."""
    extremes = _extremes(payload)
    found: list[_Told] = []
    while True:
        try:
            probabilities = walk.send(found[-1].digits if found else None)
        except StopIteration:
            break
        found.append(_Told(_certain(extremes, probabilities), probabilities))
        yield found[-1]
        if len(found[-1].digits) < len(probabilities):
            return
    if len(payload) > _SEAL and _tells(payload[:-_SEAL], found):
        raise StreamError("trailing garbage after the last pass")


def _tells(payload: bytes, passes: Sequence[_Told]) -> bool:
    """Whether the payload makes just these digits certain."""
    extremes = _extremes(payload)
    return all(np.array_equal(_certain(extremes, p.probabilities[: len(p.digits)]), p.digits) for p in passes)


def _extremes(payload: bytes) -> tuple[_Decoder, _Decoder]:
    tails = (fill * (2 * _SEAL - len(payload) % 4) for fill in (b"\0", b"\xff"))
    low, high = (_Decoder(np.frombuffer(payload + tail, ">u4").astype(np.uint32)) for tail in tails)
    return low, high


def _certain(extremes: tuple[_Decoder, _Decoder], probabilities: np.ndarray) -> np.ndarray:
    """The digits on which both extremes agree, up to the first on which they do not."""
    if not len(probabilities):
        return np.empty(0, np.uint8)
    low, high = (_read(decoder, probabilities) for decoder in extremes)
    both = min(len(low), len(high))
    differ = np.flatnonzero(low[:both] != high[:both])
    return low[: differ[0] if len(differ) else both].astype(np.uint8)


def _read(decoder: _Decoder, probabilities: np.ndarray) -> np.ndarray:
    """Digits, as many as there are before a value that no digit has: the upper end of a range belongs to none."""
    before = decoder.clone()
    try:
        return decoder.decode(_MODEL, probabilities)
    except AssertionError:
        found = []
        for p in probabilities:
            try:
                found.append(before.decode(_MODEL, p[None])[0])
            except AssertionError:
                break
        return np.array(found, np.int32)
