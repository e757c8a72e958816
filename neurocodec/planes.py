"""A latent as planes of digits: which pass tells what, and how the digits of a pass are told.

Every element is a whole number z, told in balanced ternary ("trit planes": Lee et al., CVPR 2022, arXiv 2112.06334): after
plane k, from PLANES - 1 down to 0, the nearest multiple of 3^k to z is known, and a digit is the change, -1, 0 or 1 times
3^k. So what is known after any plane is what rounding to a step of 3^k gives: no other ladder that nests is as fine. A plane is
told in RANKS passes, in an order that follows from what is known and from a model's tables (`neurocodec/tables.py`). Elements are
numbered channel by channel, in raster order, and told in that order, or in one that soon reaches all parts of a picture, where
nothing else puts one before another.

Nothing here imports torch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurocodec.tables import BASE, CLASSES, HALF, INDICES, KEYS, RANKS, RUN, UNTOLD, Tables

ALIKE, UNLIKE = 3.0, 0.2  # what a mean weighs beside its neighbour, and what a guess without them does beside all
COARSE = 4  # the last plane in which means are taken to be alike
Shape = tuple[int, int, int]  # channels, rows, columns


class Symbols(NamedTuple):
    """What the entropy coder codes: `found`, uint8 (n,), whose probabilities are rows `keys`, (n,), of `table`, float64."""

    table: np.ndarray
    keys: np.ndarray
    found: np.ndarray

    @property
    def bits(self) -> float:
        """Of information in them."""
        return -float(np.log2(self.table)[self.keys, self.found].sum())


# Codes symbols of rows of a table of probabilities: an encoder is given them, a decoder finds them, or the first of them.
Coder = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


class Digits(NamedTuple):
    """Of a plane, `digits`, uint8 0, 1 and 2 for -1, 0 and 1, or HALF, of some elements, which have these keys; all (n,)."""

    elements: np.ndarray
    keys: np.ndarray
    digits: np.ndarray


NO_DIGITS = Digits(*(np.empty(0, kind) for kind in (np.int32, np.uint16, np.uint8)))


@dataclass(frozen=True)
class Told:
    """A pass: the digits of `late` elements, of which the first step was told before, and of those `here`.

    coded: the symbols that tell it. share: of the pass's digits; below 1 where the stream ends. lead: what was told of the
    whole picture ahead of the first pass. waiting: elements of whose digits of the plane nothing is told yet, and their keys.
    tables: whose keys these are. known: what is known after the pass, until the next one is told.
    """

    known: "Known"
    plane: int
    late: Digits
    here: Digits
    coded: tuple[Symbols, ...]
    share: float = 1.0
    lead: bytes = b""
    waiting: tuple[np.ndarray, np.ndarray] = NO_DIGITS[:2]
    tables: Tables | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing of the pass is missing."""
        return self.share == 1


