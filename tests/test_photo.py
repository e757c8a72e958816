"""Whole pictures through a latent told by planes: seams, prefixes, rates, and the same digits everywhere."""

import numpy as np
import pytest
import torch
from PIL import Image

import neurocodec
from neurocodec import codec, metrics, weights
from neurocodec.codec import LatentCodec
from neurocodec.images import Picture
from neurocodec.models.near import NearConv
from neurocodec.models.photo import Photo
from neurocodec.train import contexts


@pytest.fixture(scope="module")
def model(photos, tmp_path_factory) -> str:
    """An untrained model: a transform coder with fitted tables, whose convolutions do a little."""
    torch.manual_seed(0)
    x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 255
    net = Photo.start([x], channels=48, widths=(8, 12, 16), blocks=(1, 1, 2), pyramid=3).requires_grad_(False)
    for name, p in net.named_parameters():
        if ".wide." in name or name.startswith(("to_latent", "to_pixels")):
            p.add_(0.02 * torch.randn_like(p))
    path = tmp_path_factory.mktemp("photo") / "tiny.safetensors"
    with torch.enable_grad():
        tables = contexts.fit(net.prior, contexts.latents(net, [x]), 40)
    weights.save(net, "photo", path, tables)
    return str(path)


@pytest.fixture(scope="module")
def stream(model, photos) -> bytes:
    return neurocodec.encode(photos[0], model=model, passes=weights.find(model).layout.max_passes)


def decode(stream: bytes, model: str, **options) -> np.ndarray:
    return np.asarray(neurocodec.decode(stream, model=model, **options))


def test_200_prefixes_of_a_stream_decode_and_longer_ones_are_better(model, photos, stream):
    shown = []
    for length in np.geomspace(40, len(stream), 200).astype(int):
        picture = decode(stream[:length], model)
        assert picture.shape == photos[0].shape
        shown.append(metrics.psnr(photos[0], picture))
    assert all(later > earlier - 0.1 for earlier, later in zip(shown, shown[1:], strict=False)) and shown[-1] > shown[0] + 10


def test_strips_show_no_seams(model, photos, monkeypatch):
    picture = np.concatenate([*photos, *photos])
    network, layout = weights.network(weights.find(model).path), weights.find(model).layout
    whole = neurocodec.encode(picture, model=model, bpp=1)
    shown = decode(whole, model)
    monkeypatch.setattr(codec, "STRIP_PIXELS", 192 * 64)
    assert picture.shape[0] > 4 * network.synthesis_reach
    assert np.abs(decode(whole, model).astype(int) - shown).max() <= 1
    latents = []
    for pixels in (192 * 64, 1 << 21):
        monkeypatch.setattr(codec, "STRIP_PIXELS", pixels)
        known = layout.known(*picture.shape[1::-1])
        for one in LatentCodec(network, layout).encode(Picture(picture.transpose(2, 0, 1).astype(np.float32) / 255)):
            known.tell(one.codes)
        latents.append(known.value)
    assert np.mean(latents[0] != latents[1]) < 0.001  # rounding, of what lies between two whole numbers


