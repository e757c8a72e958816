"""Binarizer, transforms and networks: what training and the codec rely on."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import neurocodec
from neurocodec import binarizer, weights
from neurocodec.cli import main
from neurocodec.errors import ModelError
from neurocodec.models import klt
from neurocodec.models.conv_lstm import ConvLSTM
from neurocodec.models.film import FiLM
from neurocodec.models.preview import Preview
from neurocodec.train import losses

DEPTHS = (3, 2, 1)


def tiny() -> ConvLSTM:
    torch.manual_seed(0)
    return ConvLSTM.start([torch.rand(40, 3, 32, 32)], encoder=8, decoder=8, synthesis=8).eval()


@given(st.integers(0, 2**32 - 1))
def test_bits_approximate_the_latent_to_half_their_last_step(seed):
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    bits = binarizer.to_bits(logits, DEPTHS)
    assert bits.shape == (2, 6, 4, 5) and set(bits.unique().tolist()) <= {-1.0, 1.0}
    error = (binarizer.from_bits(bits, DEPTHS) - torch.tanh(logits)).abs().amax((0, 2, 3))
    assert (error <= torch.tensor([2.0**-d for d in DEPTHS]) + 1e-6).all()


def test_the_gradient_passes_the_binarizer_as_that_of_tanh():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    grad = torch.randn(2, 3, 4, 4)
    binarizer.from_bits(binarizer.to_bits(logits, DEPTHS), DEPTHS).backward(grad)
    torch.testing.assert_close(logits.grad, grad * (1 - torch.tanh(logits.detach()) ** 2))


def test_stochastic_rounding_of_one_bit_has_the_paper_s_mean():
    torch.manual_seed(0)
    logits = torch.full((1, 1, 200, 200), 0.3)
    mean = binarizer.to_bits(logits, (1,), noise=1.0).mean()
    assert abs(float(mean) - float(torch.tanh(torch.tensor(0.3)))) < 0.02


def test_coarse_bits_come_first_and_a_kept_prefix_is_in_stream_order():
    bits = binarizer.to_bits(torch.randn(1, 3, 2, 2), DEPTHS)
    kept = binarizer.keep_prefix(bits, torch.tensor([6]))
    assert torch.equal(kept.flatten()[:6], bits.flatten()[:6]) and not kept.flatten()[6:].any()
    assert binarizer.from_bits(torch.eye(6)[:, :, None, None], DEPTHS).amax((1, 2, 3)).tolist() == [
        0.5, 0.5, 0.5, 0.25, 0.25, 0.125,
    ]  # fmt: skip


def test_the_start_is_a_transform_coder_whose_error_falls_with_each_pass():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(60, 3, 4, 4), scale_factor=8, mode="bicubic")
    net = ConvLSTM.start([smooth], encoder=8, decoder=8, synthesis=8)
    errors = []
    with torch.no_grad():
        encoder, decoder, y = net.initial(smooth)
        for t in range(6):
            codes, encoder = net.encoder_step(smooth, y, t, encoder, decoder[0])
            decoder = net.decoder_step(codes, t, decoder)
            y = net.synthesis(decoder)
            errors.append(float(((smooth - y) ** 2).mean()))
    assert errors == sorted(errors, reverse=True) and errors[0] < 0.25 * float(smooth.var())


def test_bits_are_given_where_they_take_away_most():
    used, depths = klt._allocate(torch.tensor([100.0, 1.0, 0.9, 1e-6]), 7)
    assert used.tolist() == [0, 1, 2] and depths == (5, 1, 1)


def test_one_step_reaches_no_further_than_it_says():
    net = tiny()
    for p in (*net.to_pixels.parameters(), *net.wanted.parameters()):
        torch.nn.init.normal_(p)
    x = torch.rand(1, 3, 192, 192)
    changed = x.clone()
    changed[..., 96, 96] = 0.0
    encoder, decoder, y = net.initial(x)
    reach = net.reach + net.stride
    with torch.no_grad():
        codes, state = net.encoder_step(x, y, 0, encoder, decoder[0])
        other, _ = net.encoder_step(changed, y, 0, encoder, decoder[0])
        rows = (codes != other).any(1)[0].any(1).nonzero()[:, 0] * net.stride
        assert all(abs(int(r) - 96) <= reach for r in rows)
        flipped = codes.clone()
        flipped[:, :, 6, 6] *= -1
        shown = [net.synthesis(net.decoder_step(c, 0, decoder)) for c in (codes, flipped)]
    far = (shown[0] - shown[1]).abs().amax((0, 1))
    assert far[96:112, 96:112].max() > 1e-3
    assert far[: 96 - 2 * net.reach].max() < 1e-6 and far[112 + 2 * net.reach :].max() < 1e-6


def test_wrong_depths_are_refused():
    with pytest.raises(ValueError, match="16 passes of 32 bits"):
        ConvLSTM([[32]] * 15)


def test_weights_round_trip_in_half_precision(tmp_path):
    net, path = tiny(), tmp_path / "w.safetensors"
    weights.save(net, "conv-lstm", path)
    loaded = weights.network(weights.find(path).path)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    assert json.loads(json.dumps(loaded.config)) == json.loads(json.dumps(net.config))


def test_weights_that_were_written_again_are_read_again(tmp_path):
    net, path = tiny(), tmp_path / "w.safetensors"
    weights.save(net, "conv-lstm", path)
    name, before = next(iter(weights.network(path).state_dict().items()))
    net.load_state_dict({k: 0 * v for k, v in net.state_dict().items()})
    weights.save(net, "conv-lstm", path)
    assert before.any() and not weights.network(path).state_dict()[name].any()


def test_large_layers_fit_8_bits(tmp_path):
    torch.manual_seed(0)
    net = Preview(channels=12, widths=(8, 8, 48), blocks=(0, 0, 1)).to(memory_format=torch.channels_last)
    z = 50 * torch.randn(4, 12, 4, 4)
    torch.nn.init.normal_(net.up_blocks[2][0].second.weight, 0, 0.05)  # else the block adds nothing
    sizes, errors = [], []
    for int8 in (False, True):
        path = tmp_path / f"{int8}.safetensors"
        weights.save(net, "preview", path, int8=int8)
        sizes.append(path.stat().st_size)
        with torch.no_grad():
            shown = weights.network(path).synthesis_transform(z)
            errors.append((shown - net.synthesis_transform(z)).std() / shown.std())
    assert sizes[1] < 0.75 * sizes[0] and errors[0] < errors[1] < 0.01


def test_weights_are_exported_smaller(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    whole, sizes = tmp_path / "whole.safetensors", []
    weights.save(weights.network(weights.find("fc-residual-shared").path), "fc-residual-shared", whole)
    for name, options in (("same", []), ("small", ["--int8"]), ("smaller", ["--int8", "--prune", "0.2"])):
        path = tmp_path / f"{name}.safetensors"
        result = CliRunner().invoke(main, ["export", str(whole), "-o", str(path), *options])
        assert result.exit_code == 0, result.output
        sizes.append(path.stat().st_size)
        stream = neurocodec.encode(picture, model=str(path), passes=4)
        assert neurocodec.decode(stream, model=str(path)).size == (32, 32)
        assert weights.find(str(path)).card["export"] == {"int8": bool(options), "prune": 0.2 if "--prune" in options else 0.0}
    assert sizes[0] > 1.9 * sizes[1] and sizes[1] > 1.15 * sizes[2]
    again = CliRunner().invoke(main, ["export", "fc-residual-shared", "-o", str(path)])
    assert again.exit_code == 1 and "-f overwrites" in again.stderr


def test_the_outputs_with_the_least_weights_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_LARGE", 1)
    net, path = tiny(), tmp_path / "w.safetensors"
    weights.save(net, "conv-lstm", path, prune=0.3)
    after, kept, gone = weights.network(path).state_dict(), [], []
    for name, weight in net.state_dict().items():
        if weight.ndim > 1:
            sizes, there = weight.flatten(1).abs().sum(1), (after[name].flatten(1) != 0).any(1)
            torch.testing.assert_close(after[name][there], weight[there], rtol=1e-3, atol=1e-4)
            ranks = sizes / sizes.mean().clamp_min(1e-12)
            kept += ranks[there].tolist()
            gone += ranks[~there].tolist()
    assert max(gone) <= min(kept) and len(gone) == pytest.approx(0.3 * len(kept + gone), abs=1)


def test_a_file_that_is_not_weights_is_refused(tmp_path):
    for name, content in (("a", b""), ("b", b"text" * 100), ("c", (2**62).to_bytes(8, "little"))):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelError):
            weights.find(path)


def test_shipped_weights_have_cards_that_tell_the_truth():
    for model in weights.shipped():
        card, net = model.card, weights.network(model.path)
        assert card["model"]["name"] == model.name and card["data"]["terms"]
        assert card["cost"]["parameters"] == sum(p.numel() for p in net.parameters())


def test_training_losses_are_the_published_measures(photos):
    from pytorch_msssim import ms_ssim
    from skimage.metrics import structural_similarity

    a = torch.from_numpy(np.stack([np.tile(p, (2, 2, 1)) for p in photos[:2]])).permute(0, 3, 1, 2) / 255
    b = (a + 0.05 * torch.randn_like(a)).clamp(0, 1)
    single, multi = losses.ms_ssim(a, b)
    assert float(multi.mean()) == pytest.approx(float(ms_ssim(a, b, data_range=1.0)), abs=1e-4)
    expected = np.mean(
        [
            structural_similarity(
                x.numpy(), y.numpy(), channel_axis=0, data_range=1.0,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            )
            for x, y in zip(a, b, strict=True)
        ]
    )  # fmt: skip
    assert float(single.mean()) == pytest.approx(float(expected), abs=2e-3)


def test_film_has_gains_and_offsets_by_depth():
    """Linear between whole numbers of planes, the last for all beyond, and of each picture its own."""
    film, f = FiLM(2), torch.full((5, 2, 3, 4), 2.0)
    depth = torch.tensor([0.0, 1.0, 1.5, 4.0, 7.0])
    torch.testing.assert_close(film(f, depth), f)
    with torch.no_grad():
        for i, (gain, offset) in enumerate(zip(film.gain, film.offset, strict=True)):
            gain[0], offset[1] = i / 3, i
        y = film(f, depth)
    torch.testing.assert_close(y[:, 0, 1, 1], 2 + 2 * depth.clamp_max(4))
    torch.testing.assert_close(y[:, 1, 1, 1], 2 + 3 * depth.clamp_max(4))
