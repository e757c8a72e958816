"""A latent as planes of digits: which pass tells what, how probable each digit is, and how the digits of a pass are told.

Every element is a whole number z, told in balanced ternary ("trit planes": Lee et al., CVPR 2022, arXiv 2112.06334): after
plane k, from PLANES - 1 down to 0, the nearest multiple of 3^k to z is known, and a digit is the change, -1, 0 or 1 times
3^k. So what is known after any plane is what rounding to a step of 3^k gives: no other ladder that nests is as fine. A plane is
told in RANKS passes: first the digits that lessen the error most for their bits, which follows from what is known of an
element and from the magnitude that a small network of integers expects it to have. Elements are numbered channel by
channel, in raster order.

All arithmetic is that of integers, exact in any order of summation: products of float32 matrices stay below 2^24. Nothing
here imports torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

BASE, PLANES, RANKS = 3, 7, 6
PASSES = PLANES * RANKS
LARGEST = (BASE**PLANES - 1) // 2  # magnitude of an element
# A magnitude of a steps is seen as the feature FEATURES[min(a, 40)], about 4 log2(1 + a).
FEATURES = np.array([0, 4, 6, 8, 9, 10, 11, 12, 13, 13, 14, 14] + [15] * 29, np.float32)
BRIGHTEST = 255  # of a hidden unit
INDICES = 64  # of expected magnitudes
ONE = 1 << 16  # probabilities are in units of 1 / ONE
CLASSES = 4  # of elements, by the magnitude known, in units of the plane before: 0, 1, 2, more
RUN = 32  # elements that one symbol can tell to be unchanged
CROWD = 1024  # elements that hardly change from which on they are told by runs

Shape = tuple[int, int, int]  # channels, rows, columns
# Codes symbols of given probabilities, float64 (n, symbols): an encoder is given them, a decoder finds them, or the first.
Coder = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Told:
    """A pass: `digits`, uint8 0, 1 and 2 for -1, 0 and 1, of a plane of some elements, and whether that is all of them."""

    plane: int
    elements: np.ndarray
    digits: np.ndarray
    whole: bool = True


class Map:
    """Where the elements of a latent of a given shape lie; arrays are read-only."""

    def __init__(self, tops: tuple[int, ...], shape: Shape):
        self.shape = shape
        self.count = int(np.prod(shape))
        self.top = np.repeat(np.array(tops), shape[1] * shape[2])
        self.channels = [np.flatnonzero(np.array(tops) > k) for k in range(PLANES)]  # of which a plane is told
        self.elements = [np.flatnonzero(self.top > k) for k in range(PLANES)]
        self.planes = range(max(tops) - 1, -1, -1)


@lru_cache(maxsize=16)
def map_of(tops: tuple[int, ...], shape: Shape) -> Map:
    """The one map of such latents."""
    return Map(tops, shape)


class Known:
    """What has been told of a latent: `value`, int32 (count,), multiples of 3^plane, where plane is the last one told."""

    def __init__(self, map: Map):
        self.map = map
        self.value = np.zeros(map.count, np.int32)

    def digits(self, z: np.ndarray, plane: int, elements: np.ndarray) -> np.ndarray:
        """The digits of a plane of some elements of a latent z, int32 (count,), of which the planes before are known."""
        step = BASE**plane
        nearest = (z[elements] + step // 2) // step * step
        return ((nearest - self.value[elements]) // step + 1).astype(np.uint8)

    def tell(self, told: Told) -> None:
        """Take a pass."""
        self.value[told.elements] += (told.digits.astype(np.int32) - 1) * BASE**told.plane


@dataclass(frozen=True, eq=False)
class Tables:
    """A model's integers, from which follows how probable a digit is: a small network, and counts for what it expects.

    All float32 of whole numbers but the last three. tops: planes that are told of each channel. across: (H, C), from features
    to hidden units; level: (PLANES, H), their biases; around: (H, 9 H + 1), from the hidden units of a 3x3 neighbourhood,
    which runs slowest, to others, with a bias; told: (C, 2 H), from both; base: (PLANES, C), biases. shifts: powers of two
    by which the three sums are divided. ranks: uint8 (INDICES, CLASSES), in which pass of a plane a digit is told. trits:
    int64 (INDICES, CLASSES, 3), of digits towards -, 0 and + for elements that are not negative, in units of 1 / ONE.
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

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> "Tables":
        """The tables in a weights file, which keeps them as integers under tables.NAME."""
        whole = {name: tensors[f"tables.{name}"] for name in ("across", "level", "around", "told", "base")}
        return cls(
            tops=tuple(tensors["tables.tops"].tolist()),
            shifts=tuple(tensors["tables.shifts"].tolist()),
            ranks=tensors["tables.ranks"],
            trits=tensors["tables.trits"].astype(np.int64),
            **{name: tensor.astype(np.float32) for name, tensor in whole.items()},
        )

    @cached_property
    def quiet(self) -> int:
        """The first index of which more than one element in 128 is expected to leave 0."""
        return int(np.argmax(np.append(self.trits[:, 0, 1] < ONE - ONE // 128, True)))

    @cached_property
    def runs(self) -> np.ndarray:
        """float64 (INDICES, RUN + 1): of the first element to leave 0 among RUN, or of none, exact multiples of 1 / ONE."""
        stay, left = self.trits[:, 0, 1], np.full(len(self.trits), ONE)
        found = np.empty((len(stay), RUN + 1), np.int64)
        for i in range(RUN):
            found[:, i] = np.maximum(1, left * (ONE - stay) // ONE)
            left = left - found[:, i]
        found[:, RUN] = left
        return found / ONE

    def expected(self, known: Known, plane: int) -> np.ndarray:
        """Indices, uint8, of the magnitudes that the elements of which a plane is told are expected to have."""
        channels, height, width = known.map.shape
        mine = known.map.channels[plane]
        seen = _features(plane).take(known.value + LARGEST).reshape(channels, -1)
        here = _unit(self.across @ seen + self.level[plane][:, None], self.shifts[0])
        padded = np.pad(here.reshape(-1, height, width), ((0, 0), (1, 1), (1, 1)))
        places = [padded[:, i // 3 : i // 3 + height, i % 3 : i % 3 + width] for i in range(9)]
        nearby = np.concatenate([np.stack(places).reshape(-1, height * width), np.ones((1, height * width), np.float32)])
        both = np.concatenate([here, _unit(self.around @ nearby, self.shifts[1])])
        sums = self.told[mine] @ both + self.base[plane, mine][:, None]
        return np.clip(np.floor(sums * 2.0 ** -self.shifts[2]), 0, INDICES - 1).astype(np.uint8).ravel()


def _unit(sums: np.ndarray, shift: int) -> np.ndarray:
    return np.clip(np.floor(sums * np.float32(2.0**-shift)), 0, BRIGHTEST)


@lru_cache(maxsize=PLANES)
def _features(plane: int) -> np.ndarray:
    """Of values from -LARGEST to LARGEST."""
    return FEATURES[np.minimum(np.abs(np.arange(-LARGEST, LARGEST + 1)) // BASE**plane, 40)]


# The digits of a plane of some elements, for an encoder; None where the passes shall end.
Truth = Callable[[int, np.ndarray], np.ndarray | None]


def tell(known: Known, tables: Tables, code: Coder, truth: Truth | None = None) -> Iterator[Told]:
    """The passes, of which `known` is told. A pass that is cut is the last.

    Encoding and decoding are both driven by this, so they cannot drift apart.
    """
    for plane in known.map.planes:
        elements, expected = known.map.elements[plane], tables.expected(known, plane)
        value = known.value[elements]
        kind = np.minimum(np.abs(value) // BASE ** (plane + 1), CLASSES - 1)
        rank = tables.ranks[expected, kind]
        probabilities = tables.trits[expected, kind]
        probabilities = np.where((value < 0)[:, None], probabilities[:, ::-1], probabilities) / ONE
        quiet = (expected < tables.quiet) & (kind == 0)
        for number in range(RANKS):
            mine = np.flatnonzero(rank == number)
            true = None if truth is None else truth(plane, elements[mine])
            if truth is not None and true is None:
                return
            at, digits = _pass(tables, probabilities[mine], expected[mine], quiet[mine], code, true)
            told = Told(plane, elements[mine[at]], digits, len(at) == len(mine))
            known.tell(told)
            yield told
            if not told.whole:
                return


def _pass(
    tables: Tables, probabilities: np.ndarray, expected: np.ndarray, quiet: np.ndarray, code: Coder, true: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which digits are told, and they: first those that may well change, then, by runs, those that hardly do."""
    if quiet.sum() < CROWD:
        digits = code(probabilities, true)
        return np.arange(len(digits)), digits
    digits, told = np.empty(len(quiet), np.uint8), np.zeros(len(quiet), bool)

    def tell(at: np.ndarray, first: int = 0) -> bool:
        """Code the digits of some elements, the `first` of which are known to change; whether all could be told."""
        of = probabilities[at]
        of[:first] = (0.5 - 1 / ONE, 2 / ONE, 0.5 - 1 / ONE)
        found = code(of, None if true is None else true[at])
        digits[at[: len(found)]] = found
        told[at[: len(found)]] = True
        return len(found) == len(at)

    if tell(np.flatnonzero(~quiet)):
        at = np.flatnonzero(quiet)
        at = at[np.argsort(expected[at], kind="stable")]
        rest, blocks = at[len(at) // RUN * RUN :], at[: len(at) // RUN * RUN].reshape(-1, RUN)
        changes = None if true is None else np.argmax(np.append(true[blocks] != 1, np.ones((len(blocks), 1), bool), 1), 1)
        runs = code(tables.runs[expected[blocks[:, -1]]], changes)
        place = np.arange(RUN) - runs.astype(int)[:, None]
        same = blocks[: len(runs)][place < 0]
        digits[same], told[same] = 1, True
        if len(runs) == len(blocks):
            first = blocks[place == 0]
            tell(np.concatenate([first, blocks[place > 0], rest]), len(first))
    at = np.flatnonzero(told)
    return at, digits[at]
