"""A network as coders run it on processors: weights in the kind of number that is fastest, and bottlenecks in three passes over the maps.

torch's own convolutions lay weights out anew at each call, and activations and sums take passes of their own. The operators into
which `torch.compile` translates them (oneDNN's, with post-operations) do neither, and need no compiler.
"""

from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocodec.models.blocks.bottleneck import SLOPE, Bottleneck
from neurocodec.models.upsampling import DepthToSpace
from neurocodec.precision import has_bfloat16

_PLACES = 32, 48  # of a map for which weights are laid out; others go as well
_ONCE = (1, 1), (1, 1), 1  # stride, dilation, groups


@lru_cache(maxsize=8)
def packed(network: Any) -> Any:
    """A network of the same function up to rounding, without gradients; its `plain_parts` stay in float32."""
    copy = deepcopy(network)
    kind = torch.bfloat16 if has_bfloat16() else torch.float32
    for name, part in copy.named_children():
        if name not in copy.plain_parts:
            setattr(copy, name, _packed(part.to(kind)))
    return copy


def _packed(module: nn.Module) -> nn.Module:
    if isinstance(module, Bottleneck) and torch.backends.mkldnn.is_available():
        return _Bottleneck(module)
    if isinstance(module, DepthToSpace):
        return _DepthToSpace(module)
    for name, child in module.named_children():
        setattr(module, name, _packed(child))
    return module


class _Bottleneck(nn.Module):
    """`Bottleneck`, whose result takes the place of its input."""

    def __init__(self, block: Bottleneck):
        super().__init__()
        self._layers = [(_laid_out(layer), layer.bias) for layer in (block.narrow, block.conv, block.wide)]

    def forward(self, x: Tensor) -> Tensor:
        narrow, conv, wide = self._layers
        run = torch.ops.mkldnn._convolution_pointwise
        y = run(F.leaky_relu(x, SLOPE), *narrow, (0, 0), *_ONCE, "leaky_relu", [SLOPE], "")
        y = run(y, *conv, (1, 1), *_ONCE, "leaky_relu", [SLOPE], "")
        return torch.ops.mkldnn._convolution_pointwise_.binary(x, y, *wide, (0, 0), *_ONCE, "add", 1.0, None, [], None)


class _DepthToSpace(nn.Module):
    """`DepthToSpace`, whose channels are in such an order that all of a place lie side by side."""

    def __init__(self, layer: DepthToSpace):
        super().__init__()
        self._weight, self._bias = (
            part.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1) for part in (layer.weight, layer.bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        (n, _, height, width), outputs = x.shape, len(self._bias) // 4
        y = F.conv2d(x, self._weight[:, :, None, None], self._bias).permute(0, 2, 3, 1)
        places = y.reshape(n, height, width, 2, 2, outputs).transpose(2, 3)
        return places.reshape(n, 2 * height, 2 * width, outputs).permute(0, 3, 1, 2)


def _laid_out(layer: nn.Module) -> Tensor:
    """The weights of a 1x1 or 3x3 convolution."""
    weight = layer.weight if layer.weight.ndim == 4 else layer.weight[:, :, None, None]
    padding = (weight.shape[2] // 2,) * 2
    shape = (1, weight.shape[1], *_PLACES)
    return torch._C._nn.mkldnn_reorder_conv2d_weight(weight.contiguous().to_mkldnn(), padding, *_ONCE, shape)
