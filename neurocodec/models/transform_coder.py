"""A transform codec whose latent is binarized plane by plane; `preview` and `photo` are of this kind.

    x --> 3x3 convolutions at 1/u -> 1/2u -> 1/4u of the size --> z, C numbers per 4u x 4u pixels --> planes of digits
      '-> linear transform of 4u x 4u pixels ---------------^
    y <-- convolutions at 1/u <- 1/2u <- 1/4u of the size <----------------- z known to some plane
      ^-- linear transform to 4u x 4u pixels <-----------------------------------'

The founding paper (arXiv 1511.06085, section 3) binarizes a tanh unit into one bit, and its network learns what the bits of
later passes shall mean. Here a latent is a number of which each pass tells some channels to one digit more
(`neurocodec/planes.py`): the digits are successive approximations by construction, they may be entropy-coded, and one
network serves all rates. It is trained at a random number of passes per picture, so that every prefix decodes well.

Of channels whose neighbouring elements are alike, the leading ones, means and differences of these are told (`models/pyramid.py`).

The linear transforms start as the Karhunen-Loeve transform of training pictures and its inverse, and the convolutions start
by adding nothing: the untrained network is a transform coder, and training starts from there.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError
from neurocodec.models import pyramid as haar
from neurocodec.models.blocks import block as block_named
from neurocodec.models.film import FiLM
from neurocodec.models.near import NearConv
from neurocodec.models.patches import shuffled, unshuffled
from neurocodec.models.pointwise import Pointwise
from neurocodec.models.upsampling import upsampler
from neurocodec.models.winograd import Conv3x3
from neurocodec.tables import BASE, BRIGHTEST, BUSY, CLASSES, HALF, INDICES, RANKS, UNTOLD

LOGISTIC = 3**0.5 / torch.pi  # scale of a logistic distribution of unit variance
PACE = 3.0  # how much faster than other parameters a prior's scales shall move
BRIGHT = 16  # whole numbers to the unit of a prior's hidden layers
PER_OCTAVE, MIDDLE = 8, 40  # indices of expected magnitudes: to a factor of two, and where it is one step
_WORTH_IT = 1.3  # passes that a second step must be able to wait, or all is told at once
_REFINING = 2 / 3 / math.log2(3)  # squares of a step by which a bit lessens the squared error of what is spread evenly


def logistic(index: Tensor, kind: Tensor) -> Tensor:
    """Probabilities (..., 3) of digits -1, 0, 1 of elements known to be about 3 `kind` steps, of an expected magnitude."""
    ratio = 2.0 ** ((index + 0.5 - MIDDLE) / PER_OCTAVE)
    edges = 3 * kind[..., None] + torch.tensor([-1.5, -0.5, 0.5, 1.5])
    mass = torch.sigmoid(edges / ratio[..., None]).diff(dim=-1).clamp_min(1e-6)
    return mass / mass.sum(-1, keepdim=True)


class Order(NamedTuple):
    """When in its plane a digit shall be told, each (INDICES, CLASSES).

    first: from 0 to below 1, when it is told, or whether it is the one that is set apart; rest: when, if it is another, it is told
    which; as `first` where all is told at once. apart: the digit that is set apart, 0 or 2.
    """

    first: Tensor
    rest: Tensor
    apart: Tensor


def order(halves: bool = False) -> Order:
    """By how much what is told lessens the squared error for each of its bits; a plane later the same takes a ninth of it.

    halves: whether digits are told in two steps where the second does so much less for its bits that it can wait for a later pass:
    a third of an interval that is set apart leaves two.
    """
    index, kind = torch.arange(INDICES)[:, None, None], torch.arange(CLASSES)[None, :, None]
    away = torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64)
    z = 3 * kind + away
    ratio = 2.0 ** ((index + 0.5 - MIDDLE) / PER_OCTAVE)
    density = torch.softmax(F.logsigmoid(z / ratio) + F.logsigmoid(-z / ratio), -1)
    p = logistic(index[..., 0], kind[..., 0]).double()

    def when(less: Tensor, bits: Tensor) -> Tensor:
        return (torch.log(_REFINING * bits / less.clamp_min(1e-9)) / math.log(BASE**2)).clamp(0, 0.999).float()

    whole = when((density * (away**2 - (z - z.round()) ** 2)).sum(-1), _entropy(p))
    if not halves:
        return Order(whole, whole, torch.zeros_like(whole, dtype=torch.long))
    digit = away.round().clamp(-1, 1)

    def error(of: Tensor) -> Tensor:  # of the elements with these digits, their mean being known
        mine = density * of
        mass, mean = mine.sum(-1), (mine * away).sum(-1)
        return (mine * away**2).sum(-1) - mean**2 / mass.clamp_min(1e-30)

    before, each = error(torch.ones_like(away)), [error(digit == d) for d in (-1, 0, 1)]
    parts = []
    for apart, left in ((0, (1, 2)), (2, (0, 1))):
        between, chance = error(digit != apart - 1), 1 - p[..., apart]
        first = when(before - each[apart] - between, _entropy(torch.stack([p[..., apart], chance], -1)))
        second = _entropy(p[..., left] / chance[..., None]) * chance
        parts.append((first, when(between - each[left[0]] - each[left[1]], second)))
    lower = parts[0][0] <= parts[1][0]
    first, rest = (torch.where(lower, *of) for of in zip(*parts, strict=True))
    quiet = (kind[..., 0] == 0) & (p[..., 1] > 1 - 1 / BUSY)
    at_once = quiet | (rest - first < _WORTH_IT / RANKS)
    return Order(torch.where(at_once, whole, first), torch.where(at_once, whole, rest), torch.where(lower, 0, 2))


def _entropy(p: Tensor) -> Tensor:
    """Bits of what has probabilities (..., n)."""
    return -(p * torch.log2(p)).sum(-1)


def centroids(apart: Tensor) -> Tensor:
    """Where elements are expected, in steps: (INDICES, CLASSES, 5).

    That is the mean of the part of a logistic distribution which digits -1, 0 and 1 leave, from its middle on, and, from the middle
    of what was known on, of all three and of the two that are not set `apart`, (INDICES, CLASSES).
    """
    index, kind = torch.arange(INDICES)[:, None, None, None], torch.arange(CLASSES)[None, :, None, None]
    known = 3 * kind + torch.tensor([-1, 0, 1, 0, 0])[:, None]
    middle = torch.zeros(*apart.shape, 5, 1, dtype=torch.float64)
    middle[:, :, 4, 0] = (1 - apart) / 2
    half = torch.tensor([0.5, 0.5, 0.5, 1.5, 1.0], dtype=torch.float64)
    away = middle + half[:, None] * torch.linspace(-1, 1, 2001, dtype=torch.float64)
    z = (known + away) / 2.0 ** ((index + 0.5 - MIDDLE) / PER_OCTAVE)
    return (torch.softmax(F.logsigmoid(z) + F.logsigmoid(-z), -1) * away).sum(-1).float()


class Prior(nn.Module):
    """How latents are distributed: each element logistically, about 0.

    The scale is that of the channel, corrected by what is known one plane before, across channels and around. The entropy
    coder's tables are made of this (`train/contexts.py`).
    """

    def __init__(self, scale: Tensor, centred: bool = False, pyramid: int = 0, halves: bool = False, hidden: int = 48):
        """scale: of each channel at first, (C,); centred: whether decoders take elements for where they are expected.

        pyramid: leading channels whose elements are distributed by their place in a pyramid. halves: whether digits are told in
        two steps where that pays, of elements that are `centred`.
        """
        super().__init__()
        self.scale = nn.Parameter(scale.log() / PACE)
        self.across = Pointwise(len(scale) + 1, hidden)
        self.around = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.told = Pointwise(2 * hidden, len(scale))
        # Of hidden units, and of the pyramid's channels what is added to `scale`.
        self.phases = nn.Parameter(torch.zeros(1, hidden + pyramid, haar.GRID, haar.GRID)) if pyramid else None
        first, rest, apart = order(halves)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("rest", rest, persistent=False)
        self.register_buffer("apart", apart if halves else None, persistent=False)
        self.register_buffer("centroids", centroids(apart) if centred else None, persistent=False)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    @staticmethod
    def level(step: Tensor) -> Tensor:
        """What the correction sees of a step."""
        return torch.log2(step) / 4

    @torch.no_grad()
    def decoded(self, z: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of latents (N, C, h, w) after all but so many planes, depth: (N, 1, 1, 1), all (N, C, h, w):

        the width of the interval in which each element is known to be, its middle, and what a decoder takes the element for, but for
        means of a pyramid of which nothing is told (`planes.Known.centroids`).
        """
        plane = depth.floor()
        step, when = BASE**plane, 1 - (depth - plane)
        known = _nearest(z, BASE * step)
        index = (MIDDLE - PER_OCTAVE * torch.log2(self._rate(known, step) * step)).long().clamp(0, INDICES - 1)
        kind = (known.abs() / (BASE * step)).round().clamp_max(CLASSES - 1).long()
        told = self.first[index, kind] < when
        side = torch.where(known < 0, -step, step)
        change = torch.where(told, (z / step).round() * step - known, 0)
        steps = torch.where(told, step, BASE * step)
        digit = torch.where(told, (change / side).round().clamp(-1, 1) + 1, UNTOLD).long()
        away = torch.zeros_like(z)
        if self.apart is not None:
            apart = self.apart[index, kind]
            half = told & (self.rest[index, kind] >= when) & (digit != apart)
            steps = torch.where(half, 2 * step, steps)
            digit = torch.where(half, HALF, digit)
            change = torch.where(half, 0, change)
            away = half * (1 - apart) * side / 2
        value = known + change
        middle = value + away
        return steps, middle, middle if self.centroids is None else value + side * self.centroids[index, kind, digit]

    def forward(self, z: Tensor, steps: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Bits of each picture, (N,), for intervals of width `steps` around z + noise, all (N, C, h, w).

        Of each picture these are one to three steps of one plane wide; where they are two, z is in the middle, or there is noise.
        """
        last = BASE ** torch.floor(torch.log2(steps.amin((1, 2, 3), keepdim=True)) / math.log2(BASE) + 0.1)
        told = steps < BASE * last
        known = [z + noise, *(_nearest(z, BASE**i * last) for i in (1, 2))]
        known[1] = torch.where(told, known[1], z + noise)
        nats = -_log_mass(known[2], BASE**2 * last, torch.exp(-PACE * self._placed(*z.shape[2:])[1]))
        for i, width, of in ((1, BASE * last, 1), (0, steps, told)):
            rate = self._rate(_nearest(z, BASE ** (i + 1) * last), BASE**i * last)
            more = _log_mass(known[i + 1], BASE ** (i + 1) * last, rate) - _log_mass(known[i], width, rate)
            nats = nats + F.relu(more) * of
        return nats.sum((1, 2, 3)) / math.log(2)

    def _rate(self, known: Tensor, step: Tensor) -> Tensor:
        """1 / scale of each element, (N, C, h, w), of which so much is known, where intervals of width `step` are next."""
        level = self.level(step).expand(-1, -1, *known.shape[2:])
        units, scale = self._placed(*known.shape[2:])
        here = self.across(torch.cat([torch.log2(1 + known.abs() / step), level], 1)) + units
        here = here.clamp(0, BRIGHTEST / BRIGHT)
        around = self.around(here).clamp(0, BRIGHTEST / BRIGHT)
        return torch.exp(-PACE * scale - self.told(torch.cat([here, around], 1)))

    def _placed(self, height: int, width: int) -> tuple[Tensor | float, Tensor]:
        """What is added to hidden units at each place, and `scale` there: (1, H, h, w) and (1, C, h, w), or 0 and (C, 1, 1)."""
        scale = self.scale[:, None, None]
        if self.phases is None:
            return 0.0, scale
        places = self.phases.tile(-(-height // haar.GRID), -(-width // haar.GRID))[:, :, :height, :width]
        units, first = places.split([len(self.around.weight), places.shape[1] - len(self.around.weight)], 1)
        return units, scale + F.pad(first, (0, 0, 0, 0, 0, len(scale) - first.shape[1]))


def _nearest(z: Tensor, step: Tensor) -> Tensor:
    """The nearest multiples of steps, with the gradient of z."""
    return z + (torch.round(z / step) * step - z).detach()


def _log_mass(z: Tensor, width: Tensor, rate: Tensor) -> Tensor:
    """Logarithm of a logistic distribution's mass in intervals around z."""
    far, half = z.abs() * rate, 0.5 * width * rate
    return F.logsigmoid(half - far) + F.logsigmoid(half + far) + torch.log(-torch.expm1(-2 * half))


class TransformCoder(nn.Module):
    """The network as a codec sees it: `analysis_transform` and `synthesis_transform`. Latent: (N, C, H/stride, W/stride).

    A subclass says how many pixels, each way, the convolutions first take as one (`unshuffle`), and to which step of an
    orthonormal transform's coefficients an untrained network is told at last (`finest`).
    """

    linear_parts: ClassVar[tuple[str, ...]] = ("analysis", "synthesis")  # parameters that start well
    encoder_parts: ClassVar[tuple[str, ...]] = ("down", "to_latent", "analysis")  # parameters of the analysis transform
    plain_parts: ClassVar[tuple[str, ...]] = ("prior", "synthesis", "film")  # parts that coders do not run packed
    unshuffle: int
    stride: int  # 4 * unshuffle
    finest: float
    of_photos: bool  # or else of thumbnails

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        block: str | Sequence[str],
        up: str = "depth-to-space",
        film: bool = False,
        centred: bool = False,
        pyramid: int = 0,
        halves: bool = False,
        analysis_blocks: Sequence[int] | None = None,
        contexts: int = 48,
        near: int = 0,
        inner: Sequence[int] | None = None,
        analysis_inner: Sequence[int] | None = None,
        last: int = 0,
    ):
        """channels: of the latent; widths: of the maps at 1/u, 1/2u and 1/4u; blocks: how many there, each way.

        analysis_blocks: how many in the analysis transform, if others; contexts: hidden units of the prior. Of the synthesis,
        near: leading channels of which its first convolution sees the places around, if not all; inner: channels within its bottlenecks,
        of each of the maps, if not half; last: channels that its last 3x3 convolution sees, if fewer than the map's. analysis_inner:
        channels within the analysis transform's bottlenecks.
        block: their name in `BLOCKS`, or one for each of the maps; up: the name of an upsampler; film: whether the synthesis is
        told how many planes are known; centred: whether it is shown elements where they are expected, or in the middle of what is
        known of them; pyramid: how many leading channels are told as a pyramid; halves: whether digits that do much are told in two
        steps, which takes `centred`. Raises NeurocodecError for names that are not there, and for what does not go together.
        """
        super().__init__()
        names = (block,) * 3 if isinstance(block, str) else tuple(block)
        if halves and not centred:
            raise NeurocodecError("halves = true takes centred = true")
        if not 0 <= near < channels:
            raise NeurocodecError("near is a number of channels of the latent, fewer than all")
        if (inner or analysis_inner) and set(names) != {"bottleneck"}:
            raise NeurocodecError("inner takes bottlenecks")
        self.config: dict[str, Any] = {
            "channels": channels, "widths": tuple(widths), "blocks": tuple(blocks), "block": names, "up": up, "film": film,
            "centred": centred, "pyramid": pyramid, "halves": halves,
            "analysis_blocks": tuple(blocks if analysis_blocks is None else analysis_blocks), "contexts": contexts,
            "near": near, "inner": inner and tuple(inner), "analysis_inner": analysis_inner and tuple(analysis_inner), "last": last,
        }  # fmt: skip
        kinds, larger = [block_named(name) for name in names], upsampler(up)
        samples, patch = 3 * self.unshuffle**2, 3 * self.stride**2
        self.prior = Prior(torch.ones(channels), centred, pyramid, halves, contexts)

        def residual(counts: Sequence[int], inner: Sequence[int] | None) -> nn.ModuleList:
            made = zip(counts, kinds, widths, *([inner] if inner else []), strict=True)
            return nn.ModuleList(nn.Sequential(*(kind(*sizes) for _ in range(count))) for count, kind, *sizes in made)

        self.analysis = Pointwise(patch, channels)
        self.synthesis = Pointwise(channels, patch)
        self.down = nn.ModuleList(
            (
                nn.Conv2d(samples, widths[0], 3, padding=1),
                nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1),
                nn.Conv2d(widths[1], widths[2], 3, stride=2, padding=1),
            )
        )
        self.down_blocks = residual(self.config["analysis_blocks"], analysis_inner)
        self.to_latent = Pointwise(widths[2], channels)
        self.from_latent = NearConv(channels, widths[2], near) if near else Conv3x3(channels, widths[2])
        self.up_blocks = residual(blocks, inner)
        self.up = nn.ModuleList((larger(widths[1], widths[0]), larger(widths[2], widths[1])))
        self.to_pixels = nn.Conv2d(last or widths[0], samples, 3, padding=1)
        self.to_last = Pointwise(widths[0], last) if last else nn.Identity()
        # Of the three maps, and of the latent as the convolutions and as the linear transform see it.
        self.film = nn.ModuleList(FiLM(count) for count in (*widths, channels, channels)) if film else None

    @property
    def grid(self) -> int:
        """Pixels, each way, at whose multiples a part of a picture must begin to become that part of its latent."""
        return self.stride * (haar.GRID if self.config["pyramid"] else 1)

    @property
    def analysis_reach(self) -> int | None:
        """Pixels to each side that the analysis transform looks at, at most; a multiple of the grid. None: at all of them."""
        return self._reach(self.config["analysis_blocks"], [1, 1, 2])

    @property
    def synthesis_reach(self) -> int | None:
        """The same of the synthesis transform."""
        up = upsampler(self.config["up"]).reach
        return self._reach(self.config["blocks"], [1, 2 * up, 4 * (up + 1)])

    def _reach(self, blocks: Sequence[int], between: Sequence[int]) -> int | None:
        """between: of the convolutions around the blocks of each map, in places of the largest."""
        pixels = 0
        for level, (name, count) in enumerate(zip(self.config["block"], blocks, strict=True)):
            places = block_named(name).reach if count else 0
            if places is None:
                return None
            pixels += self.unshuffle * (between[level] + 2**level * count * places)
        return -(-pixels // self.grid) * self.grid

    @classmethod
    def start(cls, pictures: list[Tensor], **config: Any) -> Self:
        """An untrained network that is a transform coder of such pictures, float32 (N, 3, H, W) in [0, 1]."""
        net = cls(**config)
        patches = F.pixel_unshuffle(pictures[-1 if cls.of_photos else 0] - 0.5, cls.stride).permute(0, 2, 3, 1).flatten(0, 2)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        largest = torch.arange(len(values) - 1, len(values) - 1 - net.config["channels"], -1)
        basis, deviation = vectors[:, largest], values[largest].clamp_min(1e-9).sqrt() / cls.finest
        with torch.no_grad():
            net.analysis.weight.copy_(basis.T / cls.finest)
            net.synthesis.weight.copy_(basis * cls.finest)
            for part in net.from_latent.parameters():
                if part.ndim > 1:
                    part.div_(deviation.max())
            net.prior.scale.add_((LOGISTIC * deviation).log() / PACE)
            for part in (net.analysis.bias, net.synthesis.bias, *net.to_latent.parameters(), *net.to_pixels.parameters()):
                part.zero_()
        return net

    def analysis_transform(self, x: Tensor) -> Tensor:
        """Latent of pictures (N, 3, H, W) in [0, 1], H and W multiples of the stride, in units of the finest step."""
        x = x - 0.5
        f = unshuffled(x, self.unshuffle)
        for down, blocks in zip(self.down, self.down_blocks, strict=True):
            f = blocks(down(f))
        return self._first(haar.split, self.to_latent(f) + self.analysis(unshuffled(x, self.stride)))

    def synthesis_transform(self, z: Tensor, depth: Tensor | float = 0.0) -> Tensor:
        """Pictures (N, 3, H, W), about [0, 1], not clipped, of latents of which all but `depth` planes, (N,), are known."""
        depth = torch.as_tensor(depth, dtype=torch.float32, device=z.device).expand(len(z))
        z = self._first(haar.join, z)

        def told(f: Tensor, number: int) -> Tensor:
            return f if self.film is None else self.film[number](f, depth)

        seen = told(z, 3).contiguous(memory_format=torch.channels_last)
        f = self.from_latent(seen)
        lost = seen[:, :1] - seen[:, :1].to(f.dtype)  # of brightness, which is larger than bfloat16 tells whole numbers apart
        leading = self.from_latent.near if isinstance(self.from_latent, NearConv) else self.from_latent
        f = told(f + F.conv2d(lost, leading.weight[:, :1], padding=1), 2)
        for level in (2, 1):
            f = told(self.up[level - 1](self.up_blocks[level](f)), level - 1)
        y = shuffled(self.to_pixels(self.to_last(self.up_blocks[0](f))), self.unshuffle)
        with torch.autocast("cuda" if z.is_cuda else "cpu", enabled=False):  # in bfloat16, coarser than a picture's levels
            return shuffled(self.synthesis(told(z.float(), 4)), self.stride).add_(y).add_(0.5)

    def _first(self, transform: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        """The latent, its leading channels transformed."""
        if not (count := self.config["pyramid"]):
            return z
        z = torch.cat([transform(z[:, :count].float()), z[:, count:].float()], 1)
        return z.contiguous(memory_format=torch.channels_last)
