"""A latent as planes of digits: which pass tells what, how probable each digit is, and how the digits of a pass are told.

Every element is a whole number z, told in balanced ternary ("trit planes": Lee et al., CVPR 2022, arXiv 2112.06334): after
plane k, from PLANES - 1 down to 0, the nearest multiple of 3^k to z is known, and a digit is the change, -1, 0 or 1 times
3^k. So what is known after any plane is what rounding to a step of 3^k gives: no other ladder that nests is as fine. Channels
form GROUPS groups, and the network scales group j by 3^(j / GROUPS), so that the step falls by that factor from rung to
rung: rung n tells plane PLANES - 1 - n // GROUPS of group n % GROUPS. A model's passes are the rungs that tell anything of
its channels. Elements are numbered channel by channel, in raster order.

All arithmetic is that of integers, exact in any order of summation: products of float32 matrices stay below 2^24. Nothing
here imports torch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

BASE, PLANES, GROUPS = 3, 7, 6
RUNGS = PLANES * GROUPS
LARGEST = (BASE**PLANES - 1) // 2  # magnitude of an element
UNKNOWN = 3  # a digit that was not told; others are 0, 1 and 2 for -1, 0 and 1
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


def group(channel: int) -> int:
    """The group of a channel."""
    return channel % GROUPS


def plane_of(n: int) -> int:
    """The plane that rung n tells."""
    return PLANES - 1 - n // GROUPS


def planes_known(rungs: int, of_group: int) -> int:
    """How many planes of a group are known after so many rungs."""
    return max(0, -((of_group - rungs) // GROUPS))


class Map:
    """Where the elements of a latent of a given shape lie; arrays are read-only."""

    def __init__(self, tops: tuple[int, ...], shape: Shape):
        self.shape = shape
        self.count = int(np.prod(shape))
        self.top = np.repeat(np.array(tops), shape[1] * shape[2])
        channels = np.arange(shape[0])
        told = [(group(channels) == n % GROUPS) & (plane_of(n) < np.array(tops)) for n in range(RUNGS)]
        self.channels = [np.flatnonzero(t) for t in told]  # of each rung
        self.elements = [
            (c[:, None] * (shape[1] * shape[2]) + np.arange(shape[1] * shape[2])).ravel() for c in self.channels
        ]
        self.rungs = [n for n in range(RUNGS) if len(self.channels[n])]  # of each pass


@lru_cache(maxsize=16)
def map_of(tops: tuple[int, ...], shape: Shape) -> Map:
    """The one map of such latents."""
    return Map(tops, shape)


class Known:
    """What has been told of a latent: `value`, int32 (count,), multiples of 3^plane, where plane is the last one told."""

    def __init__(self, map: Map):
        self.map = map
        self.value = np.zeros(map.count, np.int32)

    def digits(self, z: np.ndarray, n: int) -> np.ndarray:
        """The digits, uint8, that rung n tells of a latent z, int32 (count,)."""
        at = self.map.elements[n]
        step = BASE ** plane_of(n)
        nearest = (z[at] + step // 2) // step * step
        return ((nearest - self.value[at]) // step + 1).astype(np.uint8)

    def tell(self, n: int, digits: np.ndarray) -> None:
        """Take the digits of rung n, uint8; those that are UNKNOWN change nothing."""
        change = np.array([-1, 0, 1, 0], np.int32) * BASE ** plane_of(n)
        self.value[self.map.elements[n]] += change[digits]


@dataclass(frozen=True, eq=False)
class Tables:
    """A model's integers, from which follows how probable a digit is: a small network, and counts for what it expects.

    All float32 of whole numbers but the last two. tops: planes that are told of each channel. across: (H, C), from features
    to hidden units; level: (RUNGS, H), their biases; around: (H, 9 H + 1), from the hidden units of a 3x3 neighbourhood,
    which runs slowest, to others, with a bias; told: (C, 2 H), from both; base: (PLANES, C), biases. shifts: powers of two
    by which the three sums are divided. trits: int64 (INDICES, CLASSES, 3), of digits towards -, 0 and + for elements that
    are not negative, in units of 1 / ONE.
    """

    tops: tuple[int, ...]
    across: np.ndarray
    level: np.ndarray
    around: np.ndarray
    told: np.ndarray
    base: np.ndarray
    shifts: tuple[int, int, int]
    trits: np.ndarray

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> "Tables":
        """The tables in a weights file, which keeps them as integers under tables.NAME."""
        whole = {name: tensors[f"tables.{name}"] for name in ("across", "level", "around", "told", "base")}
        return cls(
            tops=tuple(tensors["tables.tops"].tolist()),
            shifts=tuple(tensors["tables.shifts"].tolist()),
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

    def expected(self, known: Known, n: int) -> np.ndarray:
        """Indices, uint8 (digits of rung n,), of the magnitudes that elements are expected to have."""
        channels, height, width = known.map.shape
        plane, mine = plane_of(n), known.map.channels[n]
        seen = _features(plane).take(known.value + LARGEST).reshape(channels, -1)
        here = _unit(self.across @ seen + self.level[n][:, None], self.shifts[0])
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


def tell(known: Known, tables: Tables, code: Coder, truth: Iterable[np.ndarray] | None = None) -> Iterator[np.ndarray]:
    """The passes: their digits, uint8, of which `known` is told. A pass that is cut lacks some, and is the last.

    truth: the digits that an encoder is given; it ends with them. Encoding and decoding are both driven by this, so they
    cannot drift apart.
    """
    source = None if truth is None else iter(truth)
    for n in known.map.rungs:
        true = None if source is None else next(source, None)
        if source is not None and true is None:
            return
        digits = _pass(known, tables, n, code, true)
        known.tell(n, digits)
        yield digits
        if (digits == UNKNOWN).any():
            return


def _pass(known: Known, tables: Tables, n: int, code: Coder, true: np.ndarray | None) -> np.ndarray:
    """The digits of rung n: first of elements that may well change, then, by runs, of those that hardly do."""
    expected = tables.expected(known, n)
    value = known.value[known.map.elements[n]]
    kind = np.minimum(np.abs(value) // BASE ** (plane_of(n) + 1), CLASSES - 1)
    quiet = (expected < tables.quiet) & (kind == 0)
    if quiet.sum() < CROWD:
        quiet[:] = False
    digits = np.full(len(value), UNKNOWN, np.uint8)

    def tell(at: np.ndarray, first: int = 0) -> bool:
        """Code the digits of some elements, the `first` of which are known to change; whether all could be told."""
        probabilities = tables.trits[expected[at], kind[at]]
        probabilities = np.where((value[at] < 0)[:, None], probabilities[:, ::-1], probabilities)
        probabilities[:first] = (ONE // 2 - 1, 2, ONE // 2 - 1)
        found = code(probabilities / ONE, None if true is None else true[at])
        digits[at[: len(found)]] = found
        return len(found) == len(at)

    if not tell(np.flatnonzero(~quiet)) or not quiet.any():
        return digits
    at = np.flatnonzero(quiet)
    at = at[np.argsort(expected[at], kind="stable")]
    rest, blocks = at[len(at) // RUN * RUN :], at[: len(at) // RUN * RUN].reshape(-1, RUN)
    changes = None if true is None else np.argmax(np.append(true[blocks] != 1, np.ones((len(blocks), 1), bool), 1), 1)
    runs = code(tables.runs[expected[blocks[:, -1]]], changes)
    place = np.arange(RUN) - runs.astype(int)[:, None]
    digits[blocks[: len(runs)][place < 0]] = 1
    if len(runs) == len(blocks):
        first = blocks[place == 0]
        tell(np.concatenate([first, blocks[place > 0], rest]), len(first))
    return digits