class Known:
    """What has been told of a latent: `value`, int32 (count,), multiples of 3^plane, where plane is the last one told.

    depth: planes that were not told yet, in whole or in part.
    """

    def __init__(self, tops: Sequence[int], shape: Shape):
        """tops: planes that are told of each channel."""
        self.shape = shape
        self.tops = np.array(tops)
        self.value = np.zeros(int(np.prod(shape)), np.int32)
        self.depth = float(self.tops.max())
        self._passes: list[Told] = []  # of the plane that was begun last
        self._means = np.empty(0, np.int32)  # of a pyramid, as they were known before that plane, (K, rows, columns)

    @property
    def planes(self) -> range:
        """All planes, in order."""
        return range(int(self.tops.max()) - 1, -1, -1)

    @property
    def largest(self) -> np.ndarray:
        """Magnitude of elements, int32 (C, 1, 1)."""
        return (BASE**self.tops // 2).astype(np.int32)[:, None, None]

    def elements(self, channels: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Those of some channels, in some order, int32."""
        places = self.shape[1] * self.shape[2]
        if len(channels) == len(self.tops):
            return order.astype(np.int32)
        return (channels[:, None] * places + np.arange(places)).astype(np.int32).ravel().take(order)

    def digits(self, z: np.ndarray, plane: int, elements: np.ndarray) -> np.ndarray:
        """The digits of a plane of some elements of a latent z, int32 (count,), of which the planes before are known."""
        left, half = z - self.value, BASE**plane // 2
        return ((left >= -half).view(np.uint8) + (left > half).view(np.uint8)).take(elements)

    def tell(self, told: Told) -> None:
        """Take a pass, or the part of it that is there."""
        if not self._passes or self._passes[-1].plane != told.plane:
            channels, grid = told.tables.pyramid if told.tables else (0, 1)
            self._passes, self._means = [], self.value.reshape(self.shape)[:channels, ::grid, ::grid].copy()
        for elements, _, digits in (told.late, told.here):
            changed = np.flatnonzero((digits == 0) | (digits == 2))
            if len(changed):
                at = elements.take(changed).astype(np.intp)
                self.value[at] += (digits.take(changed).astype(np.int32) - 1) * BASE**told.plane
        self.depth -= told.share / RANKS
        self._passes.append(told)

    def centroids(self) -> np.ndarray:
        """Where in what is known of them elements are expected to be, float32 (count,): at `value` if the tables do not say."""
        z = self.value.astype(np.float32)
        if not self._passes or self._passes[-1].tables is None or self._passes[-1].tables.centroids is None:
            return z
        last = self._passes[-1]
        step, offsets = np.float32(BASE**last.plane), last.tables.offsets
        count = np.uint16(offsets.shape[1])

        def expect(elements: np.ndarray, keys: np.ndarray, digits: np.ndarray | int) -> None:
            at = elements.astype(np.intp)
            z[at] = self.value.take(at) + step * offsets.take(keys * count + digits)

        for of, keys, digits in (told.here for told in self._passes):
            known = np.flatnonzero((keys & (CLASSES - 1) > 0) | (digits != 1))  # 0 is expected where nothing else is known
            expect(of[known], keys[known], digits[known])
        for told in self._passes:
            expect(*told.late)
        of, keys = last.waiting
        known = np.flatnonzero(keys & (CLASSES - 1) > 0)
        expect(of[known], keys[known], UNTOLD)
        self._alike(z, last)
        return z

    def _alike(self, z: np.ndarray, last: Told) -> None:
        """Expect means of a pyramid of which nothing is told to be like those around of which something is, if the same was known of
        them before; z: float32 (count,).
        """
        if last.plane < COARSE or not len(self._means):
            return
        grid, untold = last.tables.pyramid[1], np.zeros(self.shape, bool)
        untold.flat[last.waiting[0]] = True
        across, along = (ALIKE ** -abs(np.subtract.outer(n, n)) for n in map(np.arange, self._means.shape[1:]))
        for channel, before in enumerate(self._means):
            means, waiting = (maps.reshape(self.shape)[channel, ::grid, ::grid] for maps in (z, untold))
            for value in np.unique(before[waiting]):
                same = before == value
                told = same & ~waiting
                expected = (across @ (told * means) @ along + UNLIKE * means) / (across @ told @ along + UNLIKE)
                np.copyto(means, expected, where=same & waiting, casting="same_kind")


# The digits of a plane of some elements of a latent of which so much is known, for an encoder.
Truth = Callable[[Known, int, np.ndarray], np.ndarray]


def tell(known: Known, tables: Tables, code: Coder, truth: Truth | None = None) -> Iterator[Told]:
    """The passes, of which `known` is told. A pass that is cut is the last.

    Encoding and decoding are both driven by this, so they cannot drift apart.
    """
    for plane in known.planes:
        line = _Line(tables, known, plane, code, truth)
        for number in range(RANKS):
            told = line.tell(number)
            known.tell(told)
            yield told
            if not told.whole:
                return


class _Line:
    """The elements of which a plane is told, in the order in which their turns first come."""

    def __init__(self, tables: Tables, known: Known, plane: int, code: Coder, truth: Truth | None):
        keys = tables.keys(known.value.reshape(known.shape), plane)
        place, woven = tables.place.take(keys), tables.woven(known.shape, plane)
        place[: len(woven)] = place[woven]
        order = np.argsort(place, kind="stable")
        self._tables, self._known, self._plane, self._code = tables, known, plane, code
        self._bounds = np.searchsorted(place, tables.bounds, sorter=order).tolist()
        leading = np.flatnonzero(order < len(woven))
        order[leading] = woven[order[leading]]
        self._keys, self._elements = keys.take(order), known.elements(tables.channels(plane), order)
        self._true = None if truth is None else truth(known, plane, self._elements)
        # Places in the line of elements of which the first step is told, by the pass of the second.
        self._due: list[list[np.ndarray]] = [[np.empty(0, np.int64)] for _ in range(RANKS)]

    def tell(self, number: int) -> Told:
        """A pass: the second steps that are due, then, of the elements whose turn it is, digits that are told at once, first steps,
        and, by runs, digits of those that hardly change.
        """
        begin, parted, quiet, end = self._bounds[3 * number : 3 * number + 4]
        due, digits = np.concatenate(self._due[number]), np.ones(end - begin, np.uint8)
        coded: list[Symbols] = []

        def code(table: np.ndarray, keys: np.ndarray, true: np.ndarray | None) -> np.ndarray:
            """Symbols with these keys."""
            if not len(keys):  # of runs, where elements are fewer, or of what they leave
                return np.empty(0, np.uint8)
            found = self._code(table, keys, true)
            coded.append(Symbols(table, keys[: len(found)], found))
            return found

        def told(here: slice | np.ndarray, left: slice | np.ndarray) -> Told:
            """The pass, if of the elements whose turn it is or comes later these are told, and these are not."""
            late, at, later = due[: len(seconds)], self._elements[begin:][here], self._elements[begin:][left]
            keys, count = self._keys[begin:], len(due) + end - begin
            return Told(
                self._known,
                self._plane,
                Digits(self._elements.take(late), self._keys.take(late), seconds),
                Digits(at, keys[here], digits[here]),
                tuple(coded),
                (len(late) + len(at)) / count if count else 1.0,
                waiting=(later, keys[left]),
                tables=self._tables,
            )

        def first(count: int) -> tuple[slice, slice]:
            """So many of these elements, and those after them."""
            return slice(count), slice(count, None)

        seconds = self._seconds(code, due) if len(due) else digits[:0]
        if len(seconds) < len(due):
            return told(*first(0))
        for step, start, stop in ((self._wholes, begin, parted), (self._firsts, parted, quiet)):
            if start == stop:
                continue
            found = step(code, slice(start, stop))
            digits[start - begin : start - begin + len(found)] = found
            if len(found) < stop - start:
                return told(*first(start - begin + len(found)))
        here = self._runs(code, quiet, end, digits[quiet - begin :]) if quiet < end else None
        if here is None:
            return told(*first(end - begin))
        waiting = np.ones(len(self._keys) - begin, bool)
        waiting[: quiet - begin], waiting[quiet - begin + here] = False, False
        return told(np.append(np.arange(quiet - begin), quiet - begin + here), np.flatnonzero(waiting))

    def _truth(self, at: np.ndarray | slice) -> np.ndarray | None:
        return None if self._true is None else self._true[at]

    def _wholes(self, code: Coder, at: np.ndarray | slice, changes: int = 0) -> np.ndarray:
        """Digits; the first `changes` are known not to be 1."""
        keys = self._keys[at]
        if changes:
            keys = np.append(np.full(changes, KEYS, keys.dtype), keys[changes:])
        return code(self._tables.digits, keys, self._truth(at))

    def _firsts(self, code: Coder, at: slice) -> np.ndarray:
        """Digits that are set apart, and HALF for others, which are then due."""
        keys, true = self._keys[at], self._truth(at)
        apart = self._tables.first.take(keys)
        found = code(self._tables.halves, keys, None if true is None else (true != apart).astype(np.uint8))
        others = np.flatnonzero(found.view(bool))
        second = self._tables.second.take(keys.take(others))
        for number in np.flatnonzero(np.bincount(second)):
            self._due[number].append(at.start + others[second == number])
        return np.where(found, np.uint8(HALF), apart[: len(found)])

    def _seconds(self, code: Coder, at: np.ndarray) -> np.ndarray:
        """Digits that are known not to be the one set apart."""
        keys, true = self._keys[at], self._truth(at)
        lesser = (self._tables.first.take(keys) == 0).astype(np.uint8)
        found = code(self._tables.others, keys, None if true is None else true - lesser)
        return found + lesser[: len(found)]

    def _runs(self, code: Coder, begin: int, end: int, digits: np.ndarray) -> np.ndarray | None:
        """Tell digits, which are 1 but for a few: the first of each RUN of them that is not, and then those after it.

        What is told of them, or None if all is.
        """
        count = (end - begin) // RUN
        changes = None
        if self._true is not None:
            changed = (self._true[begin : begin + RUN * count] != 1).reshape(count, RUN)
            changes = np.where(changed.any(1), changed.argmax(1), RUN).astype(np.uint8)
        keys = self._keys[begin + RUN // 2 : begin + RUN * count : RUN] // CLASSES % INDICES
        runs = code(self._tables.runs, keys, changes)
        if len(runs) < count:
            return np.flatnonzero(np.arange(RUN) < runs[:, None])
        left = np.flatnonzero(runs < RUN)
        blocks, in_run = RUN * left[:, None] + np.arange(RUN), np.arange(RUN) - runs[left][:, None].astype(np.int8)
        last = np.concatenate([blocks[in_run == 0], blocks[in_run > 0], np.arange(RUN * count, end - begin)])
        found = self._wholes(code, begin + last, len(left))
        digits[last[: len(found)]] = found
        return None if len(found) == len(last) else np.delete(np.arange(end - begin), last[len(found) :])
