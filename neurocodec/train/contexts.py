"""Makes the integer tables of `tables.Tables` of a trained network's prior: trained on digits, rounded, and counted."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.pyramid import GRID
from neurocodec.models.transform_coder import BRIGHT, MIDDLE, PACE, PER_OCTAVE, Prior, logistic
from neurocodec.tables import (
    BASE,
    BRIGHTEST,
    CENTROID_SHIFT,
    CLASSES,
    FEATURES,
    HALF,
    INDICES,
    LARGEST,
    MAP_SHIFT,
    ONE,
    PLANES,
    RANKS,
    UNTOLD,
)

_BATCH_ELEMENTS, _RATE = 1 << 18, 2e-3
_WEIGHT = 127
_PRIOR_COUNT = 16.0  # digits of the logistic distribution that are added to those counted
_FEATURES = torch.from_numpy(FEATURES).float()


@torch.no_grad()
def latents(net: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """Whole numbers of the finest step, int32 (N, C, h, w); batches: (n, 3, H, W) in [0, 1]."""
    parts = [net.analysis_transform(x).round().int().cpu() for x in batches]
    return torch.cat(parts).clamp(-LARGEST, LARGEST)


def fit(prior: Prior, z: Tensor, steps: int, tops: Tensor | None = None, maps: int = 0, seed: int = 0) -> dict[str, Tensor]:
    """Tensors that `Tables.read` reads, fitted to latents in `steps` steps on random planes of random pictures.

    tops: planes of each channel, int (C,), if not just those that the latents need. maps: how many to make of what is the same in
    all these pictures, which are of one size, place by place.
    """
    torch.manual_seed(seed)
    if tops is None:
        tops = planes_needed(z)
    expected = Expected(prior, tops, torch.randn(maps, *z.shape[2:]) / 10)
    optimizer = torch.optim.Adam(expected.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.1)
    batch, planes = max(1, _BATCH_ELEMENTS // z[0].numel()), int(tops.max())
    for _ in range(steps):
        some = z[torch.randint(len(z), (min(batch, len(z)),))]
        index, kind, digit = expected(some, int(torch.randint(planes, ())))
        loss = -torch.log(logistic(index, kind).gather(-1, digit[..., None] + 1)).sum() / len(some)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    counts = _PRIOR_COUNT * logistic(torch.arange(INDICES)[:, None], torch.arange(CLASSES)[None])
    with torch.no_grad():
        for some in z.split(batch):
            for plane in range(planes):
                index, kind, digit = expected(some, plane)
                places = ((index.long() * CLASSES + kind) * 3 + digit + 1).flatten()
                counts += torch.bincount(places, minlength=counts.numel()).view(counts.shape)
    counts[:, 0] = (counts[:, 0] + counts[:, 0].flip(-1)) / 2  # what is 0 has no side
    tables = {
        "tables.tops": tops.to(torch.int16),
        "tables.ranks": (prior.first * RANKS).to(torch.uint8),
        "tables.trits": _whole_of_one(counts),
    }
    if prior.apart is not None:
        tables |= {"tables.rests": (prior.rest * RANKS).to(torch.uint8), "tables.apart": prior.apart.to(torch.uint8)}
    if prior.phases is not None:
        tables["tables.turns"] = turns()
    if prior.centroids is not None:
        columns = UNTOLD + 1 if prior.apart is None else HALF + 1
        tables["tables.centroids"] = (prior.centroids[..., :columns] * 2**CENTROID_SHIFT).round().to(torch.int16)
    return tables | expected.whole()


class Expected(nn.Module):
    """`Tables.keys` in floating point, rounded as that is, with gradients."""

    def __init__(self, prior: Prior, tops: Tensor, maps: Tensor):
        """maps: float (R, h, w) to start from."""
        super().__init__()
        self.tops, channels = tops, len(tops)
        across, around, told = prior.across.weight.detach(), prior.around.weight.detach(), prior.told.weight.detach()
        log2_scale = (PACE * prior.scale.detach() + prior.told.bias.detach()) / torch.log(torch.tensor(2.0))
        step = float(BASE) ** torch.arange(PLANES)
        self.across = nn.Parameter(across[:, :channels].clone())
        self.level = nn.Parameter(prior.across.bias.detach() + prior.level(step)[:, None] * across[:, channels])
        self.around = nn.Parameter(around.permute(0, 2, 3, 1).flatten(1))  # neighbourhood slowest
        self.nearby = nn.Parameter(prior.around.bias.detach().clone())
        self.told = nn.Parameter(told / torch.log(torch.tensor(2.0)))
        self.base = nn.Parameter(log2_scale - torch.log2(step)[:, None])
        self.phases = None
        if prior.phases is not None:
            of_units, of_first = prior.phases[0].detach().split([len(across), prior.phases.shape[1] - len(across)])
            self.phases = nn.Parameter(torch.cat([of_units, PACE * of_first / torch.log(torch.tensor(2.0))]))
        self.maps = nn.Parameter(maps)
        self.shares = nn.Parameter(torch.zeros(len(across) + channels, len(maps)))
        largest = [w.abs().max() for w in (self.across, self.around, self.told)]
        self.fine = [int(torch.floor(torch.log2(_WEIGHT / m)).clamp(2, 10)) for m in largest]

    def forward(self, z: Tensor, plane: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of a plane of latents: indices, float, kinds, and digits, away from 0 where that has a side."""
        told, whole = (self.tops > plane).nonzero()[:, 0], self._integers()
        value = nearest(z, BASE ** (plane + 1))
        size = _FEATURES[torch.div(value.abs(), BASE**plane, rounding_mode="floor").clamp_max(40).long()]
        places = _floor(torch.einsum("kr,ryx->kyx", whole["shares"], whole["maps"]) * 2.0**-MAP_SHIFT)
        of_units, of_channels = places.split([len(self.across), len(self.told)])
        if self.phases is not None:
            height, width = z.shape[2:]
            phases = whole["phases"].tile(-(-height // GRID), -(-width // GRID))[:, :height, :width]
            of_phases, of_first = phases.split([len(self.across), len(phases) - len(self.across)])
            of_units = of_units + of_phases
            of_channels = of_channels + F.pad(of_first, (0, 0, 0, 0, 0, len(self.told) - len(of_first)))
        here = torch.einsum("hc,ncyx->nhyx", whole["across"], size) + whole["level"][plane][:, None, None] + of_units
        here = _floor(here * 2.0 ** -whole["shifts"][0]).clamp(0, BRIGHTEST)
        kernel = whole["around"].view(len(self.around), 3, 3, -1).permute(0, 3, 1, 2)
        nearby = _floor(F.conv2d(here, kernel, whole["nearby"], padding=1) * 2.0 ** -whole["shifts"][1]).clamp(0, BRIGHTEST)
        both = torch.cat([here, nearby], 1)
        index = torch.einsum("ch,nhyx->ncyx", whole["told"][told], both) + (
            whole["base"][plane, told][:, None, None] + of_channels[told]
        )
        index = _floor(index * 2.0 ** -whole["shifts"][2])
        index = index + (index.clamp(0, INDICES - 1) - index).detach()
        mine = value[:, told]
        digit = torch.div(nearest(z[:, told], BASE**plane) - mine, BASE**plane, rounding_mode="floor")
        kind = torch.div(mine.abs(), BASE ** (plane + 1), rounding_mode="floor").clamp_max(CLASSES - 1)
        return index, kind.long(), torch.where(mine < 0, -digit, digit).long()

    def _integers(self) -> dict:
        """The parameters as whole numbers, float32."""
        f = self.fine
        sizes, scales = [len(self.across), len(self.told)], (4 * 2.0 ** f[0], PER_OCTAVE * 2.0 ** (f[2] + 1))
        whole = {
            "across": _round(self.across, 2.0 ** f[0], _WEIGHT),
            "level": _round(self.level, 4 * 2.0 ** f[0]),
            "around": _round(self.around, 2.0 ** f[1], _WEIGHT),
            "nearby": _round(self.nearby, BRIGHT * 2.0 ** f[1]),
            "told": _round(self.told, 2.0 ** f[2], _WEIGHT),
            "base": _round(self.base * PER_OCTAVE + MIDDLE, 2.0 ** (f[2] + 1)),
            "maps": _round(self.maps, 2.0**MAP_SHIFT, _WEIGHT),
            "shares": torch.cat([_round(of, scale) for of, scale in zip(self.shares.split(sizes), scales, strict=True)]),
            "shifts": (f[0] - 2, f[1], f[2] + 1),
        }
        if self.phases is not None:
            parts = self.phases.split([sizes[0], len(self.phases) - sizes[0]])
            whole["phases"] = torch.cat([_round(of, scale) for of, scale in zip(parts, scales, strict=True)])
        return whole

    @torch.no_grad()
    def whole(self) -> dict[str, Tensor]:
        """The tensors as `Tables.read` reads them."""
        found = self._integers()
        found["around"] = torch.cat([found["around"], found.pop("nearby")[:, None]], 1)
        found["shifts"] = torch.tensor(found["shifts"])
        if not len(self.maps):
            del found["maps"], found["shares"]
        small = ("across", "told", "maps")
        return {f"tables.{k}": v.to(torch.int8 if k in small else torch.int32).contiguous() for k, v in found.items()}


def turns() -> Tensor:
    """An order of squares whose first ones always lie far apart, uint8 (8, 8): that of a matrix for ordered dithering (Bayer, ICC 1973).

    It begins away from the corner, for most pictures are a few squares wide.
    """
    row, column = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    order = torch.zeros_like(row)
    for bit in (0, 1, 2):
        y, x = (place >> bit & 1 ^ bit & 1 for place in (row, column))
        order = 4 * order + 2 * (y ^ x) + y
    return order.to(torch.uint8)


def nearest(z: Tensor, step: int) -> Tensor:
    """The nearest multiples of an odd step to whole numbers."""
    return torch.div(z + step // 2, step, rounding_mode="floor") * step


def _floor(x: Tensor) -> Tensor:
    return x + (x.floor() - x).detach()


def _round(x: Tensor, scale: float, largest: float = float("inf")) -> Tensor:
    x = x * scale
    return x + (x.round().clamp(-largest, largest) - x).detach()


def planes_needed(*latents: Tensor) -> Tensor:
    """The least number of planes, of each channel, int (C,), whose digits reach its largest magnitude."""
    largest = torch.stack([z.abs().amax((0, 2, 3)) for z in latents]).amax(0)
    reach = torch.tensor([(BASE**t - 1) // 2 for t in range(PLANES + 1)])
    return (reach[None] < largest[:, None]).sum(1)


def _whole_of_one(counts: Tensor) -> Tensor:
    """Shares of ONE, int32 (INDICES, CLASSES, 3), at least 1 each."""
    shares = (counts / counts.sum(-1, keepdim=True) * ONE).round().clamp_min(1).to(torch.int32)
    largest = shares.argmax(-1, keepdim=True)
    return shares.scatter_add(-1, largest, ONE - shares.sum(-1, keepdim=True, dtype=torch.int32))