def test_a_transform_reaches_no_further_than_it_says(model):
    network = weights.network(weights.find(model).path)
    reach = network.analysis_reach
    middle = 2 * reach
    x = torch.rand(1, 3, 2 * middle, 64)
    changed = x.clone()
    changed[:, :, middle] = 1 - changed[:, :, middle]
    z = [network.analysis_transform(x) for x in (x, changed)]
    rows = (z[0] - z[1]).abs().amax((0, 1, 3)).nonzero()[:, 0] * network.stride
    assert middle - reach - network.stride < rows.min() and rows.max() < middle + reach
    reach = network.synthesis_reach
    middle = 2 * reach
    z = [torch.zeros(1, z[0].shape[1], 2 * middle // network.stride, 4) for _ in range(2)]
    z[1][:, :, middle // network.stride] += 3
    y = [network.synthesis_transform(z) for z in z]
    rows = (y[0] - y[1]).abs().amax((0, 1, 3)).nonzero()[:, 0]
    assert middle - reach <= rows.min() < rows.max() < middle + network.grid + reach


@pytest.mark.parametrize("size", [(1, 1), (17, 160), (192, 15)])
def test_any_size_comes_back_in_its_size(model, photos, size):
    picture = photos[2][: size[1], : size[0]]
    assert neurocodec.decode(neurocodec.encode(picture, model=model), model=model).size == size
    payload = neurocodec.encode(picture, model=model, bytes=50, headerless=True)
    assert len(payload) <= 50 and neurocodec.decode(payload, model=model, size=size).size == size


def test_budgets_are_exact_and_truncation_equals_encoding_less(model, photos, stream):
    for bpp in (0.05, 0.2, 0.5):
        part = neurocodec.encode(photos[0], model=model, bpp=bpp)
        assert len(part) == int(bpp * 160 * 192 / 8) and stream.startswith(part)
    payload = neurocodec.encode(photos[0], model=model, headerless=True)
    assert len(payload) == min(len(neurocodec.unpack(stream)), 0.5 * 160 * 192 / 8)
    target = metrics.ssim(photos[0], decode(stream, model, passes=20))
    assert neurocodec.encode(photos[0], model=model, ssim=target) == neurocodec.encode(photos[0], model=model, passes=20)


@pytest.mark.parametrize("asked", [{"passes": 1}, {"passes": 4}, {"ssim": 0.01}], ids=str)
@pytest.mark.parametrize("shape", [(64, 96, 3), (1600, 1400, 3)], ids=str)
def test_whatever_is_asked_for_is_decoded(shape, asked):
    """The first passes may tell nothing of a grey picture; a few bytes of a large one are decoded by nobody."""
    grey = np.full(shape, 128, np.uint8)
    stream = neurocodec.encode(grey, model="photo", **asked)
    assert np.asarray(neurocodec.decode(stream)).shape == shape
    whole = neurocodec.encode(grey, model="photo", bytes=200)
    for passes in (1, 4):
        assert np.asarray(neurocodec.decode(neurocodec.truncate(whole, passes=passes))).shape == shape


def test_the_same_digits_with_any_number_of_threads(model, photos, stream):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert np.abs(decode(stream, model).astype(int) - decode(stream, model)).max() == 0
        one = decode(stream[:3000], model).astype(int)
        torch.set_num_threads(2)
        assert np.abs(decode(stream[:3000], model) - one).max() <= 1
    finally:
        torch.set_num_threads(before)


def test_a_flipped_bit_crashes_nothing(model, stream):
    for place in range(20, len(stream), len(stream) // 40):
        damaged = bytearray(stream)
        damaged[place] ^= 1 << place % 8
        try:
            assert neurocodec.decode(bytes(damaged), model=model).size == (192, 160)
        except neurocodec.StreamError as error:
            assert "trailing garbage" in str(error)


def test_a_few_bytes_cannot_ask_for_a_huge_picture(model, stream):
    payload = neurocodec.encode(Image.new("RGB", (32, 32)), model=model, bytes=20, headerless=True)
    with pytest.raises(neurocodec.StreamError, match="too short"):
        neurocodec.decode(payload, model=model, size=(8000, 8000))


def test_of_channels_that_do_not_lead_the_synthesis_sees_the_place_alone():
    torch.manual_seed(0)
    near = NearConv(8, 6, 3).requires_grad_(False)
    whole = torch.nn.Conv2d(8, 6, 3, padding=1).requires_grad_(False)
    whole.weight[:, 3:] = 0
    whole.weight[:, 3:, 1, 1] = near.own.weight
    whole.weight[:, :3], whole.bias[:] = near.near.weight, near.near.bias
    x = torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(near(x), whole(x))


@pytest.mark.parametrize(
    "options",
    [{"near": 8}, {"near": -1}, {"inner": (4, 4, 4), "block": "plain"}, {"analysis_inner": (4, 4, 4), "block": "plain"}],
    ids=str,
)
def test_a_synthesis_cannot_be_made_slender_where_there_is_nothing_to_leave_out(options):
    with pytest.raises(neurocodec.NeurocodecError, match="near|inner"):
        Photo(channels=8, widths=(8, 8, 8), blocks=(1, 1, 1), **options)


def test_effort_is_for_previews(model, photos):
    with pytest.raises(neurocodec.NeurocodecError, match="knows no effort but 1"):
        neurocodec.encode(photos[0], model=model, effort=2)


@pytest.mark.parametrize("near", [0, 2])
def test_brightness_is_told_apart_in_bfloat16(near):
    """Whose whole numbers have gaps from 256 on: a kernel that compares neighbours must see what differs by 1."""
    net = Photo(channels=8, widths=(8, 8, 8), blocks=(0, 0, 0), near=near).requires_grad_(False)
    for part in net.from_latent.parameters():
        part.zero_()
    leading = net.from_latent.near if near else net.from_latent
    leading.weight[0, 0, 1, :2] = torch.tensor([-1.0, 1.0])
    z = torch.zeros(1, 8, 4, 6)
    z[:, 0], z[:, 0, :, 3] = 1000, 1001
    seen = []
    net.up_blocks[2].register_forward_hook(lambda module, inputs, f: seen.append(f[0, 0, :, 1:].float()))
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            net.synthesis_transform(z)
    assert torch.equal(*seen) and torch.equal(seen[0], torch.tensor([0.0, 0, 1, -1, 0]).expand(4, 5))
