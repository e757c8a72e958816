"""In the manner of UberNet (Kokkinos, arXiv 1609.02132): one trunk for many tasks, of which each picture has labels of only some.

Memory for training does not grow with the number of tasks: activations of trunk and heads are computed again when they are needed
(Chen et al., arXiv 1604.06174), and a task's part of the graph is freed before the next one's is made.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from neurocodec.tasks.networks.encoder import Encoder, Seen
from neurocodec.tasks.networks.unet import Decoder


class Uber(nn.Module):
    """(N, 3, H, W) in [0, 1] to an output (N, K, H, W) for each task."""

    def __init__(self, outputs: Mapping[str, int]):
        super().__init__()
        self.trunk = Encoder()
        self.heads = nn.ModuleDict({name: Decoder(count) for name, count in outputs.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.trunk(x)
        return {name: head(seen) for name, head in self.heads.items()}


Losses = Mapping[str, Callable[[Tensor, Tensor], Tensor]]


def backward(net: Uber, x: Tensor, labels: Mapping[str, Tensor], losses: Losses, frugal: bool = True) -> dict[str, float]:
    """Add the gradients of the losses of those tasks that have labels here; frugal: task by task, from stages seen once."""
    if not frugal:
        said = net(x)
        found = {name: losses[name](said[name], labels[name]) for name in labels}
        sum(found.values()).backward()
        return {name: value.item() for name, value in found.items()}
    seen: list[Seen] = []
    y = (2 * x - 1).requires_grad_()
    for i in range(len(net.trunk.stages)):
        before, pooled = checkpoint(lambda m, i=i: net.trunk.run(m, i, i + 1)[0][:2], y, use_reentrant=False)
        seen.append(Seen(before, pooled, None))
        y = pooled
    leaves = [Seen(*(m.detach().requires_grad_() for m in at[:2]), None) for at in seen]
    found = {}
    for name, label in labels.items():
        value = losses[name](checkpoint(net.heads[name], leaves, use_reentrant=False), label)
        value.backward()
        found[name] = value.item()
    pairs = [
        (m, leaf.grad) for at, at_leaf in zip(seen, leaves, strict=True) for m, leaf in zip(at[:2], at_leaf[:2], strict=True)
    ]
    torch.autograd.backward(*zip(*((m, g) for m, g in pairs if g is not None), strict=True))
    return found
