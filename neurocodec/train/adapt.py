"""`neurocodec adapt`: from frames of one camera, a small variant of a model that knows the camera's scene."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import neurocodec
from neurocodec import images, weights
from neurocodec.codec import LatentCodec
from neurocodec.errors import NeurocodecError
from neurocodec.images import Picture
from neurocodec.light import fit, lit
from neurocodec.models.spatial_transformer import Localisation, identity, refined, sample
from neurocodec.models.transform_coder import PACE
from neurocodec.payload import CodedPasses, ScenePasses
from neurocodec.scene import WEIGHED, lead, shown
from neurocodec.train import contexts
from neurocodec.train.rate_distortion import RateDistortion
from neurocodec.train.tune import tune

FEWEST, MOST, MOST_MOVED = 8, 400, 100  # frames; it takes long to find where one lies on the scene
SHIFT, TURN = 8, 2.0  # pixels and degrees by which a localisation network is shown pictures moved
_MOST_PIXELS = 1 << 26  # of all frames together
_LEAST_SIDE = 32  # pixels
_MEDIAN = 48  # frames that a scene is made of
_LOOKED_AT, _NEARER = 8, 0.75  # frames, to see whether a camera moves; to which share of their distance they then come
_SCENE_BPP, _SCENE_BYTES = 2.5, 250_000
_LACKING = np.arange(0, 4.1, 0.5).tolist()  # planes of which it is tried whether the scene lacks them
_STEPS, _MAPS = 1200, 8
_LOCALISATION_STEPS, _LOCALISATION_BATCH = 300, 16

Report = Callable[[int, int], None]


def adapt(
    frames: Sequence[Path],
    model: str,
    name: str,
    out: Path,
    moving: bool | None = None,
    minutes: float = 0,
    report: Report | None = None,
) -> None:
    """Write a variant of a model for the camera that took these frames, at least FEWEST, of which at most MOST are looked at.

    The scene is the median of each pixel, in the light of an ordinary frame, so that what passes through it does not burn in. How
    much of it, in a frame's own light, is expected there is found channel by channel: all of it for a camera that stands still,
    little of it for one in a car; and so is how well the scene tells a frame. The tables are those of the model, fitted to what
    frames differ by from that, and to where in the picture they do.
    moving: whether the camera shakes or pans a little; None: as the frames say. If so, they are first laid on one another, and a
    localisation network is trained. minutes: for which the network is tuned (`tune.py`). Raises NeurocodecError for frames that
    cannot be used.
    """
    base = weights.find(model)
    if not isinstance(base.layout, CodedPasses) or isinstance(base.layout, ScenePasses):
        raise NeurocodecError(f"{base.name} is not a model that variants can be made of")
    if len(frames) < FEWEST:
        raise NeurocodecError(f"{len(frames)} frames; a camera's scene takes at least {FEWEST}")
    first = images.load(frames[0])
    width, height = first.width, first.height
    if min(width, height) < _LEAST_SIDE:
        raise NeurocodecError(f"{frames[0]}: frames have at least {_LEAST_SIDE} pixels each way")
    pictures = [images.load(path) for path in _spread(frames, max(FEWEST, min(MOST, _MOST_PIXELS // (width * height))))]
    if any((p.width, p.height) != (width, height) for p in pictures):
        raise NeurocodecError("the frames of a camera are of one size")
    moving = _moves(pictures) if moving is None else moving
    pictures = _spread(pictures, MOST_MOVED) if moving else pictures
    ordinary, few = _in_one_light(pictures[:: -(-len(pictures) // _MEDIAN)])
    if moving:
        few = [_laid_on(ordinary, p) for p in few]
    median = np.median(np.stack([p.rgb for p in few]), axis=0).astype(np.float32)
    size = min(int(_SCENE_BPP * width * height / 8) + 100, _SCENE_BYTES)
    stream = neurocodec.encode(Picture(median), model=base.name, bytes=size)
    scene = images.load(neurocodec.decode(stream, model=base.name))
    localisation = _localisation(scene, few) if moving else None
    scenes = [shown(scene, lead(scene, localisation, p)) for p in pictures]
    network, updates = weights.network(base.path), {}
    prior = network.prior
    latents, expected = _latents(network, base.layout, pictures, scenes)
    gains, objective = _gains(latents, expected), base.objective
    some = _spread(range(len(pictures)), _LOOKED_AT)
    codec = LatentCodec(network, base.layout)
    lacking = _lacking(codec, objective, [pictures[i] for i in some], gains * expected[some])
    if minutes:
        updates, prior = tune(network, objective, pictures, scenes, gains, lacking, minutes, report)
        network = weights.tuned(deepcopy(network), updates)
        latents, expected = _latents(network, base.layout, pictures, scenes)
        gains = _gains(latents, expected)
    largest = torch.from_numpy(base.layout.known(1, 1).largest)
    z = (latents - gains * expected).round().clamp(-largest, largest).int()
    prior = deepcopy(prior).requires_grad_(True)
    with torch.no_grad():
        prior.scale += (_deviation(z.float()) / _deviation(latents)).log() / PACE
    tables = contexts.fit(prior, z, _STEPS, torch.tensor(base.layout.tables.tops), _MAPS)
    card = {
        "model": {"name": name, "architecture": base.architecture.name, "made": date.today().isoformat()},
        "camera": {
            "base": base.name, "frames": len(pictures), "width": width, "height": height, "moving": moving, "minutes": minutes
        },
    }  # fmt: skip
    text = "".join(
        f"[{title}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items()) for title, table in card.items()
    )
    weights.save_variant(out, base, text, weights.Camera(stream, gains, lacking, localisation), tables, updates)


def _latents(network: nn.Module, layout: CodedPasses, pictures: list[Picture], scenes: list[Picture]) -> tuple[Tensor, Tensor]:
    """(N, C, h, w) of frames, and of what of the scene they show."""
    codec = LatentCodec(network, layout)
    return tuple(torch.cat([codec.latent(p) for p in some]) for some in (pictures, scenes))


def _gains(latents: Tensor, scenes: Tensor) -> Tensor:
    """The share of a scene that is expected in a frame, (C, 1, 1), from 0 to 1, by least squares."""
    both, alone = ((x * scenes).mean(0).sum((1, 2)) for x in (latents, scenes))
    return (both / alone.clamp_min(1e-6)).clamp(0, 1)[:, None, None]


def _lacking(codec: LatentCodec, objective: RateDistortion, frames: list[Picture], latents: Tensor) -> float:
    """At how many planes that are not known the synthesis shows best what is expected of frames, latents (N, C, h, w)."""

    def cost(depth: float) -> float:
        costs = []
        for frame, z in zip(frames, latents, strict=True):
            shown = codec.synthesised(b"", z[None], depth, frame.width, frame.height)
            x, y = (torch.from_numpy(p.rgb)[None] for p in (frame, shown))
            costs.append(objective.trade(x, y, 0.0, WEIGHED).item())
        return sum(costs)

    return min(_LACKING, key=cost)


def _deviation(z: Tensor) -> Tensor:
    """Of each channel, (C,); of one that is hardly told, that of rounding at least."""
    return z.std((0, 2, 3)).clamp_min(0.05)


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, evenly."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]


def _in_one_light(frames: list[Picture]) -> tuple[Picture, list[Picture]]:
    """A frame of ordinary brightness, and all of them in its light."""
    ordinary = sorted(frames, key=lambda p: p.rgb.mean())[len(frames) // 2]
    return ordinary, [lit(p, fit(p, ordinary)) for p in frames]


def _moves(frames: list[Picture]) -> bool:
    """Whether the frames of a camera are much more like one of them once they are laid on it."""
    ordinary, some = _in_one_light(_spread(frames, _LOOKED_AT))

    def far(frame: Picture) -> float:
        return float(np.abs(frame.rgb - ordinary.rgb).mean()) + 1e-3

    return bool(np.median([far(_laid_on(ordinary, p)) / far(p) for p in some]) < _NEARER)


def _laid_on(first: Picture, other: Picture) -> Picture:
    """A frame moved so that it lies like another."""
    x, y = (torch.from_numpy(p.rgb)[None] for p in (other, first))
    return Picture(sample(x, refined(x, y, identity(1)))[0].numpy())


def _localisation(scene: Picture, frames: Sequence[Picture]) -> Localisation:
    """A network trained on frames, which lie like the scene, moved at random."""
    torch.manual_seed(0)
    net = Localisation()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=_LOCALISATION_STEPS)
    of_scene, of_frames = torch.from_numpy(scene.rgb)[None], torch.from_numpy(np.stack([f.rgb for f in frames]))
    for _ in range(_LOCALISATION_STEPS):
        truth = poses(_LOCALISATION_BATCH, scene.width, scene.height)
        seen = sample(of_frames[torch.randint(len(of_frames), (len(truth),))], truth)
        loss = (net(of_scene.expand_as(seen), seen) - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def poses(count: int, width: int, height: int) -> Tensor:
    """Random shifts and turns, (count, 2, 3)."""
    angle = (2 * torch.rand(count) - 1) * TURN * torch.pi / 180
    cos, sin = torch.cos(angle), torch.sin(angle)
    shift = (2 * torch.rand(2, count) - 1) * 2 * SHIFT
    rows = (cos, -sin * height / width, shift[0] / width, sin * width / height, cos, shift[1] / height)
    return torch.stack(rows, 1).view(count, 2, 3)
