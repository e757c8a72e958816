"""Two tasks at once: cross-stitch units between two networks (Misra et al., arXiv 1604.03539), and what they are compared with.

    x -> stage -> (units) -> stage -> (units) -> ... -> decoder -> first output
      `> stage ->  mix    -> stage ->  mix    -> ... -> decoder -> second output

A unit makes each of two maps a mixture of both, channel by channel; the shares are learned.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.tasks.networks.encoder import WIDTHS, Encoder, Seen
from neurocodec.tasks.networks.unet import Decoder


class Unit(nn.Module):
    """Two maps (N, C, h, w) to two mixtures of them; at first nine tenths of each are its own."""

    def __init__(self, channels: int, own: float = 0.9):
        super().__init__()
        shares = torch.tensor([[own, 1 - own], [1 - own, own]])
        self.shares = nn.Parameter(shares[..., None].repeat(1, 1, channels))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        (aa, ab), (ba, bb) = self.shares[..., None, None]
        return aa * a + ab * b, ba * a + bb * b


class CrossStitch(nn.Module):
    """(N, 3, H, W) in [0, 1] to two outputs (N, K, H, W), side by side: (N, K1 + K2, H, W)."""

    def __init__(self, outputs: tuple[int, int]):
        super().__init__()
        self.encoders = nn.ModuleList(Encoder() for _ in outputs)
        self.decoders = nn.ModuleList(Decoder(count) for count in outputs)
        self.units = nn.ModuleList(Unit(width) for width in WIDTHS)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = [2 * x - 1] * 2
        seen: list[list[Seen]] = [[], []]
        for stages, unit in zip(zip(*(e.stages for e in self.encoders), strict=True), self.units, strict=True):
            maps = list(unit(*(stage(m) for stage, m in zip(stages, maps, strict=True))))
            for i in range(2):
                before, maps[i] = maps[i], F.max_pool2d(maps[i], 2)
                seen[i].append(Seen(before, maps[i], None))
        return torch.cat([decoder(s) for decoder, s in zip(self.decoders, seen, strict=True)], 1)


class Split(nn.Module):
    """The same of one network whose first stages are shared: all of them (the usual way), or some ("split")."""

    def __init__(self, outputs: tuple[int, int], shared: int = len(WIDTHS)):
        super().__init__()
        self.shared = shared
        self.encoders = nn.ModuleList(Encoder() for _ in (outputs if shared < len(WIDTHS) else outputs[:1]))
        self.decoders = nn.ModuleList(Decoder(count) for count in outputs)
        for other in self.encoders[1:]:
            for stage in range(shared):
                other.stages[stage] = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        trunk = self.encoders[0].run(2 * x - 1, 0, self.shared)
        found = []
        for i, decoder in enumerate(self.decoders):
            encoder = self.encoders[min(i, len(self.encoders) - 1)]
            found.append(decoder([*trunk, *encoder.run(trunk[-1].pooled, self.shared, len(WIDTHS))]))
        return torch.cat(found, 1)
