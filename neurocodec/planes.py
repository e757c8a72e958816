"""A latent as planes of digits: which pass tells what, how probable each digit is, and how the digits of a pass are told.

Every element is a whole number z, told in balanced ternary ("trit planes": Lee et al., CVPR 2022, arXiv 2112.06334): after
plane k, from PLANES - 1 down to 0, the nearest multiple of 3^k to z is known, and a digit is the change, -1, 0 or 1 times
3^k. So what is known after any plane is what rounding to a step of 3^k gives: no other ladder that nests is as fine. A plane is
told in RANKS passes: first the digits that lessen the error most for their bits, which follows from what is known of an
element and from the magnitude that a small network of integers expects it to have; so does where, in what is known, it is
expected to be. Elements are numbered channel by channel, in raster order.

All arithmetic is that of integers, exact in any order of summation: products of float32 matrices stay below 2^24. Nothing
here imports torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
UNTOLD = 3  # stands for a digit, 0, 1 or 2, that is told later
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


def _nothing() -> np.ndarray:
    return np.empty(0, np.uint16)


@dataclass(frozen=True)
class Told:
    """A pass: `digits`, uint8 0, 1 and 2 for -1, 0 and 1, of a plane of some elements.

    coded: the symbols that tell it. share: of the pass's digits; below 1 where the stream ends. lead: what was told of the
    whole picture ahead of the first pass. keys: of the elements. waiting: elements whose digits of the plane are still to be
    told, and their keys. tables: whose keys these are.
    """

    plane: int
    elements: np.ndarray
    digits: np.ndarray
    coded: tuple[Symbols, ...]
    share: float = 1.0
    lead: bytes = b""
    keys: np.ndarray = field(default_factory=_nothing)
    waiting: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (_nothing(), _nothing()))
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

    def elements(self, plane: int) -> np.ndarray:
        """Those of which a plane is told, int32."""
        places = self.shape[1] * self.shape[2]
        firsts = (self.channels(plane) * places).astype(np.int32)
        return (firsts[:, None] + np.arange(places, dtype=np.int32)).ravel()

    def digits(self, z: np.ndarray, plane: int, elements: np.ndarray) -> np.ndarray:
        """The digits of a plane of some elements of a latent z, int32 (count,), of which the planes before are known."""
        step = BASE**plane
        return ((z - self.value + (step // 2 + step)) // step).astype(np.uint8)[elements]

    def tell(self, told: Told) -> None:
        """Take a pass, or the part of it that is there."""
        changed = np.flatnonzero(told.digits != 1)
        self.value[told.elements[changed]] += (told.digits[changed].astype(np.int32) - 1) * BASE**told.plane
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
        parts = [(told.elements, told.keys, told.digits) for told in self._passes]
        for elements, keys, digits in (*parts, (*last.waiting, np.full(len(last.waiting[0]), UNTOLD, np.uint8))):
            known = np.flatnonzero(self.value[elements])  # 0 is expected where nothing else is known
            z[elements[known]] += last.tables.offsets[keys[known], digits[known]] * np.float32(BASE**last.plane)
        return z


@dataclass(frozen=True, eq=False)
class Tables:
    """A model's integers, from which follows how probable a digit is: a small network, and counts for what it expects.

    All float32 of whole numbers but for tops, shifts, ranks and trits. tops: planes that are told of each channel. across:
    (H, C), from features to hidden units; level: (PLANES, H), their biases; around: (H, 9 H + 1), from the hidden units of a 3x3
    neighbourhood, which runs slowest, to others, with a bias; told: (C, 2 H), from both; base: (PLANES, C), biases. shifts:
    powers of two by which the three sums are divided. ranks: uint8 (INDICES, CLASSES), in which pass of a plane a digit is told.
    trits: int64 (INDICES, CLASSES, 3), of digits towards -, 0 and + for elements that are not negative, in units of 1 / ONE.
    centroids: (INDICES, CLASSES, 4), where elements that are not negative are expected, from what is known of them on, after
    these digits and before any, in units of 2^-CENTROID_SHIFT steps; None: there.
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
            centroids=tensors.get("tables.centroids"),
            phases=tensors["tables.phases"].astype(np.float32) if "tables.phases" in tensors else None,
            places=places,
            **{name: tensor.astype(np.float32) for name, tensor in whole.items()},
        )

    @cached_property
    def place(self) -> np.ndarray:
        """uint8 (KEYS,): when in a plane an element is told, by its key: by pass, whether it is quiet, and, if so, what is expected."""
        return np.tile(np.unique(self._when, return_inverse=True)[1].astype(np.uint8).ravel(), 2)

    @cached_property
    def firsts(self) -> np.ndarray:
        """uint8 (2, RANKS + 1): the first place of each pass, and the first of its quiet elements."""
        begin = np.arange(RANKS + 1) * (INDICES + 1)
        return np.searchsorted(np.unique(self._when), [begin, begin + 1]).astype(np.uint8)

    @property
    def _when(self) -> np.ndarray:
        """(INDICES, CLASSES): the order of `place`, with gaps."""
        often = np.append(self.trits[:, 0, 1] < ONE - ONE // BUSY, True)
        quiet = (np.arange(INDICES) < np.argmax(often))[:, None] & (np.arange(CLASSES) == 0)
        return self.ranks.astype(int) * (INDICES + 1) + quiet * (1 + np.arange(INDICES)[:, None])

    @cached_property
    def digits(self) -> np.ndarray:
        """float64 (KEYS + 1, 3): of digits, and, in the last row, of those that are not 0; exact multiples of 1 / ONE."""
        of = np.concatenate([self.trits.reshape(-1, 3), self.trits.reshape(-1, 3)[:, ::-1]])
        return np.concatenate([of, [[ONE // 2 - 1, 2, ONE // 2 - 1]]]) / ONE

    @cached_property
    def offsets(self) -> np.ndarray:
        """float32 (KEYS, 4): where an element is expected, from its value on, in steps, after each digit and before any."""
        of = self.centroids.reshape(-1, UNTOLD + 1)
        return np.concatenate([of, -of[:, [2, 1, 0, UNTOLD]]]).astype(np.float32) * np.float32(2.0**-CENTROID_SHIFT)

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
        value = known.value.reshape(len(self.tops), -1)[known.channels(plane)].ravel()
        return self.expected(known, plane).astype(np.uint16) * np.uint16(CLASSES) + _kinds(plane).take(value + LARGEST)

    def expected(self, known: Known, plane: int) -> np.ndarray:
        """Indices, uint8, of the magnitudes that the elements of which a plane is told are expected to have."""
        channels, height, width = known.shape
        mine, begun = known.channels(plane), known.channels(plane + 1)  # of others nothing but 0 is known
        seen = _features(plane).take(known.value.reshape(channels, -1)[begun] + LARGEST)
        of_units, of_channels = np.split(self._places(height, width), [len(self.across)])
        of_phases, of_first = np.split(self._phases(height, width), [len(self.across)])
        with _libraries().limit(limits=1, user_api="blas"):  # idle threads of theirs would hold up those of torch
            sums = self.across[:, begun] @ seen + self.level[plane][:, None] + of_units + of_phases
            here = _shifted(sums, self.shifts[0], BRIGHTEST)
            padded = np.zeros((len(here), height + 2, width + 2), np.float32)
            padded[:, 1:-1, 1:-1] = here.reshape(-1, height, width)
            nearby = np.stack([padded[:, i // 3 : i // 3 + height, i % 3 : i % 3 + width] for i in range(9)])
            sums = self.around[:, :-1] @ nearby.reshape(-1, height * width) + self.around[:, -1:]
            both = np.concatenate([here, _shifted(sums, self.shifts[1], BRIGHTEST)])
            sums = self.told[mine] @ both
            sums += self.base[plane, mine][:, None] + of_channels[mine]
            first = mine[mine < len(of_first)]
            sums[: len(first)] += of_first[first]
        return _shifted(sums, self.shifts[2], INDICES - 1).astype(np.uint8).ravel()

    def _phases(self, height: int, width: int) -> np.ndarray:
        """(H + K, places), or (H, 1) of 0 where nothing is told as a pyramid."""
        if self.phases is None:
            return np.zeros((len(self.across), 1), np.float32)
        n = self.phases.shape[1]
        return np.tile(self.phases, (-(-height // n), -(-width // n)))[:, :height, :width].reshape(len(self.phases), -1)

    def _places(self, height: int, width: int) -> np.ndarray:
        """(H + C, places), or (H + C, 1) of 0 for latents of another size."""
        if self.places is None or self.places.shape[1:] != (height, width):
            return np.zeros((len(self.across) + len(self.told), 1), np.float32)
        return self.places.reshape(len(self.places), -1)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _shifted(sums: np.ndarray, shift: int, most: int) -> np.ndarray:
    """Whole numbers from 0 to the most, float32: the sums, which are overwritten, divided by a power of two."""
    sums *= np.float32(2.0**-shift)
    return np.clip(np.floor(sums, out=sums), 0, most, out=sums)


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
        keys = tables.keys(known, plane)
        place = tables.place.take(keys)
        order = np.argsort(place, kind="stable")
        keys, elements = keys.take(order), known.elements(plane).take(order)
        true = None if truth is None else truth(known, plane, elements)
        ends, busy = np.searchsorted(place.take(order), tables.firsts).tolist()
        for number in range(RANKS):
            first, end = ends[number : number + 2]
            some = None if true is None else true[first:end]
            told = _pass(tables, plane, elements[first:], keys[first:], busy[number] - first, end - first, code, some)
            known.tell(told)
            yield told
            if not told.whole:
                return


def _pass(
    tables: Tables,
    plane: int,
    elements: np.ndarray,
    keys: np.ndarray,
    busy: int,
    count: int,
    code: Coder,
    true: np.ndarray | None,
) -> Told:
    """Of so many elements, `count`, the `busy` ones are told first, then, by runs, those that hardly change."""
    coded: list[Symbols] = []
    digits = np.ones(count, np.uint8)

    def pass_of(at: np.ndarray | slice, later: np.ndarray | slice, share: float = 1.0) -> Told:
        waiting = elements[later], keys[later]
        return Told(plane, elements[at], digits[at], tuple(coded), share, keys=keys[at], waiting=waiting, tables=tables)

    if not count:
        return pass_of(slice(0), slice(None))

    def symbols(table: np.ndarray, keys: np.ndarray, true: np.ndarray | None) -> np.ndarray:
        if not len(keys):
            return np.empty(0, np.uint8)
        found = code(table, keys, true)
        coded.append(Symbols(table, keys[: len(found)], found))
        return found

    def tell(at: np.ndarray | slice, first: int = 0) -> int:
        """Tell the digits of some elements, the `first` of which are known to change; how many could be told."""
        of = keys[at].copy()
        of[:first] = KEYS
        found = symbols(tables.digits, of, None if true is None else true[at])
        digits[at] = np.append(found, np.ones(len(of) - len(found), np.uint8))
        return len(found)

    def cut(at: np.ndarray) -> Told:
        """What a pass says of which only these are told."""
        later = np.ones(len(keys), bool)
        later[at] = False
        return pass_of(at, later, len(at) / count)

    if (found := tell(slice(busy))) < busy:
        return cut(np.arange(found))
    blocks = (count - busy) // RUN
    starts = busy + RUN * np.arange(blocks)
    changes = None
    if true is not None:
        changed = (true[busy : busy + RUN * blocks] != 1).reshape(blocks, RUN)
        changes = np.where(changed.any(1), changed.argmax(1), RUN).astype(np.uint8)
    runs = symbols(tables.runs, keys[busy + RUN // 2 : busy + RUN * blocks : RUN] // CLASSES % INDICES, changes)
    if len(runs) < blocks:
        quiet = (starts[: len(runs), None] + np.arange(RUN))[np.arange(RUN) < runs[:, None]]
        return cut(np.concatenate([np.arange(busy), quiet]))
    left = runs < RUN
    first = starts[left] + runs[left]
    after = (starts[left, None] + np.arange(RUN))[np.arange(RUN) > runs[left, None]]
    last = np.concatenate([first, after, np.arange(busy + RUN * blocks, count)])
    if (found := tell(last, len(first))) < len(last):
        at = np.ones(count, bool)
        at[last[found:]] = False
        return cut(np.flatnonzero(at))
    return pass_of(slice(count), slice(count, None))
