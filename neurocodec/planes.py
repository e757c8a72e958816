"""A latent as planes of digits: which pass tells what, how probable each digit is, and how the digits of a pass are told.

Every element is a whole number z, told in balanced ternary ("trit planes": Lee et al., CVPR 2022, arXiv 2112.06334): after
plane k, from PLANES - 1 down to 0, the nearest multiple of 3^k to z is known, and a digit is the change, -1, 0 or 1 times
3^k. So what is known after any plane is what rounding to a step of 3^k gives: no other ladder that nests is as fine. A plane is
told in RANKS passes: first the digits that lessen the error most for their bits, which follows from what is known of an
element and from the magnitude that a small network of integers expects it to have; so does where, in what is known, it is
expected to be. Where much is expected, a digit may be told in two steps, the second in a later pass: whether it is the one that is
set apart, and which of the other two it is if it is not; the first of these does more for its bits. Elements are numbered channel by channel, in raster order.

All arithmetic is that of integers, exact in any order of summation: products of float32 matrices stay below 2^24. Nothing
here imports torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

BASE, PLANES, RANKS = 3, 7, 6
PASSES = PLANES * RANKS
LARGEST = (BASE**PLANES - 1) // 2  # magnitude of an element
# A magnitude of a steps is seen as the feature FEATURES[min(a, 40)], about 4 log2(1 + a).
FEATURES = np.array([0, 4, 6, 8, 9, 10, 11, 12, 13, 13, 14, 14] + [15] * 29, np.float32)
BRIGHTEST = 255  # of a hidden unit
INDICES = 64  # of expected magnitudes
ONE = 1 << 16  # probabilities are in units of 1 / ONE
CLASSES = 4  # of elements, by the magnitude known, in units of the plane before: 0, 1, 2, more
KEYS = 2 * INDICES * CLASSES
MAP_SHIFT = 6  # a map's whole numbers are in units of 1 / 64
CENTROID_SHIFT = 10  # a centroid's are in units of 1 / 1024 of a step
UNTOLD, HALF = 3, 4  # stand for a digit, 0, 1 or 2, that is told later, and for one that is not the one set apart
RUN, BUSY = 16, 16  # elements that one symbol can tell to be unchanged, if less than one in so many is expected to change

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
    tables: whose keys these are.
    """

    plane: int
    late: Digits
    here: Digits
    coded: tuple[Symbols, ...]
    share: float = 1.0
    lead: bytes = b""
    waiting: tuple[np.ndarray, np.ndarray] = NO_DIGITS[:2]
    tables: "Tables | None" = None

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

    @property
    def planes(self) -> range:
        """All planes, in order."""
        return range(int(self.tops.max()) - 1, -1, -1)

    @property
    def largest(self) -> np.ndarray:
        """Magnitude of elements, int32 (C, 1, 1)."""
        return (BASE**self.tops // 2).astype(np.int32)[:, None, None]

    def channels(self, plane: int) -> np.ndarray:
        """Those of which a plane is told."""
        return np.flatnonzero(self.tops > plane)

    def elements(self, plane: int, order: np.ndarray) -> np.ndarray:
        """Those of which a plane is told, in some order, int32."""
        channels, places = self.channels(plane), self.shape[1] * self.shape[2]
        if len(channels) == len(self.tops):
            return order.astype(np.int32)
        return (channels[:, None] * places + np.arange(places)).astype(np.int32).ravel().take(order)

    def digits(self, z: np.ndarray, plane: int, elements: np.ndarray) -> np.ndarray:
        """The digits of a plane of some elements of a latent z, int32 (count,), of which the planes before are known."""
        step = BASE**plane
        return ((z - self.value + (step // 2 + step)) // step).astype(np.uint8).take(elements)

    def tell(self, told: Told) -> None:
        """Take a pass, or the part of it that is there."""
        for elements, _, digits in (told.late, told.here):
            changed = np.flatnonzero((digits == 0) | (digits == 2))
            self.value[elements[changed]] += (digits[changed].astype(np.int32) - 1) * BASE**told.plane
        self.depth -= told.share / RANKS
        if self._passes and self._passes[-1].plane != told.plane:
            self._passes = []
        self._passes.append(told)

    def centroids(self) -> np.ndarray:
        """Where in what is known of them elements are expected to be, float32 (count,): at `value` if the tables do not say."""
        z = self.value.astype(np.float32)
        if not self._passes or self._passes[-1].tables is None or self._passes[-1].tables.centroids is None:
            return z
        last = self._passes[-1]
        step, offsets = np.float32(BASE**last.plane), last.tables.offsets

        def expect(elements: np.ndarray, keys: np.ndarray, digits: np.ndarray | int) -> None:
            z[elements] = self.value[elements] + step * offsets[keys, digits]

        for of, keys, digits in (told.here for told in self._passes):
            known = np.flatnonzero((keys & (CLASSES - 1) > 0) | (digits != 1))  # 0 is expected where nothing else is known
            expect(of[known], keys[known], digits[known])
        for told in self._passes:
            expect(*told.late)
        of, keys = last.waiting
        known = np.flatnonzero(keys & (CLASSES - 1))
        expect(of[known], keys[known], UNTOLD)
        return z


@dataclass(frozen=True, eq=False)
class Tables:
    """A model's integers, from which follows how probable a digit is: a small network, and counts for what it expects.

    All float32 of whole numbers but for tops, shifts, ranks, rests, apart and trits. tops: planes that are told of each channel. across:
    (H, C), from features to hidden units; level: (PLANES, H), their biases; around: (H, 9 H + 1), from the hidden units of a 3x3
    neighbourhood, which runs slowest, to others, with a bias; told: (C, 2 H), from both; base: (PLANES, C), biases. shifts:
    powers of two by which the three sums are divided. ranks: uint8 (INDICES, CLASSES), in which pass of a plane a digit is told.
    rests: uint8 (INDICES, CLASSES), in which pass the second step follows; None, or not after the first: all is told at once, as of
    quiet elements. apart: uint8 (INDICES, CLASSES), which digit is set apart, 0 or 2, of elements that are not negative.
    trits: int64 (INDICES, CLASSES, 3), of digits towards -, 0 and + for elements that are not negative, in units of 1 / ONE.
    centroids: (INDICES, CLASSES, 4 or 5), where elements that are not negative are expected, from what is known of them on, after
    these digits, before any, and after HALF, in units of 2^-CENTROID_SHIFT steps; None: there.
    phases: (H + K, n, n), of K leading channels that are told as a pyramid, added to the first and the last of the three sums at places
    whose row and column have these remainders to n.
    places: (H + C, rows, columns), of tables for one camera, added to the first and the last of the three sums in latents of that
    size; the file keeps them as a few maps, and the shares that units and channels have in them.
    """

    tops: tuple[int, ...]
    across: np.ndarray
    level: np.ndarray
    around: np.ndarray
    told: np.ndarray
    base: np.ndarray
    shifts: tuple[int, int, int]
    ranks: np.ndarray
    trits: np.ndarray
    rests: np.ndarray | None = None
    apart: np.ndarray | None = None
    centroids: np.ndarray | None = None
    phases: np.ndarray | None = None
    places: np.ndarray | None = None

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> "Tables":
        """The tables in a weights file, which keeps them as integers under tables.NAME."""
        whole = {name: tensors[f"tables.{name}"] for name in ("across", "level", "around", "told", "base")}
        places = None
        if "tables.maps" in tensors:
            sums = np.tensordot(tensors["tables.shares"].astype(np.int64), tensors["tables.maps"].astype(np.int64), 1)
            places = (sums >> MAP_SHIFT).astype(np.float32)
        return cls(
            tops=tuple(tensors["tables.tops"].tolist()),
            shifts=tuple(tensors["tables.shifts"].tolist()),
            ranks=tensors["tables.ranks"],
            trits=tensors["tables.trits"].astype(np.int64),
            **{name: tensors.get(f"tables.{name}") for name in ("rests", "apart", "centroids")},
            phases=tensors["tables.phases"].astype(np.float32) if "tables.phases" in tensors else None,
            places=places,
            **{name: tensor.astype(np.float32) for name, tensor in whole.items()},
        )

    @cached_property
    def place(self) -> np.ndarray:
        """uint8 (KEYS,): when in a plane an element's turn first comes, by its key: by pass, what it waits for in it (`bounds`), and,
        if it is quiet, what is expected.
        """
        return np.tile(np.unique(self._when, return_inverse=True)[1].astype(np.uint8).ravel(), 2)

    @cached_property
    def bounds(self) -> np.ndarray:
        """uint8 (3 RANKS + 1,): of each pass the first place, the first of what is told in two steps, and of what is quiet."""
        begin = np.arange(RANKS)[:, None] * (INDICES + 2) + np.arange(3)
        return np.searchsorted(np.unique(self._when), np.append(begin, RANKS * (INDICES + 2))).astype(np.uint8)

    @property
    def _when(self) -> np.ndarray:
        """(INDICES, CLASSES): the order of `place`, with gaps."""
        quiet = self._quiet * (2 + np.arange(INDICES)[:, None])
        return self.ranks.astype(int) * (INDICES + 2) + np.where(self._quiet, quiet, self._second < RANKS)

    @property
    def _quiet(self) -> np.ndarray:
        """bool (INDICES, CLASSES): which elements are told by runs."""
        often = np.append(self.trits[:, 0, 1] < ONE - ONE // BUSY, True)
        return (np.arange(INDICES) < np.argmax(often))[:, None] & (np.arange(CLASSES) == 0)

    @property
    def _second(self) -> np.ndarray:
        """uint8 (INDICES, CLASSES): the pass of the second step, RANKS where all is told at once."""
        if self.rests is None:
            return np.full(self.ranks.shape, RANKS, np.uint8)
        return np.where((self.rests > self.ranks) & ~self._quiet, self.rests, RANKS).astype(np.uint8)

    @cached_property
    def second(self) -> np.ndarray:
        """uint8 (KEYS,): the same by key."""
        return np.tile(self._second.ravel(), 2)

    @cached_property
    def first(self) -> np.ndarray:
        """uint8 (KEYS,): the digit that is set apart, 0 or 2."""
        apart = np.zeros(KEYS // 2, np.uint8) if self.apart is None else self.apart.ravel()
        return np.concatenate([apart, 2 - apart])

    @cached_property
    def halves(self) -> np.ndarray:
        """float64 (KEYS, 2): of the digit that is set apart, and of the others, exact multiples of 1 / ONE."""
        apart = np.take_along_axis(self.digits[:-1], self.first[:, None].astype(int), 1)
        return np.concatenate([apart, 1 - apart], 1)

    @cached_property
    def others(self) -> np.ndarray:
        """float64 (KEYS, 2): of the lesser of the others, and of the larger, exact multiples of 1 / ONE."""
        lesser = (self.first == 0)[:, None].astype(int)
        of = (np.take_along_axis(self.digits[:-1], lesser + np.arange(2), 1) * ONE).astype(np.int64)
        share = np.clip(of[:, :1] * ONE // of.sum(1, keepdims=True), 1, ONE - 1)
        return np.concatenate([share, ONE - share], 1) / ONE

    @cached_property
    def digits(self) -> np.ndarray:
        """float64 (KEYS + 1, 3): of digits, and, in the last row, of those that are not 0; exact multiples of 1 / ONE."""
        of = np.concatenate([self.trits.reshape(-1, 3), self.trits.reshape(-1, 3)[:, ::-1]])
        return np.concatenate([of, [[ONE // 2 - 1, 2, ONE // 2 - 1]]]) / ONE

    @cached_property
    def offsets(self) -> np.ndarray:
        """float32 (KEYS, 4 or 5): where an element is expected, from its value on, in steps, after each digit, UNTOLD and HALF."""
        of = self.centroids.reshape(KEYS // 2, -1).astype(np.float32) * np.float32(2.0**-CENTROID_SHIFT)
        return np.concatenate([of, -of[:, [2, 1, 0, UNTOLD, HALF][: of.shape[1]]]])

    @cached_property
    def runs(self) -> np.ndarray:
        """float64 (INDICES, RUN + 1): of the first quiet element to leave 0 among RUN, or of none, multiples of 1 / ONE."""
        stay, left = np.maximum(self.trits[:, 0, 1], ONE - ONE // BUSY), np.full(len(self.trits), ONE)
        found = np.empty((len(stay), RUN + 1), np.int64)
        for i in range(RUN):
            found[:, i] = np.maximum(1, left * (ONE - stay) // ONE)
            left = left - found[:, i]
        found[:, RUN] = left
        return found / ONE

    def keys(self, known: Known, plane: int) -> np.ndarray:
        """Of the elements of which a plane is told, uint16: whether negative, the magnitude expected, and the one known."""
        channels, height, width = known.shape
        mine = known.channels(plane)
        value = np.add(_of(known.value.reshape(channels, -1), mine), LARGEST, dtype=np.intp)
        begun = np.flatnonzero(known.tops[mine] > plane + 1)  # of others nothing but 0 is known
        across, level, around, nearby, told, base = self._divided
        of_units, of_channels = self._biases(height, width)
        with _libraries().limit(limits=1, user_api="blas"):  # idle threads of theirs would hold up those of torch
            sums = across[:, mine[begun]] @ _features(plane).take(_of(value, begun))
            sums += level[plane][:, None] + of_units
            here = _whole(sums, BRIGHTEST)
            padded = np.zeros((len(here), height + 2, width + 2), np.float32)
            padded[:, 1:-1, 1:-1] = here.reshape(-1, height, width)
            places = np.stack([padded[:, i // 3 : i // 3 + height, i % 3 : i % 3 + width] for i in range(9)])
            sums = around @ places.reshape(-1, height * width)
            sums += nearby
            sums = _of(told, mine) @ np.concatenate([here, _whole(sums, BRIGHTEST)])
        sums += base[plane, mine][:, None]
        first = mine[mine < len(of_channels)]
        sums[: len(first)] += of_channels[first]
        keys = np.clip(sums, 0, INDICES - 1, out=sums).astype(np.uint16)
        keys *= CLASSES
        keys += _kinds(plane).take(value)
        return keys.ravel()

    @cached_property
    def _divided(self) -> tuple[np.ndarray, ...]:
        """across, level, around but for its last column, that column, told and base, divided by the powers of two, which is exact."""
        first, second, third = (np.float32(2.0**-shift) for shift in self.shifts)
        around = self.around * second
        return self.across * first, self.level * first, around[:, :-1], around[:, -1:], self.told * third, self.base * third

    def _biases(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """What is added to the first quotients place by place, (H, places) or (H, 1) of 0, and to those of the first channels."""
        units, first, third = len(self.across), np.float32(2.0 ** -self.shifts[0]), np.float32(2.0 ** -self.shifts[2])
        sums = np.zeros((units, 1), np.float32)
        if self.phases is not None:
            n = self.phases.shape[1]
            sums = np.tile(self.phases, (-(-height // n), -(-width // n)))[:, :height, :width].reshape(len(self.phases), -1)
        if self.places is not None and self.places.shape[1:] == (height, width):
            places = self.places.reshape(len(self.places), -1).copy()
            places[: len(sums)] += sums
            sums = places
        return sums[:units] * first, sums[units:] * third


def _of(rows: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """The rows of these channels, without a copy if they are all, or none but the last ones is missing."""
    return rows[: len(channels)] if len(channels) and channels[-1] == len(channels) - 1 else rows[channels]


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _whole(quotients: np.ndarray, most: int) -> np.ndarray:
    """Quotients, which are overwritten, rounded down to whole numbers from 0 to the most, float32."""
    return np.floor(np.clip(quotients, 0, most, out=quotients), out=quotients)


@lru_cache(maxsize=PLANES)
def _features(plane: int) -> np.ndarray:
    """Of values from -LARGEST to LARGEST."""
    return FEATURES[np.minimum(np.abs(np.arange(-LARGEST, LARGEST + 1)) // BASE**plane, 40)]


@lru_cache(maxsize=PLANES)
def _kinds(plane: int) -> np.ndarray:
    """What a key says of values from -LARGEST to LARGEST, uint16."""
    value = np.arange(-LARGEST, LARGEST + 1)
    return ((value < 0) * (KEYS // 2) + np.minimum(np.abs(value) // BASE ** (plane + 1), CLASSES - 1)).astype(np.uint16)


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
        keys = tables.keys(known, plane)
        place = tables.place.take(keys)
        order = np.argsort(place, kind="stable")
        self._tables, self._plane, self._code = tables, plane, code
        self._bounds = np.searchsorted(place, tables.bounds, sorter=order).tolist()
        self._keys, self._elements = keys.take(order), known.elements(plane, order)
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
            if not len(keys):
                return np.empty(0, np.uint8)
            found = self._code(table, keys, true)
            coded.append(Symbols(table, keys[: len(found)], found))
            return found

        def told(here: np.ndarray | None = None) -> Told:
            """The pass, if of the elements whose turn it is these are told, or all."""
            share, at, later = 1.0, slice(begin, end), slice(end, None)
            if here is not None:
                share = (len(seconds) + len(here)) / (len(due) + end - begin)
                at, later = begin + here, np.arange(begin, len(self._keys))
                later = np.delete(later, here)
            late = due[: len(seconds)]
            return Told(
                self._plane,
                Digits(self._elements[late], self._keys[late], seconds),
                Digits(self._elements[at], self._keys[at], digits if here is None else digits[here]),
                tuple(coded),
                share,
                waiting=(self._elements[later], self._keys[later]),
                tables=self._tables,
            )

        seconds = self._seconds(code, due)
        if len(seconds) < len(due):
            return told(np.empty(0, np.int64))
        for step, first, last in ((self._wholes, begin, parted), (self._firsts, parted, quiet)):
            found = step(code, slice(first, last))
            digits[first - begin : first - begin + len(found)] = found
            if len(found) < last - first:
                return told(np.arange(first - begin + len(found)))
        here = self._runs(code, quiet, end, digits[quiet - begin :])
        return told(None if here is None else np.append(np.arange(quiet - begin), quiet - begin + here))

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
        others = np.flatnonzero(found)
        second = self._tables.second.take(keys[others])
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
