"""Range coding of symbols with given probabilities; any byte prefix decodes as far as it is certain.

The coder is constriction's, which works in 32-bit words. A stream is its words, big-endian, cut anywhere: what follows the
cut could be anything from all zeros to all ones, and since a range decoder is monotone in what it reads, a symbol is certain
as long as both extremes agree on it. No byte is spent on lengths or padding.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise

import constriction
import numpy as np

from neurocodec.errors import StreamError
from neurocodec.planes import Coder, Symbols, Told

_Categorical = partial(constriction.stream.model.Categorical, perfect=False)
_EACH = _Categorical()  # the model of symbols that have probabilities of their own
_WORD, _SEAL = 4, 8  # bytes: of a word; that a finished coder may have written beyond need
_SHORT = 1 << 14  # symbols up to which a stream's end is looked for byte by byte
_AT_ONCE = 1 << 13  # symbols that are coded at once where keys are in no order; they are decoded beyond a stream's end, too
_ALIKE = 16  # symbols of one key in a row, as a mean, from which on they are coded at once

Tell = Callable[[Coder], Iterator[Told]]  # passes, told by a coder
_Decoder = constriction.stream.queue.RangeDecoder


def pack(passes: Iterable[Told], limit: int | None = None) -> bytes:
    """Bytes of passes of digits, as few as make the last digit certain, or the first `limit` of more than those."""
    encoder, coded = constriction.stream.queue.RangeEncoder(), _Coded()
    for told in passes:
        for symbols in told.coded:
            found = symbols.found.astype(np.int32)
            for begin, count, rows in _parts(symbols.table, symbols.keys):
                _encode(encoder, found[begin : begin + count], rows)
            coded.take(symbols)
        if limit is not None and encoder.num_words() * _WORD >= limit + _SEAL:
            return _octets(encoder)[:limit]
    data = _octets(encoder)
    if coded.count <= _SHORT:
        for length in range(max(1, len(data) - _SEAL), len(data)):
            number = int.from_bytes(data[:length], "big")
            for near in (number, number + 1):  # the coder's own choice may need more bytes than a neighbour
                if near < 256**length and coded.by(near.to_bytes(length, "big")):
                    return near.to_bytes(length, "big")[:limit]
    return data[:limit]


def _octets(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    return encoder.get_compressed().astype(">u4").tobytes()


def unpack(payload: bytes, tell: Tell) -> Iterator[Told]:
    """Passes, of the last one the digits that are certain. Raises StreamError for bytes after the last pass."""
    return (told for told, _ in _passes(payload, tell))


def cut(payload: bytes, passes: int, tell: Tell, least: int = 1) -> bytes:
    """The first bytes of a payload, at least so many, in which its first passes are certain; all of it if it holds no more.

    Raises StreamError.
    """
    decoding = _Decoding(payload)
    for _ in islice(tell(decoding), passes):
        pass
    length = max(least, int(decoding.coded.bits / 8))
    while length < len(payload) and not decoding.coded.by(payload[:length]):
        length += 1
    return payload[:length]


def sizes(payload: bytes, tell: Tell) -> tuple[list[int], int]:
    """Bytes of each pass, by the information in it, and how many passes are whole. Raises StreamError."""
    ends, whole = [], 0
    for told, coded in _passes(payload, tell):
        ends.append(min(len(payload), int(np.ceil(coded.bits / 8))))
        whole += told.whole
    ends[-1] = len(payload)
    return np.diff(ends, prepend=0).tolist(), whole


def _passes(payload: bytes, tell: Tell) -> Iterator[tuple[Told, "_Coded"]]:
    """What a payload tells for certain, up to the first pass that is cut, and the symbols up to there."""
    decoding, whole = _Decoding(payload), True
    for told in tell(decoding):
        yield told, decoding.coded
        whole = told.whole
    spare = payload[:-_SEAL]
    if whole and 8 * len(spare) > decoding.coded.bits and decoding.coded.by(spare):
        raise StreamError("trailing garbage after the last pass")


class _Coded:
    """Symbols that were coded."""

    def __init__(self) -> None:
        self._steps: list[Symbols] = []
        self._weighed, self._bits = 0, 0.0
        self.count = 0

    def take(self, symbols: Symbols) -> None:
        self._steps.append(symbols)
        self.count += len(symbols.found)

    @property
    def bits(self) -> float:
        """Of information in them."""
        self._bits += sum(symbols.bits for symbols in self._steps[self._weighed :])
        self._weighed = len(self._steps)
        return self._bits

    def by(self, payload: bytes) -> bool:
        """Whether a payload makes just these symbols certain."""
        decoding = _Decoding(payload)
        return all(np.array_equal(decoding.certain(s.table, s.keys), s.found) for s in self._steps)


class _Decoding:
    """A coder that finds symbols in a payload, as far as they are certain."""

    def __init__(self, payload: bytes):
        tails = (fill * (2 * _SEAL - len(payload) % 4) for fill in (b"\0", b"\xff"))
        self._low, self._high = (_Decoder(np.frombuffer(payload + tail, ">u4").astype(np.uint32)) for tail in tails)
        # Encoded again, which is faster than decoding twice, symbols say how far a decoder has read: two words beyond theirs.
        self._again, self._safe = constriction.stream.queue.RangeEncoder(), len(payload) // _WORD - 2
        self.coded = _Coded()

    def __call__(self, table: np.ndarray, keys: np.ndarray, symbols: None) -> np.ndarray:
        found = self.certain(table, keys)
        self.coded.take(Symbols(table, keys[: len(found)], found))
        return found

    def certain(self, table: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """The symbols on which both extremes agree, up to the first on which they do not."""
        found = [np.empty(0, np.int32)]
        for _, count, rows in _parts(table, keys):
            found.append(self._certain(count, rows))
            if len(found[-1]) < count:
                break
        return np.concatenate(found).astype(np.uint8)

    def _certain(self, count: int, rows: np.ndarray) -> np.ndarray:
        begin = self._again.pos()
        low = _read(self._low, begin, count, rows)
        _encode(self._again, low, rows)
        if self._again.pos()[0] <= self._safe:
            return low
        self._high.seek(*begin)
        high = _read(self._high, begin, count, rows)
        # What is beyond the range, as all ones are behind a stream of last symbols, has none below it but last symbols.
        high = np.append(high, np.full(count - len(high), rows.shape[1] - 1))
        differ = np.flatnonzero(low != high[: len(low)])
        return low[: differ[0] if len(differ) else len(low)]


def _parts(table: np.ndarray, keys: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Symbols with these keys in parts that are coded at once: where one begins, how many they are, and their probabilities.

    These are a row for each, or one for all, float64, where the keys are in order, as those of runs are.
    """
    changes = keys[1:] != keys[:-1]
    if _ALIKE * np.count_nonzero(changes) < len(keys):
        for begin, end in pairwise((0, *(np.flatnonzero(changes) + 1).tolist(), len(keys))):
            yield begin, end - begin, table[keys[begin], None]
    else:
        for begin in range(0, len(keys), _AT_ONCE):
            rows = table.take(keys[begin : begin + _AT_ONCE], 0)
            yield begin, len(rows), rows


