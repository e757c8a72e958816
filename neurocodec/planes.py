"""A latent as planes of digits: which pass tells what, and how probable each digit is to someone who knows the passes before.

Every element is a whole number z, told in balanced ternary ("trit planes": Lee et al., CVPR 2022, arXiv 2112.06334): after
plane k, from PLANES - 1 down to 0, the nearest multiple of 3^k to z is known, and a digit is the change, -1, 0 or 1 times
3^k. So what is known after any plane is what rounding to a step of 3^k gives: no other ladder that nests is as fine. Channels
form GROUPS groups, and the network scales group j by 3^(j / GROUPS), so that the step falls by that factor from pass to
pass: pass n tells plane PLANES - 1 - n // GROUPS of group n % GROUPS. Elements are numbered channel by channel, in raster
order.

All arithmetic is that of integers, exact in any order of summation: products of float32 matrices stay below 2^24. Nothing
here imports torch.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

BASE, PLANES, GROUPS = 3, 5, 6
PASSES = PLANES * GROUPS
LARGEST = (BASE**PLANES - 1) // 2  # magnitude of an element
# A magnitude of a steps is seen as the feature FEATURES[min(a, 40)], about 4 log2(1 + a).
FEATURES = np.array([0, 4, 6, 8, 9, 10, 11, 12, 13, 13, 14, 14] + [15] * 29, np.float32)
LOGIT, FINE = 256, 16  # weights are in units of 1 / LOGIT; the table of probabilities has steps of 1 / FINE,
RANGE = 10 * FINE  # up to 10 each way,
ONE = 1 << 16  # and its probabilities are in units of 1 / ONE
MAX_WEIGHT = 1400
CLASSES = 4  # of elements, by the magnitude known, in units of the plane before: 0, 1, 2, more

Shape = tuple[int, int, int]  # channels, rows, columns


def group(channel: int) -> int:
    """The group of a channel."""
    return channel % GROUPS


def plane_of(n: int) -> int:
    """The plane that pass n tells."""
    return PLANES - 1 - n // GROUPS


def planes_known(passes: int, of_group: int) -> int:
    """How many planes of a group are known after so many passes."""
    return max(0, -((of_group - passes) // GROUPS))


class Map:
    """Where the elements of a latent of a given shape lie and what they see of each other; arrays are read-only."""

    def __init__(self, tops: tuple[int, ...], shape: Shape):
        self.shape = shape
        self.count = int(np.prod(shape))
        self.channel = np.repeat(np.arange(shape[0]), shape[1] * shape[2])
        self.top = np.array(tops)[self.channel]
        channels = np.arange(shape[0])
        told = [(group(channels) == n % GROUPS) & (plane_of(n) < np.array(tops)) for n in range(PASSES)]
        self.channels = [np.flatnonzero(t) for t in told]  # of each pass
        self.elements = [np.flatnonzero(t[self.channel]) for t in told]

    @cached_property
    def around(self) -> np.ndarray:
        """The elements (9 C, h * w) in the 3x3 neighbourhood of a place, `count` where there is none.

        The neighbourhood runs fastest.
        """
        channels, h, w = self.shape
        own = np.arange(self.count).reshape(self.shape)
        padded = np.pad(own, ((0, 0), (1, 1), (1, 1)), constant_values=self.count)
        places = [padded[:, i // 3 : i // 3 + h, i % 3 : i % 3 + w] for i in range(9)]
        return np.stack(places, 1).reshape(-1, h * w)


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
        """The digits, uint8 0 .. 2 for -1 .. 1, that pass n tells of a latent z, int32 (count,)."""
        at = self.map.elements[n]
        step = BASE ** plane_of(n)
        nearest = (z[at] + step // 2) // step * step
        return ((nearest - self.value[at]) // step + 1).astype(np.uint8)

    def tell(self, n: int, digits: np.ndarray) -> None:
        """Take the digits of pass n, or the first of them."""
        at = self.map.elements[n]
        self.value[at[: len(digits)]] += (digits.astype(np.int32) - 1) * BASE ** plane_of(n)


@dataclass(frozen=True, eq=False)
class Tables:
    """Static integer tables of a model: how probable a digit is.

    weights: float32 (2, C, 9 C), integers, of a digit being other than 0, and of its being 1 then, over the features of
    `Map.around`; bias: float32 (PLANES, CLASSES, 2, C), integers. Both are logits in units of 1 / LOGIT. tops: planes that
    are told of each channel. probability: int64 (2 RANGE + 1,), of logits.

    The weights count for elements of class 0 only, of which nothing is known yet; what is known of others has a sign, and
    their bias of being 1 is that of a digit away from 0.
    """

    tops: tuple[int, ...]
    weights: np.ndarray
    bias: np.ndarray
    probability: np.ndarray

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> "Tables":
        """The tables in a weights file, which keeps them as integers under tables.NAME."""
        return cls(
            tuple(tensors["tables.top"].tolist()),
            tensors["tables.weights"].astype(np.float32),
            tensors["tables.bias"].astype(np.float32),
            tensors["tables.probability"].astype(np.int64),
        )

    def probabilities(self, known: Known, n: int) -> np.ndarray:
        """float64 (digits of pass n, 3): exact multiples of 1 / ONE that sum to 1."""
        told = _told(self, known.map, n)
        count = len(told.elements)
        if not count:
            return np.empty((0, 3))
        signed = np.zeros(known.map.count + 1, np.float32)
        told.features.take(known.value + LARGEST, out=signed[:-1], mode="clip")
        seen = signed.take(known.map.around, mode="clip")
        context = np.stack([told.weights[0] @ np.abs(seen), told.weights[1] @ seen]).reshape(2, count)
        value = known.value.take(told.elements)
        bias = told.bias.take(told.kinds.take(value + LARGEST) + np.arange(count), axis=1)
        logits = (context * (value == 0) + bias).astype(np.int32)
        changed, up = self.probability.take(np.clip(logits // (LOGIT // FINE), -RANGE, RANGE) + RANGE)
        up = np.where(value < 0, ONE - up, up)
        found = np.empty((count, 3), np.int64)
        found[:, 2] = np.maximum(1, changed * up // ONE)
        found[:, 0] = np.maximum(1, changed - found[:, 2])
        found[:, 1] = ONE - found[:, 0] - found[:, 2]
        return found / ONE


class _Told:
    """What of the tables the digits of a pass need, laid out for them."""

    def __init__(self, tables: Tables, map: Map, n: int):
        plane, values = plane_of(n), np.arange(-LARGEST, LARGEST + 1)
        magnitude = np.abs(values) // BASE**plane
        self.elements = map.elements[n]
        self.weights = np.ascontiguousarray(tables.weights[:, map.channels[n]])
        self.bias = tables.bias[plane][:, :, map.channel[self.elements]].swapaxes(0, 1).reshape(2, -1)  # class by class
        self.features = (FEATURES[np.minimum(magnitude, 40)] * np.sign(values)).astype(np.float32)  # of value + LARGEST
        self.kinds = np.minimum(magnitude // BASE, CLASSES - 1) * len(self.elements)  # where in the bias a class begins


@lru_cache(maxsize=16 * PASSES)
def _told(tables: Tables, map: Map, n: int) -> _Told:
    return _Told(tables, map, n)


def walk(known: Known, tables: Tables) -> Generator[np.ndarray, np.ndarray, None]:
    """The passes: yields the probabilities of a pass's digits, is sent the digits, and tells `known` of them.

    Encoding and decoding are both driven by this, so they cannot drift apart.
    """
    for n in range(PASSES):
        known.tell(n, (yield tables.probabilities(known, n)))
