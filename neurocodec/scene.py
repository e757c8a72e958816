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
from neurocodec.train.rate_distortion import RateDistortion

_FINE = 1 << 13  # steps of a pose's numbers to 1
_WEIGHED = 2  # plane up to which it is weighed how a frame is told best


@dataclass(frozen=True)
class SceneCodec(LatentCodec):
    """network: tuned to the camera. base: the model's own codec, for pictures of something else. scene: as both sides decode it.

    gains: the share of the scene in the frames, of each channel of the latent, (C, 1, 1). objective: what the networks were trained
    for. localisation: finds how the camera moved; None for one that stands still.
    """

    base: LatentCodec
    scene: Picture
    gains: Tensor
    objective: RateDistortion
    localisation: Localisation | None = None

    def analysed(self, picture: Picture) -> tuple[bytes, Tensor]:
        """What a frame is to the scene, as it is told best, and the latent (1, C, h, w) that the passes tell."""
        found = [(OTHER, self.base.latent(picture))]
        if (picture.width, picture.height) == (self.scene.width, self.scene.height):
            latent = self.latent(picture)
            leads = [STILL, *([pose(self.scene, self.localisation, picture)] if self.localisation else [])]
            found += [(lead, latent - self.expected(lead, latent)) for lead in leads]
        return min(found, key=lambda led: self._cost(*led, picture)) if len(found) > 1 else found[0]

    def synthesised(self, lead: bytes, z: Tensor, width: int, height: int) -> Picture:
        """The picture of what is known of a frame's difference (1, C, h, w), or, of something else, of its latent."""
        if lead == OTHER:
            return self.base.synthesised(b"", z, width, height)
        return super().synthesised(lead, z + self.expected(lead, z), width, height)

    def expected(self, lead: bytes, like: Tensor) -> Tensor:
        """What a frame's latent (1, C, h, w) is expected to be; 0 in a damaged stream of another size than the scene's."""
        if like.shape != self._still.shape:
            return torch.zeros_like(like)
        return self._still if lead == STILL else self.gains * self.latent(moved(self.scene, lead))

    def _cost(self, lead: bytes, latent: Tensor, picture: Picture) -> float:
        """Of the first planes: distortion and bits, as the network was trained to trade them."""
        width, height = picture.width, picture.height
        known, bits = self.layout.known(width, height), 0.0
        for told in self.told(lead, latent, width, height):
            if told.plane < _WEIGHED:
                break
            known.tell(told)
            bits += sum(symbols.bits for symbols in told.coded)
        shown = self.synthesised(lead, torch.from_numpy(known.value).view(1, *known.shape).float(), width, height)
        x, y = (torch.from_numpy(p.rgb)[None] for p in (picture, shown))
        return self.objective.trade(x, y, bits, _WEIGHED).item()

    @cached_property
    def _still(self) -> Tensor:
        return self.gains * self.latent(self.scene)


def pose(scene: Picture, localisation: Localisation, picture: Picture) -> bytes:
    """The lead of a frame of the scene's size: how the scene must be moved to lie like it."""
    of_scene, of_frame = (torch.from_numpy(p.rgb)[None] for p in (scene, picture))
    with torch.no_grad():
        start = localisation(of_scene, of_frame)
    found = refined(of_scene, of_frame, start)[0].numpy()
    return MOVED + np.clip(np.round(found * _FINE), -(1 << 15), (1 << 15) - 1).astype(">i2").tobytes()


def moved(picture: Picture, lead: bytes) -> Picture:
    """A picture moved as a lead says."""
    pose = np.frombuffer(lead[1:], ">i2").astype(np.float32).reshape(1, 2, 3) / _FINE
    return Picture(sample(torch.from_numpy(picture.rgb)[None], torch.from_numpy(pose))[0].numpy())
