"""A network as coders run it is the network, up to rounding."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from neurocodec.models import packed as of_packed
from neurocodec.models.blocks import BLOCKS
from neurocodec.models.patches import shuffled, unshuffled
from neurocodec.models.photo import Photo
from neurocodec.models.upsampling import UPSAMPLERS
from neurocodec.precision import has_bfloat16, mixed


def network(block: str = "bottleneck", up: str = "depth-to-space", **slender: Any) -> Photo:
    """Of which every part does something."""
    torch.manual_seed(0)
    net = Photo(
        12, (16, 16, 32), (1, 1, 2), block, up=up, film=True, centred=True, pyramid=3, analysis_blocks=(1, 1, 0), **slender
    )
    for part in net.parameters():
        part.add_(0.05 * torch.randn_like(part))
    return net.to(memory_format=torch.channels_last)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    "options",
    [
        *({"block": block} for block in BLOCKS),
        *({"up": up} for up in UPSAMPLERS),
        {"near": 4, "inner": (8, 4, 8), "analysis_inner": (4, 8, 4), "last": 8},
    ],
    ids=str,
)
def test_it_does_the_same_in_float32(monkeypatch, options):
    monkeypatch.setattr(of_packed, "has_bfloat16", lambda: False)
    net = network(**options)
    coder = of_packed.packed(net)
    for size in ((16, 16), (64, 48), (16, 400)):
        x = torch.rand(1, 3, *size)
        z = net.analysis_transform(x)
        kept = z.clone()
        torch.testing.assert_close(coder.analysis_transform(x), z, rtol=1e-4, atol=1e-4)
        for depth in (0.0, 2.3):
            torch.testing.assert_close(
                coder.synthesis_transform(z, depth), net.synthesis_transform(z, depth), rtol=1e-4, atol=1e-4
            )
        assert torch.equal(z, kept)


@pytest.mark.skipif(not has_bfloat16(), reason="the processor has no bfloat16")
def test_in_bfloat16_it_is_as_near_as_a_network_in_mixed_precision():
    net = network()
    x = torch.rand(1, 3, 64, 96)
    z = net.analysis_transform(x)
    y = net.synthesis_transform(z, 1.0)
    errors = []
    for one in (net, of_packed.packed(net)):
        with mixed(x.device):
            errors.append([(one.analysis_transform(x) - z).abs().mean(), (one.synthesis_transform(z, 1.0) - y).abs().mean()])
    for plain, of_coder, whole in zip(*errors, (z, y), strict=True):
        assert 0 < of_coder < 1.5 * plain < 0.03 * whole.abs().mean()


def test_the_network_itself_stays_as_it_is():
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    of_packed.packed(net)
    assert all(tensor.dtype == torch.float32 and torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("size", [2, 4])
def test_patches_are_in_the_order_of_pixel_unshuffle(size):
    x = torch.rand(2, 3, 8, 16)
    f = unshuffled(x, size)
    assert torch.equal(f, F.pixel_unshuffle(x, size)) and f.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(shuffled(f, size), x) and shuffled(f, size).is_contiguous()
