"""The codec of a camera's variant: a frame is told as its difference from the camera's scene, moved as the camera moved.

Both sides take the scene from the same file. How its latent is rounded may differ between machines: the passes' probabilities depend
on what was told alone, never on the scene.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from neurocodec.codec import LatentCodec
from neurocodec.images import Picture
from neurocodec.models.spatial_transformer import Localisation, refined, sample
from neurocodec.payload import MOVED, OTHER, STILL

_FINE = 1 << 13  # steps of a pose's numbers to 1
_TELLING = 3.0  # steps of the finest plane; differences below count for little


@dataclass(frozen=True)
class SceneCodec(LatentCodec):
    """scene: the camera's, as both sides decode it. localisation: finds how the camera moved; None for one that stands still."""

    scene: Picture
    localisation: Localisation | None = None

    def lead(self, picture: Picture, latent: Tensor) -> bytes:
        """What a frame is to the scene: whatever leaves the least to tell."""
        if (picture.width, picture.height) != (self.scene.width, self.scene.height):
            return OTHER
        leads = [STILL, OTHER, *([self.pose(picture)] if self.localisation else [])]
        costs = [_cost(latent - self.prediction(lead, latent)) for lead in leads]
        return leads[int(np.argmin(costs))]

    def prediction(self, lead: bytes, like: Tensor) -> Tensor:
        """The scene's latent, (1, C, h, w), or, for a picture of something else or, in a damaged stream, of another size, 0."""
        if lead == OTHER or like.shape != self._still.shape:
            return torch.zeros_like(like)
        return self._still if lead == STILL else self.latent(moved(self.scene, lead))

    def pose(self, picture: Picture) -> bytes:
        """The lead of a frame of the scene's size: how the scene must be moved to lie like it."""
        scene, frame = (torch.from_numpy(p.rgb)[None] for p in (self.scene, picture))
        with torch.no_grad():
            start = self.localisation(scene, frame)
        pose = refined(scene, frame, start)[0].numpy()
        return MOVED + np.clip(np.round(pose * _FINE), -(1 << 15), (1 << 15) - 1).astype(">i2").tobytes()

    @cached_property
    def _still(self) -> Tensor:
        return self.latent(self.scene)


def moved(picture: Picture, lead: bytes) -> Picture:
    """A picture moved as a lead says."""
    pose = np.frombuffer(lead[1:], ">i2").astype(np.float32).reshape(1, 2, 3) / _FINE
    return Picture(sample(torch.from_numpy(picture.rgb)[None], torch.from_numpy(pose))[0].numpy())


def _cost(difference: Tensor) -> float:
    """About how many bits it takes to tell a difference."""
    return float(torch.log2(1 + difference.abs() / _TELLING).sum())
