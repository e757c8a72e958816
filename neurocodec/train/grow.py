"""A trained network made larger, so that what was learnt is kept (function-preserving growth, arXiv 1511.05641)."""

from typing import Any

import torch
from torch import nn

from neurocodec.errors import NeurocodecError


@torch.no_grad()
def grow(net: nn.Module, config: dict[str, Any]) -> nn.Module:
    """A network of the same kind with wider maps or more blocks that computes what `net` does.

    What is new sees everything and, until it is trained, nothing that was there sees it; blocks must start as identities.
    Raises NeurocodecError for a recurrent network, whose gates share a layer, and for another number of latent channels.
    """
    if config == net.config:
        return net
    if not hasattr(net, "analysis_transform"):
        raise NeurocodecError("a recurrent network cannot be made larger")
    larger = type(net)(**config)
    if larger.config["channels"] != net.config["channels"]:
        raise NeurocodecError("the latent of a network that is made larger keeps its channels")
    known = net.state_dict()
    for name, tensor in larger.state_dict().items():
        if name in known:
            old = known[name]
            if tensor.ndim > 1:
                tensor[: len(old)] = 0
            tensor[tuple(slice(n) for n in old.shape)] = old
    return larger
