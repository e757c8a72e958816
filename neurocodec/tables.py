"""A model's integers, from which follow how probable a digit is, when in its plane it is told, and where elements are expected.

A plane is told in RANKS passes: first the digits that lessen the error most for their bits, which follows from what is known of an
element and from the magnitude that a small network of integers expects it to have; so does where, in what is known, it is
expected to be. Where much is expected, a digit may be told in two steps, the second in a later pass: whether it is the one that is
set apart, and which of the other two it is if it is not; the first of these does more for its bits.

All arithmetic is that of integers. Matrices are of numbers of 8 bits, and their products stay below 2^24, so that float32 counts them
exactly, too, in any order of summation. Nothing here imports torch.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

BASE, PLANES, RANKS = 3, 7, 6
PASSES = PLANES * RANKS
LARGEST = (BASE**PLANES - 1) // 2  # magnitude of an element
# A magnitude of a steps is seen as the feature FEATURES[min(a, 40)], about 4 log2(1 + a).
FEATURES = np.array([0, 4, 6, 8, 9, 10, 11, 12, 13, 13, 14, 14] + [15] * 29, np.int8)
BRIGHTEST = 255  # of a hidden unit
DARK = -128  # what a hidden unit of 0 is kept as, for 8 bits to hold all up to the brightest
INDICES = 64  # of expected magnitudes
ONE = 1 << 16  # probabilities are in units of 1 / ONE
CLASSES = 4  # of elements, by the magnitude known, in units of the plane before: 0, 1, 2, more
KEYS = 2 * INDICES * CLASSES
MAP_SHIFT = 6  # a map's whole numbers are in units of 1 / 64
CENTROID_SHIFT = 10  # a centroid's are in units of 1 / 1024 of a step
UNTOLD, HALF = 3, 4  # stand for a digit, 0, 1 or 2, that is told later, and for one that is not the one set apart
RUN, BUSY = 16, 16  # elements that one symbol can tell to be unchanged, if less than one in so many is expected to change


@dataclass(frozen=True, eq=False)
class Tables:
    """A small network, and counts for what it expects.

    tops: planes that are told of each channel. across: int8 (H, C), from features to hidden units; level: int32 (PLANES, H), their
    biases; around: int8 (H, 9 H), from the hidden units of a 3x3 neighbourhood, which runs slowest, to others; nearby: int32 (H,), their
    biases; told: int8 (C, 2 H), from both; base: int32 (PLANES, C), biases. shifts: powers of two by which the three sums are divided.
    ranks: uint8 (INDICES, CLASSES), in which pass of a plane a digit is told.
    rests: uint8 (INDICES, CLASSES), in which pass the second step follows; None, or not after the first: all is told at once, as of
    quiet elements. apart: uint8 (INDICES, CLASSES), which digit is set apart, 0 or 2, of elements that are not negative.
    trits: int64 (INDICES, CLASSES, 3), of digits towards -, 0 and + for elements that are not negative, in units of 1 / ONE.
    centroids: (INDICES, CLASSES, 4 or 5), where elements that are not negative are expected, from what is known of them on, after
    these digits, before any, and after HALF, in units of 2^-CENTROID_SHIFT steps; None: there.
    phases: int32 (H + K, n, n), of K leading channels that are told as a pyramid, added to the first and the last of the three sums at places
    whose row and column have these remainders to n.
    turns: uint8 (m, m), in which order squares of n x n elements of these channels are told, by the remainders of their row and column of
    squares to m, of elements that nothing else puts one before another; None: raster order.
    places: int32 (H + C, rows, columns), of tables for one camera, added to the first and the last of the three sums in latents of that
    size; the file keeps them as a few maps, and the shares that units and channels have in them.
    """

    tops: tuple[int, ...]
    across: np.ndarray
    level: np.ndarray
    around: np.ndarray
    nearby: np.ndarray
    told: np.ndarray
    base: np.ndarray
    shifts: tuple[int, int, int]
    ranks: np.ndarray
    trits: np.ndarray
    rests: np.ndarray | None = None
    apart: np.ndarray | None = None
    centroids: np.ndarray | None = None
    phases: np.ndarray | None = None
    turns: np.ndarray | None = None
    places: np.ndarray | None = None

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> "Tables":
        """The tables in a weights file, which keeps them as integers under tables.NAME."""
        around, places = tensors["tables.around"], None
        if "tables.maps" in tensors:
            sums = np.tensordot(tensors["tables.shares"].astype(np.int64), tensors["tables.maps"].astype(np.int64), 1)
            places = (sums >> MAP_SHIFT).astype(np.int32)
        return cls(
            tops=tuple(tensors["tables.tops"].tolist()),
            shifts=tuple(tensors["tables.shifts"].tolist()),
            around=np.ascontiguousarray(around[:, :-1], np.int8),
            nearby=around[:, -1],
            trits=tensors["tables.trits"].astype(np.int64),
            places=places,
            **{name: tensors[f"tables.{name}"] for name in ("across", "level", "told", "base", "ranks")},
            **{name: tensors.get(f"tables.{name}") for name in ("rests", "apart", "centroids", "turns", "phases")},
        )

    @property
    def pyramid(self) -> tuple[int, int]:
        """How many leading channels are told as a pyramid, and how many elements, each way, become one mean of it."""
        return (0, 1) if self.phases is None else (len(self.phases) - len(self.across), self.phases.shape[1])

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

    def woven(self, shape: tuple[int, int, int], plane: int) -> np.ndarray:
        """The elements of the pyramid's channels of which a plane is told, by channel and turn, int (n,); none without turns.

        shape: of the latent. Elements are numbered as `keys` has them.
        """
        if self.turns is None:
            return np.empty(0, np.int64)
        order = _dithered(self, *shape[1:])
        count = (self.channels(plane) < self.pyramid[0]).sum()
        return (len(order) * np.arange(count)[:, None] + order).ravel()

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

    def channels(self, plane: int) -> np.ndarray:
        """Those of which a plane is told."""
        return np.flatnonzero(np.array(self.tops) > plane)

    def keys(self, value: np.ndarray, plane: int) -> np.ndarray:
        """Of the elements of which a plane is told, uint16: whether negative, the magnitude expected, and the one known.

        value: int32 (C, rows, columns), what is known of all.
        """
        channels, height, width = value.shape
        mine, units = self.channels(plane), len(self.across)
        value = _of(value.reshape(channels, -1), mine)
        begun = np.flatnonzero(value.any(1))  # of others nothing but 0 is known
        known = _of(value, begun).astype(np.intp)
        known += LARGEST
        of_units, of_channels = _biases(self, height, width)
        first, second, third = self.shifts
        kinds = _kinds(plane).take(known)
        sums = _product(self.across[:, mine[begun]], _features(plane).take(known))
        del known  # eight bytes an element
        sums += of_units + self.level[plane][:, None]
        hidden = np.empty((2 * units, height * width), np.int8)
        hidden[:units] = _unit(sums, first)
        sums = _around(self.around, hidden[:units].reshape(-1, height, width))
        sums += self._lifted[0]
        hidden[units:] = _unit(sums, second)
        sums = _product(_of(self.told, mine), hidden)
        sums += self._lifted[1][plane, mine][:, None]
        leading = mine[mine < len(of_channels)]
        sums[: len(leading)] += of_channels[leading]
        sums >>= third
        keys = np.clip(sums, 0, INDICES - 1, out=sums).astype(np.uint16)
        keys *= CLASSES
        if len(begun) == len(mine):
            begun = slice(None)
        keys[begun] += kinds
        return keys.ravel()

    @cached_property
    def _lifted(self) -> tuple[np.ndarray, np.ndarray]:
        """nearby, (H, 1), and base, as they are for hidden units that are kept as less than they are."""
        around, told = (-DARK * of.sum(1, dtype=np.int32) for of in (self.around, self.told))
        return (self.nearby + around)[:, None], self.base + told


@lru_cache(maxsize=2)
def _biases(tables: Tables, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What is added to the first sums place by place, int32 (H, places) or (H, 1) of 0, and to those of the first channels."""
    sums = np.zeros((len(tables.across), 1), np.int32)
    if tables.phases is not None:
        n = tables.pyramid[1]
        sums = np.tile(tables.phases, (-(-height // n), -(-width // n)))[:, :height, :width].reshape(len(tables.phases), -1)
    if tables.places is not None and tables.places.shape[1:] == (height, width):
        places = tables.places.reshape(len(tables.places), -1).copy()
        places[: len(sums)] += sums
        sums = places
    return sums[: len(tables.across)], sums[len(tables.across) :]


@lru_cache(maxsize=2)
def _dithered(tables: Tables, height: int, width: int) -> np.ndarray:
    """The places of a channel by turn."""
    row, column = (np.arange(n) // tables.pyramid[1] % len(tables.turns) for n in (height, width))
    return np.argsort(tables.turns[np.ix_(row, column)], axis=None, kind="stable")


def _of(rows: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """The rows of these channels, without a copy if they are all, or none but the last ones is missing."""
    return rows[: len(channels)] if len(channels) and channels[-1] == len(channels) - 1 else rows[channels]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of int8 matrices, int32; by torch where it is there anyway: NumPy's library has threads of its own, which would hold up torch's."""
    torch = sys.modules.get("torch")
    if torch and torch.cpu._is_vnni_supported():  # elsewhere its products of 8 bits are slow, or overflow on the way
        return torch._int_mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    a, b = a.astype(np.float32), b.astype(np.float32)
    product = np.empty((len(a), b.shape[1]), np.float32)
    if torch:
        torch.mm(*map(torch.from_numpy, (a, b)), out=torch.from_numpy(product))  # with `out`, never in mixed precision
    else:
        np.matmul(a, b, out=product)
    return product.astype(np.int32)


def _around(kernels: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """3x3 convolution, int32 (D, places), of hidden units (C, rows, columns), by kernels (D, 9 C), whose neighbourhood runs slowest."""
    channels, height, width = maps.shape
    # The left of each place, itself, the right; a row of 0 above and below.
    beside = np.full((3, channels, height + 2, width), DARK, np.int8)
    beside[0, :, 1:-1, 1:], beside[1, :, 1:-1], beside[2, :, 1:-1, :-1] = maps[:, :, :-1], maps, maps[:, :, 1:]
    beside = beside.reshape(3 * channels, -1)
    rows = (beside[:, i * width : (i + height) * width] for i in range(3))
    return sum(_product(kernel, row) for kernel, row in zip(np.split(kernels, 3, axis=1), rows, strict=True))


def _unit(sums: np.ndarray, shift: int) -> np.ndarray:
    """Hidden units of sums, which are overwritten, as they are kept."""
    sums >>= shift
    np.clip(sums, 0, BRIGHTEST, out=sums)
    sums += DARK
    return sums


@lru_cache(maxsize=PLANES)
def _features(plane: int) -> np.ndarray:
    """Of values from -LARGEST to LARGEST."""
    return FEATURES[np.minimum(np.abs(np.arange(-LARGEST, LARGEST + 1)) // BASE**plane, 40)]


@lru_cache(maxsize=PLANES)
def _kinds(plane: int) -> np.ndarray:
    """What a key says of values from -LARGEST to LARGEST, uint16."""
    value = np.arange(-LARGEST, LARGEST + 1)
    return ((value < 0) * (KEYS // 2) + np.minimum(np.abs(value) // BASE ** (plane + 1), CLASSES - 1)).astype(np.uint16)
