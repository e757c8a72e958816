"""Tunes a network to a camera by low-rank updates of its matrices and kernels (LoRA: Hu et al., arXiv 2106.09685).

Frames differ from a camera's scene in other ways than pictures differ from grey. What the network learns of that fits into a small
file, and the fewer numbers there are to learn, the fewer frames it takes.
"""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurocodec import weights
from neurocodec.images import Picture
from neurocodec.precision import mixed
from neurocodec.train.muon import Muon
from neurocodec.train.rate_distortion import RateDistortion

RANK = 16
_CROP, _BATCH = 192, 4
_MUON_RATE, _ADAM_RATE = 4e-3, 2e-4
_WARM_UP = 0.05  # of the time
_EMA = 0.99  # decay of the averaged updates per step


class LowRank(nn.Module):
    """A weight (o, ...) and its update, a product that is 0 at first."""

    def __init__(self, weight: Tensor):
        super().__init__()
        inputs = weight[0].numel()
        self.up = nn.Parameter(torch.zeros(len(weight), RANK))
        self.down = nn.Parameter(torch.randn(RANK, inputs) / inputs**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def tune(
    network: nn.Module,
    objective: RateDistortion,
    frames: Sequence[Picture],
    scenes: Sequence[Picture],
    gains: Tensor,
    lacking: float,
    minutes: float,
    report: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Tensor], nn.Module]:
    """Updates, as `weights.tuned` takes them, and the prior that was trained with them.

    scenes: what of the scene each frame shows. gains: (C, 1, 1), the share of a scene's latent in its frame's. lacking: planes of
    which the synthesis is told at most that they are not known.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = deepcopy(network).requires_grad_(False)
    layers = {}
    for name, layer in list(net.named_modules()):
        weight = getattr(layer, "weight", None)
        if not name.startswith("prior") and isinstance(weight, nn.Parameter) and weight.ndim > 1:
            layers[name] = parametrize.register_parametrization(layer, "weight", LowRank(weight))
    factors = [p for layer in layers.values() for p in layer.parametrizations.weight[0].parameters()]
    biases = {f"{name}.bias": layer.bias for name, layer in layers.items() if layer.bias is not None}
    before = {name: bias.detach().clone() for name, bias in biases.items()}
    others = [*biases.values(), *net.prior.parameters()]
    trained = [*factors, *others]
    for p in trained:
        p.requires_grad_(True)
    average = [p.detach().clone() for p in trained]
    optimizers = {Muon(factors, _MUON_RATE): _MUON_RATE, torch.optim.Adam(others, _ADAM_RATE, betas=(0.9, 0.98)): _ADAM_RATE}
    autocast = mixed(torch.device("cpu"))
    begin = time.monotonic()
    while (progress := (time.monotonic() - begin) / (60 * minutes)) < 1:
        for optimizer, rate in optimizers.items():
            optimizer.param_groups[0]["lr"] = rate * min(1, progress / _WARM_UP) * (1 + np.cos(np.pi * progress)) / 2
        crops = [_crop(frames[i], scenes[i], net.stride, rng) for i in rng.integers(len(frames), size=_BATCH)]
        x, s = (torch.stack(some).contiguous(memory_format=torch.channels_last) for some in zip(*crops, strict=True))
        depth = objective.depths(_BATCH, rng)
        with autocast:
            z, still = net.analysis_transform(torch.cat([x, s])).float().chunk(2)
            expected = gains * still
            costs = objective.cost(net, z - expected, x, depth, torch.rand_like(z) - 0.5, expected, lacking)
            loss = objective.mean(costs, depth)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, trained, 1 - _EMA)
        if report:
            report(int(60 * minutes * progress), int(60 * minutes))
    with torch.no_grad():
        for p, mean in zip(trained, average, strict=True):
            p.copy_(mean)
    updates = {name: (bias.detach() - before[name]).half() for name, bias in biases.items()}
    for name, layer in layers.items():
        for factor, value in layer.parametrizations.weight[0].named_parameters():
            updates |= weights.in_8_bits(f"{name}.weight.{factor}", value.detach())
    return updates, net.prior.requires_grad_(False)


def _crop(frame: Picture, scene: Picture, stride: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same place of both, (3, S, S), mirrored alike, where their latents lie on one another."""
    side = min(_CROP, *(n // stride * stride for n in frame.rgb.shape[1:]))
    top, left = (int(rng.integers((n - side) // stride + 1)) * stride for n in frame.rgb.shape[1:])
    x, s = (torch.from_numpy(np.asarray(p.rgb[:, top : top + side, left : left + side], np.float32)) for p in (frame, scene))
    return (x.flip(2), s.flip(2)) if rng.random() < 0.5 else (x, s)
