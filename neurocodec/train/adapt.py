"""`neurocodec adapt`: from frames of one camera, a small variant of a model that knows the camera's scene."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import neurocodec
from neurocodec import images, weights
from neurocodec.errors import NeurocodecError
from neurocodec.images import Picture
from neurocodec.models.spatial_transformer import Localisation, identity, refined, sample
from neurocodec.models.transform_coder import LOGISTIC, PACE
from neurocodec.payload import CodedPasses, ScenePasses
from neurocodec.scene import SceneCodec
from neurocodec.train import contexts

FEWEST, MOST = 8, 200  # frames
SHIFT, TURN = 8, 2.0  # pixels and degrees by which a localisation network is shown pictures moved
_MEDIAN = 48  # frames that a scene is made of
_SCENE_BPP = 2.5
_STEPS, _LOCALISATION_STEPS, _LOCALISATION_BATCH = 400, 300, 16

Report = Callable[[int, int], None]


def adapt(frames: Sequence[Path], model: str, name: str, out: Path, moving: bool = False, report: Report | None = None) -> None:
    """Write a variant of a model for the camera that took these frames, at least FEWEST, of which MOST are looked at.

    The scene is the median of each pixel, so that what passes through it does not burn in. The tables are those of the model,
    fitted to what frames differ by from the scene. moving: whether the camera shakes or pans a little; then the frames are first laid
    on one another, and a localisation network is trained. Raises NeurocodecError for frames that cannot be used.
    """
    base = weights.find(model)
    if not isinstance(base.layout, CodedPasses) or isinstance(base.layout, ScenePasses):
        raise NeurocodecError(f"{base.name} is not a model that variants can be made of")
    if len(frames) < FEWEST:
        raise NeurocodecError(f"{len(frames)} frames; a camera's scene takes at least {FEWEST}")
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST).round().astype(int))
    pictures = [images.load(frames[i]) for i in chosen]
    if len({(p.width, p.height) for p in pictures}) > 1:
        raise NeurocodecError("the frames of a camera are of one size")
    few = pictures[:: -(-len(pictures) // _MEDIAN)]
    if moving:
        few = [_laid_on(few[len(few) // 2], p) for p in few]
    median = np.median(np.stack([p.rgb for p in few]), axis=0).astype(np.float32)
    width, height = pictures[0].width, pictures[0].height
    scene = neurocodec.encode(Picture(median), model=base.name, bytes=int(_SCENE_BPP * width * height / 8) + 100)
    shown = images.load(neurocodec.decode(scene, model=base.name))
    localisation = _localisation(shown, few) if moving else None
    network, largest = weights.network(base.path), torch.from_numpy(base.layout.known(width, height).largest)
    codec, differences = SceneCodec(network, base.layout, shown, localisation), []
    for number, picture in enumerate(pictures, 1):
        latent = codec.latent(picture)
        difference = latent - codec.prediction(codec.lead(picture, latent), latent)
        differences.append(difference.round().clamp(-largest, largest).int())
        if report:
            report(number, len(pictures))
    z = torch.cat(differences)
    prior = deepcopy(network.prior).requires_grad_(True)
    with torch.no_grad():
        prior.scale.copy_((LOGISTIC * z.float().std((0, 2, 3)).clamp_min(0.05)).log() / PACE)
    tensors = contexts.fit(prior, z, _STEPS, torch.tensor(base.layout.tables.tops))
    if localisation:
        tensors |= {f"localisation.{k}": v.half() for k, v in localisation.state_dict().items()}
    card = {
        "model": {"name": name, "architecture": base.architecture.name, "made": date.today().isoformat()},
        "camera": {"base": base.name, "frames": len(frames), "width": width, "height": height, "moving": moving},
    }
    text = "".join(
        f"[{title}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items()) for title, table in card.items()
    )
    weights.save_variant(out, base, text, tensors, scene)


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
