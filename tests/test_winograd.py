"""Winograd's convolution is a convolution."""

import pytest
import torch
import torch.nn.functional as F

from neurocodec.models.winograd import Conv3x3


@pytest.mark.parametrize("size", [(4, 4), (4, 3), (8, 8)])
def test_values_and_gradients_are_those_of_a_convolution(size):
    torch.manual_seed(0)
    layer, x = Conv3x3(5, 7), torch.randn(3, 5, *size, requires_grad=True)
    plain = F.conv2d(x, layer.weight, layer.bias, padding=1)
    found = layer(x)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain)
    toward = torch.randn_like(plain)
    inputs = (x, layer.weight, layer.bias)
    pairs = zip(torch.autograd.grad(found, inputs, toward), torch.autograd.grad(plain, inputs, toward), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
