"""The catalogue of blocks and upsamplers: shapes, reach, cost, gradients, and use in codecs by name."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from neurocodec.errors import NeurocodecError
from neurocodec.models.blocks import BLOCKS, block
from neurocodec.models.conv_lstm import ConvLSTM
from neurocodec.models.conv_residual import ConvAutoencoder, ConvResidual
from neurocodec.models.photo import Photo
from neurocodec.models.preview import Preview
from neurocodec.models.upsampling import UPSAMPLERS, upsampler

C = 64
# Multiply-adds per place, in units of C^2: what the blocks' documentation says.
COST = {
    "plain": 9, "residual": 18, "residual-v1": 18, "bottleneck": 3.25, "inception": 2.3, "inception-residual": 3.3,
    "separable": 1 + 9 / C, "fire": 1.5, "grouped": 1 + 18 / C, "shuffle": 1 / 8 + 2.25 / C, "esp": 3.5,
    "squeeze-excitation": 18, "pyramid": 1.75,
}  # fmt: skip
UP_COST = {"depth-to-space": 4, "transposed": 16, "nearest": 36, "bed-of-nails": 36}


def shaken(module: nn.Module) -> nn.Module:
    """The module with parameters that are not 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module


def cost(module: nn.Module, x: torch.Tensor) -> float:
    """Multiply-adds per place of x."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() / 2 / x[:, 0].numel()


each = pytest.mark.parametrize("name", BLOCKS)


@each
@pytest.mark.parametrize("size", [(12, 7), (4, 4), (1, 3)])
def test_a_block_keeps_the_shape_and_every_parameter_has_a_gradient(name, size):
    module = shaken(block(name)(C))
    x = torch.randn(2, C, *size, requires_grad=True)
    y = module(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    for p in (x, *module.parameters()):
        assert torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0


@each
def test_a_block_costs_what_it_says(name):
    assert cost(block(name)(C), torch.randn(1, C, 24, 24)) == pytest.approx(COST[name] * C**2, rel=0.06)


@each
def test_a_block_reaches_as_far_as_it_says(name):
    module, x = shaken(block(name)(C)).eval(), torch.randn(1, C, 33, 33)
    changed = x.clone()
    changed[..., 16, 16] += 1
    with torch.no_grad():
        rows = (module(x) - module(changed)).abs().amax((0, 1, 3)).nonzero()[:, 0]
    far = int((rows - 16).abs().max())
    assert far == (16 if module.reach is None else module.reach)


@pytest.mark.parametrize("name", [n for n in BLOCKS if n not in ("plain", "inception")])
def test_a_block_with_a_shortcut_adds_nothing_at_first(name):
    x = torch.randn(2, C, 8, 8)
    torch.testing.assert_close(block(name)(C)(x), x)


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_an_upsampler_doubles_the_size(name):
    module = upsampler(name)(C, 24)
    x = torch.randn(2, C, 5, 3, requires_grad=True)
    y = module(x)
    assert y.shape == (2, 24, 10, 6)
    y.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (x, *module.parameters()))
    assert cost(module, torch.randn(1, C, 16, 16)) == pytest.approx(UP_COST[name] * C * 24, rel=0.01)
    changed = torch.zeros(1, C, 9, 9)
    changed[..., 4, 4] = 1
    with torch.no_grad():
        rows = (module(changed) - module(0 * changed)).abs().amax((0, 1, 3)).nonzero()[:, 0] // 2
    assert (rows - 4).abs().max() <= module.reach


@each
def test_codecs_are_built_of_any_block(name):
    torch.manual_seed(0)
    x = torch.rand(12, 3, 32, 32)
    for net in (
        Preview.start([x], channels=12, widths=(16, 16, 32), blocks=(1, 1, 1), block=name),
        Photo.start([x], channels=12, widths=(16, 16, 32), blocks=(1, 1, 1), block=("residual", name, "plain"), up="nearest"),
    ):
        y = net.synthesis_transform(net.analysis_transform(x))
        assert y.shape == x.shape
        assert type(net)(**net.config).load_state_dict(net.state_dict())
        for reach in (net.analysis_reach, net.synthesis_reach):
            assert (reach is None) == (BLOCKS[name].reach is None)
        y.square().sum().backward()
        assert all(p.grad is not None for n, p in net.named_parameters() if not n.startswith("prior"))
    for net in (
        ConvLSTM.start([x], encoder=16, decoder=16, synthesis=16, block=name),
        ConvResidual.start([x], fine=32, coarse=32, block=name),
        ConvAutoencoder.start([x], bits=16, fine=32, coarse=32, block=name),
    ):
        encoder, decoder, y = net.initial(x)
        codes, _ = net.encoder_step(x, y, 0, encoder, decoder[0])
        assert net.synthesis(net.decoder_step(codes, 0, decoder)).shape == x.shape
        assert type(net)(**net.config).load_state_dict(net.state_dict())
        assert (net.reach is None) == (BLOCKS[name].reach is None)


@each
def test_bits_that_are_not_known_add_nothing(name):
    net = shaken(ConvResidual(fine=32, coarse=32, block=name))
    _, decoder, grey = net.initial(torch.rand(1, 3, 32, 32))
    torch.testing.assert_close(net.synthesis(net.decoder_step(torch.zeros(1, 2, 8, 8), 0, decoder)), grey)


def test_unknown_names_are_refused():
    with pytest.raises(NeurocodecError, match="no block 'none'; there are plain, "):
        Preview(block="none")
    with pytest.raises(NeurocodecError, match="no upsampler 'none'"):
        Preview(up="none")


def test_halves_are_refused_where_elements_are_not_shown_where_they_are_expected():
    with pytest.raises(NeurocodecError, match="halves = true takes centred = true"):
        Preview(halves=True)
