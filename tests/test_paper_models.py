"""The founding paper's fully connected and convolutional networks: what training, the codec and the bitstream rely on."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurocodec
from neurocodec import codec, weights
from neurocodec.codec import Codec
from neurocodec.images import Picture
from neurocodec.models import ARCHITECTURES
from neurocodec.train import run
from neurocodec.train.unroll import Unroll

TINY = {
    "fc-residual-shared": {"hidden": 8},
    "fc-residual": {"hidden": 8},
    "fc-lstm": {"hidden": 8, "encoder": 8, "decoder": 8},
    "conv-residual-shared": {"fine": 8, "coarse": 8},
    "conv-residual": {"fine": 8, "coarse": 8},
    "conv-autoencoder": {"fine": 8, "coarse": 8},
}
CONFIGS = Path(__file__).parent.parent / "models" / "configs"
each = pytest.mark.parametrize("name", TINY)


def tiny(name: str, **config: int) -> nn.Module:
    torch.manual_seed(0)
    net = ARCHITECTURES[name].network().start([torch.rand(4, 3, 32, 32)], **TINY[name] | config)
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def a_picture(width: int, height: int) -> Picture:
    return Picture(np.random.default_rng(0).random((3, height, width), np.float32))


@pytest.fixture
def saved(name, tmp_path) -> str:
    path = tmp_path / "w.safetensors"
    weights.save(tiny(name), name, path)
    return str(path)


@each
def test_the_registry_and_the_network_agree(name):
    network, layout = ARCHITECTURES[name].network(), ARCHITECTURES[name].layout
    assert (network.bits, network.stride, network.max_passes) == (layout.bits, layout.stride, layout.max_passes)


@each
@pytest.mark.parametrize("size", [(1, 1), (33, 5), (64, 40)])
def test_any_size_comes_back_as_it_was_encoded(name, saved, size):
    model, picture = weights.find(saved), a_picture(*size)
    line = Codec(weights.network(model.path), model.layout)
    passes = list(line.encode(picture))
    assert len(passes) == model.layout.max_passes
    payload = model.layout.pack([p.codes for p in passes], *size)
    assert len(payload) == model.layout.most(*size)
    decoded = list(line.decode(model.layout.unpack(payload, *size), *size))
    for there, back in zip(passes, decoded, strict=True):
        assert np.array_equal(there.codes, back.codes)
    assert decoded[-1].picture.rgb.shape == picture.rgb.shape
    np.testing.assert_allclose(decoded[-1].picture.rgb, passes[-1].picture.rgb, atol=1e-5)


@each
def test_every_prefix_decodes_and_a_later_one_knows_more(name, saved, photos):
    stream = neurocodec.encode(photos[0][:32, :64], model=saved, passes=ARCHITECTURES[name].layout.max_passes)
    payload = neurocodec.unpack(stream)
    assert payload == neurocodec.encode(photos[0][:32, :64], model=saved, bytes=len(payload), headerless=True)
    shown = [
        np.asarray(neurocodec.decode(payload[:length], model=saved, size=(64, 32))) for length in range(1, len(payload) + 1, 5)
    ]
    assert all(s.shape == (32, 64, 3) for s in shown) and not np.array_equal(shown[0], shown[-1])
    assert neurocodec.decode(stream, model=saved).size == (64, 32)


@each
def test_bytes_of_a_pass_are_those_of_the_paper(name):
    assert ARCHITECTURES[name].layout.pass_bytes(32, 32) == {"f": 8, "c": 64 if name == "conv-autoencoder" else 16}[name[0]]


def test_the_autoencoder_s_rate_is_that_of_its_weights(tmp_path):
    weights.save(tiny("conv-autoencoder", bits=16), "conv-autoencoder", tmp_path / "w.safetensors")
    model = str(tmp_path / "w.safetensors")
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    payload = neurocodec.encode(picture, model=model, headerless=True)
    assert len(payload) == 128
    assert neurocodec.decode(payload, model=model, size=(32, 32)).size == (32, 32)


@each
def test_training_steps_lower_the_loss(name):
    net = tiny(name).requires_grad_(True).train()
    objective = Unroll(window=min(2, net.max_passes), late=0.0, partial=0.0, noise=0.0)
    x, rng = torch.rand(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    values = []
    for _ in range(12):
        loss = objective.loss(net, x, 0.0, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert min(values[-3:]) < 0.9 * values[0]


@pytest.mark.parametrize("kind", ["fc", "conv"])
def test_only_distinct_networks_have_weights_of_their_own_per_pass(kind):
    shared, distinct = tiny(f"{kind}-residual-shared"), tiny(f"{kind}-residual")
    assert len(shared.encoders) == len(shared.decoders) == 1
    assert len(distinct.encoders) == len(distinct.decoders) == distinct.max_passes
    codes = torch.ones(1, distinct.bits, 32 // distinct.stride, 32 // distinct.stride)
    _, state, _ = distinct.initial(torch.zeros(1, 3, 32, 32))
    shown = {t: distinct.decoder_step(codes, t, state)[0] for t in (0, 1)}
    assert not torch.allclose(shown[0], shown[1])
    for p in distinct.decoders[1].parameters():
        p.zero_()
    assert torch.equal(distinct.decoder_step(codes, 0, state)[0], shown[0])
    assert torch.equal(distinct.decoder_step(codes, 1, state)[0], state[0])


@pytest.mark.parametrize("name", [name for name in TINY if name != "fc-lstm"])
def test_unknown_bits_add_nothing_to_a_residual_network_s_picture(name):
    net = tiny(name)
    _, state, grey = net.initial(torch.zeros(1, 3, 32, 32))
    unknown = torch.zeros(1, net.bits, 32 // net.stride, 32 // net.stride)
    assert torch.equal(net.synthesis(net.decoder_step(unknown, 0, state)), grey)


@each
def test_one_step_reaches_no_further_than_it_says(name):
    net, at = tiny(name), 96
    place, near = at // net.stride, slice(at, at + net.stride)

    def reached(gradient: Tensor, stride: int) -> bool:
        places = stride * gradient.abs().amax((0, 1)).nonzero()
        return len(places) > 0 and bool(((places >= at - net.reach) & (places < at + net.stride + net.reach)).all())

    x = torch.rand(1, 3, 192, 192, requires_grad=True)
    encoder, decoder, y = net.initial(x)
    codes, _ = net.encoder_step(x, y, 0, encoder, decoder[0])
    codes[:, :, place, place].sum().backward()
    assert reached(x.grad, 1)
    codes = codes.detach().requires_grad_()
    net.synthesis(net.decoder_step(codes, 0, decoder))[:, :, near, near].sum().backward()
    assert reached(codes.grad, net.stride)


@each
def test_strips_show_no_seams(name, monkeypatch):
    line, picture = Codec(tiny(name), ARCHITECTURES[name].layout), a_picture(40, 250)
    passes = list(line.encode(picture))[:2]
    codes = [p.codes for p in passes]
    whole = list(line.decode(codes, 40, 250))[-1].picture.rgb
    monkeypatch.setattr(codec, "STRIP_PIXELS", 64 * 64)
    np.testing.assert_allclose(list(line.decode(codes, 40, 250))[-1].picture.rgb, whole, atol=1e-5)
    for there, again in zip(codes, (p.codes for p in line.encode(picture)), strict=False):
        assert np.mean(there != again) < 0.002  # roundings may differ, but hardly a bit may


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_training_configurations_make_networks_that_two_cores_can_train(config):
    name = tomllib.loads(config.read_text())["architecture"]
    if name not in TINY:
        pytest.skip("not of these")
    settings = run._settings(config)
    net = ARCHITECTURES[name].network().start([torch.rand(8, 3, 32, 32)], **settings.get("network", {}))
    assert net.max_passes * run.cost(net)["kmac_per_pixel"] < 264  # of all passes, through which training goes
    objective = Unroll(**settings["objective"])
    assert net.max_passes % objective.window == 0 and (objective.late == 0) == (objective.window == net.max_passes)


def test_each_has_a_training_configuration():
    assert {tomllib.loads(path.read_text())["architecture"] for path in CONFIGS.glob("*.toml")} >= set(TINY)


@pytest.mark.parametrize("model", [model.name for model in neurocodec.list_models()])
def test_whole_streams_of_every_model_say_what_they_hold_and_can_be_cut(model):
    """Bits of a pass are those of the weights, not of their architecture."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    stream = neurocodec.encode(picture, model=model, fit=96)
    said = neurocodec.info(stream)
    assert said.bytes == len(stream) and sum(said.pass_bytes) == len(neurocodec.unpack(stream))
    assert neurocodec.truncate(stream, bytes=len(stream) - 1) == stream[:-1]
