"""A trained network made narrower: what is kept of a layer is fitted to what all of it did (channel pruning: He et al., arXiv 1707.06168).

Layers are fitted in the order in which pictures go through them, from what the narrower ones ahead of them give, so that each makes up
for what those have lost.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError
from neurocodec.models.blocks.bottleneck import SLOPE, Bottleneck
from neurocodec.models.transform_coder import TransformCoder

NARROWS, _COUNTS = ("inner", "analysis_inner", "last"), ("blocks", "analysis_blocks")
_CROPS, _PLACES, _RIDGE = 192, 50_000, 1e-4
_DEPTHS = (0.5, 1.0, 1.7, 2.3)  # planes that are not known of the latents to which a synthesis is fitted


@torch.no_grad()
def shrink(net: nn.Module, config: dict[str, Any], pictures: list[Tensor]) -> nn.Module:
    """A network of the same kind with narrower bottlenecks, fewer of them behind others, or fewer channels ahead of the last convolution.

    pictures: float32 (N, 3, H, W) in [0, 1]. Raises NeurocodecError for a recurrent network, and where anything else differs.
    """
    fewer = NeurocodecError("only bottlenecks, their number and the channels ahead of the last convolution are made fewer")
    if not isinstance(net, TransformCoder):
        raise fewer
    narrower = type(net)(**config)
    if any(narrower.config[name] != value for name, value in net.config.items() if name not in (*NARROWS, *_COUNTS)):
        raise fewer
    known = net.state_dict()
    for name, tensor in narrower.state_dict().items():
        if name.startswith("to_last") and name not in known:
            continue
        if name not in known or any(n > m for n, m in zip(tensor.shape, known[name].shape, strict=True)):
            raise fewer
        if tensor.shape == known[name].shape:
            tensor.copy_(known[name])
    x = pictures[-1 if net.of_photos else 0][:_CROPS]
    depth = torch.tensor(_DEPTHS).repeat(len(x))[: len(x)]
    z = net.prior.decoded(net.analysis_transform(x), depth[:, None, None, None])[2]
    of = (
        ("down_blocks", (0, 1, 2), lambda net: net.analysis_transform(x)),
        ("up_blocks", (2, 1, 0), lambda net: net.synthesis_transform(z, depth)),
    )
    for blocks, levels, run in of:
        for level in levels:
            olds, news = (getattr(n, blocks)[level] for n in (net, narrower))
            wanted = [_seen(old, net, run)[1] for old in olds]
            for i, new in enumerate(news):
                f = _seen(new, narrower, run)[0]
                _fit(new, olds[i], f, (wanted[-1] if i == len(news) - 1 else wanted[i]) - f)
    if narrower.config["last"] != net.config["last"]:
        _combine(narrower, net, _seen(narrower.up_blocks[0], narrower, lambda net: net.synthesis_transform(z, depth))[1])
    return narrower


def _seen(layer: nn.Module, net: nn.Module, run: Callable[[nn.Module], Any]) -> tuple[Tensor, Tensor]:
    """What goes into a layer, and comes out of it, when a network is run."""
    found = []
    hook = layer.register_forward_hook(lambda _, inputs, output: found.append((inputs[0].clone(), output.clone())))
    run(net)
    hook.remove()
    return found[0]


def _fit(new: Bottleneck, old: Bottleneck, f: Tensor, added: Tensor) -> None:
    """Make a bottleneck add to maps f, (N, C, h, w), as nearly as it can, this."""

    def act(f: Tensor) -> Tensor:
        return F.leaky_relu(f, SLOPE)

    inner, seen = new.conv.out_channels, act(old.narrow(act(f)))
    inside = old.conv(seen)
    some = torch.randperm(f[:, 0].numel())[:_PLACES]
    added = _rows(added)[some]
    kept, wide = _fitted(_rows(act(inside))[some], added, inner)
    if inner < old.conv.out_channels:
        weight = wide[:-1].norm(dim=1)  # of the channels that are kept, in what is added
        around = F.unfold(seen, 3, padding=1).transpose(1, 2).flatten(0, 1)
        inputs, conv = _fitted(around[some], _rows(inside)[some][:, kept] * weight, inner, 9)
        conv = (conv / weight).T.float()
        new.conv.weight.copy_(conv[:, :-1].unflatten(1, (inner, 3, 3)))
        new.conv.bias.copy_(conv[:, -1])
        for name in ("weight", "bias"):
            getattr(new.narrow, name).copy_(getattr(old.narrow, name)[inputs])
        _, wide = _fitted(_rows(act(new.conv(act(new.narrow(act(f))))))[some], added, inner)
    new.wide.weight.copy_(wide[:-1].T)
    new.wide.bias.copy_(wide[-1])


def _fitted(a: Tensor, b: Tensor, count: int, size: int = 1) -> tuple[list[int], Tensor]:
    """Which `count` groups of `size` columns of a, (n, groups * size), explain b, (n, m), best, left out one by one, and the weights of
    these columns and of 1, (count * size + 1, m).
    """
    a = F.pad(a, (0, 1), value=1).double()
    gram, product = a.T @ a, a.T @ b.double()
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    kept = list(range((len(gram) - 1) // size))
    while True:
        columns = [size * group + i for group in kept for i in range(size)] + [len(gram) - 1]
        inverse = torch.linalg.inv(gram[columns][:, columns])
        weights = inverse @ product[columns]
        if len(kept) == count:
            return kept, weights
        own = inverse[:-1, :-1].unflatten(1, (-1, size)).unflatten(0, (-1, size)).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        parts = weights[:-1].unflatten(0, (-1, size))
        kept.pop(int((parts * torch.linalg.solve(own, parts)).sum((1, 2)).argmin()))


def _combine(narrower: TransformCoder, net: TransformCoder, f: Tensor) -> None:
    """The last convolution's combinations of channels as the best of their number, for maps f (reduced-rank regression)."""
    before, last, rows = net.to_last, narrower.config["last"], _rows(f)
    mixed = before.weight if net.config["last"] else torch.eye(f.shape[1])
    whole = torch.einsum("olyx,li->oyxi", net.to_pixels.weight, mixed).flatten(0, 2)
    root = torch.linalg.cholesky(rows.T @ rows / len(rows) + 1e-6 * torch.eye(f.shape[1]))
    left, scale, right = torch.linalg.svd(whole @ root, full_matrices=False)
    combinations = right[:last] @ torch.linalg.inv(root)
    size = combinations.norm(dim=1)
    taps = left[:, :last] * scale[:last] * size
    narrower.to_last.weight.copy_(combinations / size[:, None])
    narrower.to_last.bias.zero_()
    narrower.to_pixels.weight.copy_(taps.unflatten(0, (-1, 3, 3)).permute(0, 3, 1, 2))
    if net.config["last"]:
        constant = torch.einsum("olyx,l->oyx", net.to_pixels.weight, before.bias).flatten()[:, None]
        narrower.to_last.bias.copy_(torch.linalg.lstsq(taps, constant).solution[:, 0])


def _rows(f: Tensor) -> Tensor:
    """Maps (N, C, h, w) as (places, C)."""
    return f.permute(0, 2, 3, 1).flatten(0, 2)