def _encode(encoder: constriction.stream.queue.RangeEncoder, symbols: np.ndarray, rows: np.ndarray) -> None:
    """Symbols, int32 (n,), of one row of probabilities or of the first n."""
    if len(rows) == 1:
        encoder.encode(symbols, _Categorical(rows[0]))
    elif len(symbols):
        encoder.encode(symbols, _EACH, rows[: len(symbols)])


def _decode(decoder: _Decoder, count: int, rows: np.ndarray) -> np.ndarray:
    """Symbols, int32 (count,), of one row of probabilities or of as many."""
    return decoder.decode(_Categorical(rows[0]), count) if len(rows) == 1 else decoder.decode(_EACH, rows)


def _read(decoder: _Decoder, begin: tuple, count: int, rows: np.ndarray) -> np.ndarray:
    """Symbols from where a decoder is, which is at `begin`, as many as there are before a value that no symbol has: the upper end
    of a range belongs to none. Having met one, it is of no further use.
    """
    try:
        return _decode(decoder, count, rows)
    except AssertionError:
        decoder.seek(*begin)
    found, length, step = [np.empty(0, np.int32)], 0, count // 2
    while step:
        before = decoder.clone()
        try:
            found.append(_decode(decoder, step, rows if len(rows) == 1 else rows[length : length + step]))
            length += step
        except AssertionError:
            decoder, step = before, step // 2
    return np.concatenate(found)
