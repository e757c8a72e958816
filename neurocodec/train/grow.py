"""A trained network made larger, so that what was learnt is kept (function-preserving growth, arXiv 1511.05641)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError
from neurocodec.models.pyramid import GRID
from neurocodec.models.transform_coder import LOGISTIC, PACE, TransformCoder


@torch.no_grad()
def grow(net: nn.Module, config: dict[str, Any], pictures: list[Tensor]) -> nn.Module:
    """A network of the same kind with wider maps, more blocks, more latent channels or a pyramid of some.

    What is new in convolutions sees everything and, until it is trained, nothing that was there sees it; blocks must start as
    identities. New channels add what of `pictures`, float32 (N, 3, H, W) in [0, 1], the rest leaves out even when its latent is
    not quantized. Raises NeurocodecError for a recurrent network, whose gates share a layer, for fewer channels, for other
    contexts and for transforms that are slender in another way.
    """
    if not isinstance(net, TransformCoder):
        raise NeurocodecError("a recurrent network cannot be made larger")
    larger, channels = type(net)(**config), net.config["channels"]
    if larger.config["channels"] < channels:
        raise NeurocodecError("the latent of a network that is made larger keeps its channels")
    for name in ("contexts", "near", "inner", "analysis_inner", "last"):
        if larger.config[name] != net.config[name]:
            raise NeurocodecError(f"a network that is made larger keeps its {name}")
    known = net.state_dict()
    for name, tensor in larger.state_dict().items():
        if name in known:
            old = known[name]
            if tensor.ndim > 1:
                tensor[: len(old)] = 0
            tensor[tuple(slice(n) for n in old.shape)] = old
    if larger.config["pyramid"] and not net.config["pyramid"]:
        _distribute_by_phase(larger, net, pictures[-1 if net.of_photos else 0])
    if larger.config["channels"] > channels:
        level = known["prior.across.weight"][:, channels]
        larger.prior.across.weight[:, channels:] = 0
        larger.prior.across.weight[: len(level), -1] = level
        _tell_what_is_left(larger, net, pictures[-1 if net.of_photos else 0])
    return larger


def _distribute_by_phase(larger: TransformCoder, net: TransformCoder, x: Tensor) -> None:
    """The scales of a pyramid's channels as they differ, by the place in it, from those of the elements that it is made of."""
    first = slice(larger.config["pyramid"])
    before, after = (torch.cat([of.analysis_transform(some)[:, first] for some in x.split(64)]) for of in (net, larger))
    height, width = (n // GRID * GRID for n in after.shape[2:])
    deviation = after[:, :, :height, :width].unflatten(3, (-1, GRID)).unflatten(2, (-1, GRID)).pow(2).mean((0, 2, 4)).sqrt()
    of_all = before.pow(2).mean((0, 2, 3)).sqrt()[:, None, None]
    larger.prior.phases[0, -len(deviation) :] = (deviation / of_all).log() / PACE


def _tell_what_is_left(larger: TransformCoder, net: TransformCoder, x: Tensor) -> None:
    """New channels begin as the best linear transform, of their number, of what `net` leaves out (reduced-rank regression)."""
    old, new = net.config["channels"], larger.config["channels"] - net.config["channels"]
    left = torch.cat([some - net.synthesis_transform(net.analysis_transform(some)) for some in x.split(64)])
    seen, left = (F.pixel_unshuffle(t, net.stride).permute(0, 2, 3, 1).flatten(0, 2).double() for t in (x - 0.5, left))
    power = seen.T @ seen
    ridge = 1e-3 * power.diagonal().mean() * torch.eye(len(power), dtype=power.dtype)
    expected = torch.linalg.solve(power + ridge, seen.T @ left)  # (patch, patch): from what is seen
    values, vectors = torch.linalg.eigh((seen @ expected).T @ (seen @ expected) / len(seen))
    basis, deviation = vectors[:, -new:].flip(1), values[-new:].flip(0).clamp_min(1e-9).sqrt() / net.finest
    larger.analysis.weight[old:] = (expected @ basis).T / net.finest
    larger.synthesis.weight[:, old:] = basis * net.finest
    larger.prior.scale[old:] = (LOGISTIC * deviation).log() / PACE
    larger.analysis.bias[old:] = 0
    for layer in (larger.to_latent, larger.prior.told):
        layer.weight[old:] = 0
        layer.bias[old:] = 0
