"""The codec of a camera's variant: a frame is told as its difference from the camera's scene, in the frame's light, moved as it moved.

Both sides take the scene from the same file. How its latent is rounded may differ between machines: the passes' probabilities depend
on what was told alone, never on the scene.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from neurocodec.codec import LatentCodec
from neurocodec.images import Picture
from neurocodec.light import LIGHT, fit, lit
from neurocodec.models.spatial_transformer import Localisation, refined, sample
from neurocodec.payload import MOVED, OTHER, STILL
from neurocodec.tables import RANKS
from neurocodec.train.rate_distortion import RateDistortion

_FINE = 1 << 13  # steps of a pose's numbers to 1
WEIGHED = 2  # plane up to which it is weighed how a frame is told best


@dataclass(frozen=True)
class SceneCodec(LatentCodec):
    """network: tuned to the camera. base: the model's own codec, for pictures of something else. scene: as both sides decode it.

    gains: the share of the scene in the frames, of each channel of the latent, (C, 1, 1). lacking: planes that are not known of
    pictures that are known about as well as the scene alone tells a frame; the synthesis is never told of more. objective: what the
    networks were trained for. localisation: finds how the camera moved; None for one that stands still.
    """

    base: LatentCodec
    scene: Picture
    gains: Tensor
    lacking: float
    objective: RateDistortion
    localisation: Localisation | None = None

    def analysed(self, picture: Picture) -> tuple[bytes, Tensor]:
        """What a frame is to the scene, as it is told best, and the latent (1, C, h, w) that the passes tell."""
        found = [(OTHER, self.base.latent(picture))]
        if (picture.width, picture.height) == (self.scene.width, self.scene.height):
            latent = self.latent(picture)
            nets = [None, self.localisation] if self.localisation else [None]
            leads = [lead(self.scene, net, picture) for net in nets]
            found += [(each, latent - self.expected(each)) for each in leads]
        return min(found, key=lambda led: self._cost(*led, picture)) if len(found) > 1 else found[0]

    def synthesised(self, lead: bytes, z: Tensor, depth: float, width: int, height: int) -> Picture:
        """The picture of what is known of a frame's difference (1, C, h, w), or, of something else, of its latent.

        Nothing is expected of a damaged stream of another size than the scene's.
        """
        if lead == OTHER:
            return self.base.synthesised(b"", z, depth, width, height)
        expected = self.expected(lead)
        if z.shape == expected.shape:
            z, depth = z + expected, min(depth, self.lacking)
        return super().synthesised(lead, z, depth, width, height)

    @cached_property
    def expected(self) -> Callable[[bytes], Tensor]:
        """Of a lead, what a frame's latent (1, C, h, w) is expected to be."""
        return lru_cache(maxsize=2)(lambda lead: self.gains * self.latent(shown(self.scene, lead)))

    def _cost(self, lead: bytes, latent: Tensor, picture: Picture) -> float:
        """Of the first planes: distortion and bits, as the network was trained to trade them."""
        width, height = picture.width, picture.height
        bits, passes = 0.0, max(1, self.layout.max_passes - RANKS * WEIGHED)
        for told in islice(self.told(lead, latent, width, height), passes):
            bits += sum(symbols.bits for symbols in told.coded)
        z = torch.from_numpy(told.known.centroids()).view(1, *told.known.shape)
        shown = self.synthesised(lead, z, told.known.depth, width, height)
        x, y = (torch.from_numpy(p.rgb)[None] for p in (picture, shown))
        return self.objective.trade(x, y, bits, WEIGHED).item()


def lead(scene: Picture, localisation: Localisation | None, frame: Picture) -> bytes:
    """In which light, and, by a localisation network, how moved, a scene is most like a frame of its size."""
    light = fit(scene, frame)
    if localisation is None:
        return STILL + light
    of_scene, of_frame = (torch.from_numpy(p.rgb)[None] for p in (lit(scene, light), frame))
    with torch.no_grad():
        start = localisation(of_scene, of_frame)
    found = refined(of_scene, of_frame, start)[0].numpy()
    pose = np.clip(np.round(found * _FINE), -(1 << 15), (1 << 15) - 1).astype(">i2").tobytes()
    return MOVED + fit(_moved(scene, pose), frame) + pose


def shown(scene: Picture, lead: bytes) -> Picture:
    """What of a scene is expected in a frame."""
    light, pose = lead[1 : 1 + LIGHT], lead[1 + LIGHT :]
    return lit(_moved(scene, pose) if pose else scene, light)


def _moved(scene: Picture, pose: bytes) -> Picture:
    numbers = np.frombuffer(pose, ">i2").astype(np.float32).reshape(1, 2, 3) / _FINE
    return Picture(sample(torch.from_numpy(scene.rgb)[None], torch.from_numpy(numbers))[0].numpy())
