"""The line holds: any size, any prefix, any number of threads, whole or in strips."""

import numpy as np
import pytest
import torch
from PIL import Image

import neurocodec
from neurocodec import codec, metrics, weights

pytestmark = pytest.mark.usefixtures("raw_passes")


def decode(stream, **options):
    return np.asarray(neurocodec.decode(stream, **options))


@pytest.fixture(scope="module")
def streams(photos, raw_passes):
    return [neurocodec.encode(p, passes=16) for p in photos]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1), (31, 32), (32, 33), (100, 70)])
def test_any_size_comes_back_in_its_size(size):
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = neurocodec.encode(picture, model="conv-lstm", passes=2)
    assert neurocodec.decode(stream).size == size
    payload = neurocodec.encode(picture, model="conv-lstm", passes=3, headerless=True)
    assert len(payload) == 3 * 16 * -(-size[0] // 32) * -(-size[1] // 32)
    assert len(stream) - len(neurocodec.unpack(stream)) <= 12


def test_mean_quality_does_not_fall_from_pass_to_pass(photos, streams):
    means = [
        np.mean([metrics.ssim(p, decode(s, passes=n)) for p, s in zip(photos, streams, strict=True)]) for n in range(1, 17)
    ]
    assert means == sorted(means)
    assert means[0] > 0.3 and means[3] - means[0] > 0.08 and means[15] - means[3] > 0.03


def test_bits_of_a_cut_pass_help(photos, streams):
    size = neurocodec.info(streams[0]).pass_bytes[0]
    for whole in range(4):
        means = [
            np.mean(
                [
                    metrics.ssim(p, decode(neurocodec.unpack(s)[: int(size * (whole + part))], size=(192, 160)))
                    for p, s in zip(photos, streams, strict=True)
                ]
            )
            for part in ((0.25, 0.5, 0.75, 1) if whole == 0 else (0, 0.25, 0.5, 0.75, 1))
        ]
        assert all(later > earlier - 0.002 for earlier, later in zip(means, means[1:], strict=False)), (whole, means)


def test_budgets_are_hard_limits_and_are_used(photos):
    for budget in (20, 100, 1000, 5001):
        stream = neurocodec.encode(photos[2], bytes=budget)
        assert len(stream) == budget
        assert neurocodec.truncate(neurocodec.encode(photos[2], passes=16), bytes=budget) == stream
    assert len(neurocodec.encode(photos[2], bpp=0.5)) == 0.5 * 160 * 192 / 8
    assert len(neurocodec.encode(photos[2], bytes=500, checksum=True)) == 500
    for small in ({"bytes": 11}, {"bpp": 0.001}, {"bytes": 8, "headerless": False}):
        with pytest.raises(neurocodec.NeurocodecError, match="too small"):
            neurocodec.encode(photos[2], **small)


def test_an_ssim_target_is_reached_at_the_first_pass_that_does(photos, streams):
    third, fourth = (metrics.ssim(photos[0], decode(streams[0], passes=n)) for n in (3, 4))
    assert neurocodec.info(neurocodec.encode(photos[0], ssim=(third + fourth) / 2)).passes == 4


def test_truncation_equals_encoding_less(photos, streams):
    assert neurocodec.truncate(streams[0], passes=3) == neurocodec.encode(photos[0], passes=3)


def test_pack_and_unpack_are_inverse(streams):
    payload = neurocodec.unpack(streams[0])
    assert neurocodec.pack(payload, size=(192, 160)) == streams[0]


def test_alpha_is_kept_and_colour_does_not_depend_on_it(photos):
    alpha = np.tile(np.arange(192, dtype=np.uint8), (160, 1))
    picture = np.dstack([photos[0], alpha])
    decoded = neurocodec.decode(neurocodec.encode(picture, passes=2))
    assert decoded.mode == "RGBA" and np.array_equal(np.asarray(decoded)[..., 3], alpha)
    assert np.array_equal(np.asarray(decoded)[..., :3], decode(neurocodec.encode(photos[0], passes=2)))


def test_strips_show_no_seams(photos, monkeypatch):
    picture = np.concatenate([photos[0], photos[1], photos[3]])
    whole = neurocodec.encode(picture, passes=4)
    shown = decode(whole)
    monkeypatch.setattr(codec, "STRIP_PIXELS", 192 * 64)
    assert np.abs(decode(whole).astype(int) - shown).max() <= 1
    # The encoder's roundings may differ, but hardly a bit may.
    bits = [np.unpackbits(np.frombuffer(neurocodec.unpack(s), np.uint8)) for s in (whole, neurocodec.encode(picture, passes=4))]
    assert np.mean(bits[0] != bits[1]) < 0.002


def test_the_number_of_threads_does_not_show(streams):
    before = torch.get_num_threads()
    try:
        shown = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            shown.append(decode(streams[3]).astype(int))
    finally:
        torch.set_num_threads(before)
    assert np.abs(shown[0] - shown[1]).max() <= 1


def test_decoding_does_not_depend_on_what_was_decoded_before(streams):
    first = decode(streams[0])
    decode(streams[1])
    assert np.array_equal(decode(streams[0]), first)


def test_bad_requests_are_refused(photos, streams):
    for options in ({"passes": 0}, {"passes": 17}, {"ssim": 0}, {"passes": 1, "bytes": 99}):
        with pytest.raises(neurocodec.NeurocodecError):
            neurocodec.encode(photos[0], **options)
    with pytest.raises(neurocodec.NeurocodecError):
        neurocodec.truncate(streams[0])
    with pytest.raises(neurocodec.ModelError):
        neurocodec.encode(photos[0], model="no-such-model")
    with pytest.raises(neurocodec.ModelError, match="other weights"):
        neurocodec.decode(streams[0][:5] + b"\x00\x00" + streams[0][7:])
    with pytest.raises(neurocodec.ModelError, match="number 10 "):
        neurocodec.decode(streams[0][:4] + b"\x0a" + streams[0][5:])


def test_a_flipped_bit_changes_the_picture_near_its_place_only():
    picture = np.asarray(Image.effect_mandelbrot((256, 256), (-2, -1.5, 1, 1.5), 60).convert("RGB"))
    stream = bytearray(neurocodec.encode(picture, passes=1))
    shown = decode(bytes(stream)).astype(int)
    stream[-32] ^= 0x80  # the last code plane's first location
    changed = np.abs(decode(bytes(stream)) - shown).max(2)
    assert changed[:96, :96].any() and not changed[128:].any() and not changed[:, 128:].any()


@pytest.mark.parametrize("bpp", [0, -1, float("nan"), float("inf")])
def test_bpp_that_is_no_positive_number_is_refused(photos, bpp):
    stream = neurocodec.encode(photos[0][:32, :32], passes=1)
    for call in (lambda: neurocodec.encode(photos[0], bpp=bpp), lambda: neurocodec.truncate(stream, bpp=bpp)):
        with pytest.raises(neurocodec.NeurocodecError, match="positive"):
            call()


def test_a_huge_budget_costs_nothing(photos):
    picture = photos[0][:32, :32]
    for model, passes in (("conv-lstm", 16), ("preview", weights.find("preview").layout.max_passes)):
        whole = neurocodec.encode(picture, model=model, passes=passes)
        assert neurocodec.encode(picture, model=model, bytes=1 << 60) == whole
        assert neurocodec.truncate(whole, bytes=1 << 60) == whole
