"""A latent as planes of digits: which pass tells what, and how probable each digit is to someone who knows the passes before.

Every element z is told by successive approximation with a dead zone: plane k, from `top - 1` of its channel down to 0, tells
|z| // 2^k. While that is 0 the digit is 0; where it becomes 1 it is 1 for a positive z and 2 for a negative one; from then
on it is the next binary digit of |z|. Channels form GROUPS groups, and the network scales group j by 2^(j / GROUPS), so
that the step falls by that fraction of an octave from pass to pass: pass n tells plane PLANES - 1 - n // GROUPS of group
n % GROUPS. Elements are numbered level by level (coarse to fine), channel by channel, in raster order.

All arithmetic is that of integers, exact in any order of summation: products of float32 matrices stay below 2^24. Nothing
here imports torch.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

PLANES, GROUPS = 8, 4
PASSES = PLANES * GROUPS
# A magnitude of a steps is seen as the feature FEATURES[min(a, 31)], about 4 log2(1 + a).
FEATURES = np.array([0, 4, 6, 8, 9, 10, 11, 12, 13, 13, 14, 14] + [15] * 20, np.float32)
LOGIT, FINE = 256, 16  # weights are in units of 1 / LOGIT; the table of probabilities has steps of 1 / FINE,
RANGE = 10 * FINE  # up to 10 each way,
ONE = 1 << 16  # and its probabilities are in units of 1 / ONE
MAX_WEIGHT = 1400

Shape = tuple[int, int, int]  # channels, rows, columns
Tops = tuple[tuple[int, ...], ...]  # planes that are told of each channel of each level


def group(level: int, channel: int) -> int:
    """The group of a channel of the latent's level (0: the coarsest)."""
    return (channel + 2 * level) % GROUPS


def plane_of(n: int) -> int:
    """The plane that pass n tells."""
    return PLANES - 1 - n // GROUPS


def planes_known(passes: int, of_group: int) -> int:
    """How many planes of a group are known after so many passes."""
    return max(0, -((of_group - passes) // GROUPS))


class Map:
    """Where the elements of a latent of given level shapes lie and what they see of each other; arrays are read-only."""

    def __init__(self, tops: Tops, shapes: tuple[Shape, ...]):
        self.shapes = shapes
        sizes = [int(np.prod(shape)) for shape in shapes]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.count = int(self.starts[-1])
        counts = [shape[0] for shape in shapes]
        self.channel = np.repeat(np.arange(sum(counts)), [s[1] * s[2] for s in shapes for _ in range(s[0])])
        self.top = np.array([top for level in tops for top in level], np.int8)[self.channel]
        groups = np.array([group(level, c) for level, count in enumerate(counts) for c in range(count)])
        told = [(groups == n % GROUPS) & (plane_of(n) < np.concatenate(tops)) for n in range(PASSES)]
        self.elements = [np.flatnonzero(t[self.channel]) for t in told]  # of each pass
        bounds = np.cumsum([0, *counts])
        self.channels = [[np.flatnonzero(t[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)] for t in told]

    @cached_property
    def around(self) -> list[np.ndarray]:
        """Of each level: the elements (9 I, h * w) in the 3x3 neighbourhood of a place, of the I channels of the level and
        the one above it; `count` where there is none. The neighbourhood runs fastest, then the level's own channels."""
        found, above = [], None
        for level, (channels, h, w) in enumerate(self.shapes):
            own = np.arange(self.starts[level], self.starts[level + 1]).reshape(channels, h, w)
            seen = own if above is None else np.concatenate([own, above.repeat(2, 1).repeat(2, 2)[:, :h, :w]])
            above = own
            padded = np.pad(seen, ((0, 0), (1, 1), (1, 1)), constant_values=self.count)
            places = [padded[:, i // 3 : i // 3 + h, i % 3 : i % 3 + w] for i in range(9)]
            found.append(np.stack(places, 1).reshape(-1, h * w))
        return found


@lru_cache(maxsize=16)
def map_of(tops: Tops, shapes: tuple[Shape, ...]) -> Map:
    """The one map of such latents."""
    return Map(tops, shapes)


class Known:
    """What has been told of a latent: `lower`, int32 (count,), signed lower bounds of |z|, and `plane`, int8 (count,).

    plane: the last plane told of each element, its channel's top for none: |z| < |lower| + 2^plane.
    passes: how many have been told, the last one perhaps in part.
    """

    def __init__(self, map: Map):
        self.map = map
        self.lower = np.zeros(map.count, np.int32)
        self.plane = map.top.copy()
        self.passes = 0.0

    def digits(self, z: np.ndarray, n: int) -> np.ndarray:
        """The digits, uint8, that pass n tells of a latent z, int32 (count,)."""
        at = self.map.elements[n]
        magnitude = np.abs(z[at]) >> plane_of(n)
        new = np.where(z[at] < 0, 2, 1) * (magnitude > 0)
        return np.where(self.lower[at] == 0, new, magnitude & 1).astype(np.uint8)

    def tell(self, n: int, digits: np.ndarray) -> None:
        """Take the digits of pass n, or the first of them."""
        at = self.map.elements[n]
        self.passes = n + (len(digits) / len(at) if len(at) else 1.0)
        at = at[: len(digits)]
        old, digits = self.lower[at], digits.astype(np.int32)
        change = np.where(old == 0, digits - 3 * (digits == 2), digits * np.sign(old))
        self.lower[at] = old + (change << plane_of(n))
        self.plane[at] = plane_of(n)

    def levels(self, values: np.ndarray) -> list[np.ndarray]:
        """Views of an array (count,) as the levels' (C, h, w)."""
        parts = np.split(values, self.map.starts[1:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.map.shapes, strict=True)]


@dataclass(frozen=True)
class Tables:
    """Static integer tables of a model: how probable a digit is.

    Of each level: weights, float32 (2, C, 9 I), integers, of the new digits' significance and sign over the features of
    `Map.around`; bias, float32 (PLANES, 2, C, 1). refinement: int32 (PLANES, 3, all C), by the digits known: 1, 2 or more.
    These are logits in units of 1 / LOGIT. probability: int64 (2 RANGE + 1,).
    """

    tops: Tops
    weights: list[np.ndarray]
    bias: list[np.ndarray]
    refinement: np.ndarray
    probability: np.ndarray

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> "Tables":
        """The tables in a weights file, which keeps them as integers under tables.NAME and tables.NAME.LEVEL."""
        levels = range(sum(name.startswith("tables.top.") for name in tensors))
        return cls(
            tuple(tuple(tensors[f"tables.top.{level}"].tolist()) for level in levels),
            [tensors[f"tables.weights.{level}"].astype(np.float32) for level in levels],
            [tensors[f"tables.bias.{level}"].astype(np.float32)[..., None] for level in levels],
            tensors["tables.refinement"].astype(np.int32),
            tensors["tables.probability"].astype(np.int64),
        )

    def _of_logits(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, in units of 1 / ONE, of integer logits."""
        steps = logits.astype(np.int32) // (LOGIT // FINE)
        return self.probability[np.minimum(np.maximum(steps, -RANGE), RANGE) + RANGE]

    def probabilities(self, known: Known, n: int) -> np.ndarray:
        """float64 (digits of pass n, 3): exact multiples of 1 / ONE that sum to 1."""
        map, k = known.map, plane_of(n)
        at = map.elements[n]
        if not len(at):
            return np.empty((0, 3))
        features = np.zeros(map.count + 1, np.float32)
        features[:-1] = FEATURES[np.minimum(np.abs(known.lower) >> k, 31)] * np.sign(known.lower)
        logits = []
        for level, channels in enumerate(map.channels[n]):
            if len(channels):
                signed = features.take(map.around[level], mode="clip")
                sums = self.weights[level][:, channels] @ np.stack([np.abs(signed), signed])
                logits.append(sums + self.bias[level][k][:, channels])
        new, positive = self._of_logits(np.concatenate([part.reshape(2, -1) for part in logits], 1))
        told = np.abs(known.lower[at]) >> (k + 1)
        more = self._of_logits(self.refinement[k][np.minimum(told, 3) - 1, map.channel[at]])
        found = np.empty((len(at), 3), np.int64)
        found[:, 1] = np.where(told > 0, more, np.maximum(1, new * positive // ONE))
        found[:, 2] = np.where(told > 0, 0, np.maximum(1, new - found[:, 1]))
        found[:, 0] = ONE - found[:, 1] - found[:, 2]
        return found / ONE


def walk(known: Known, tables: Tables) -> Generator[np.ndarray, np.ndarray, None]:
    """The passes: yields the probabilities of a pass's digits, is sent the digits, and tells `known` of them.

    Encoding and decoding are both driven by this, so they cannot drift apart.
    """
    for n in range(PASSES):
        known.tell(n, (yield tables.probabilities(known, n)))
