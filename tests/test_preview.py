"""Previews: one stream, any prefix; exact budgets; the same digits everywhere; scaled as users expect."""

import io

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import neurocodec
from neurocodec import images, metrics, weights
from neurocodec.cli import main
from neurocodec.models.preview import Preview


@pytest.fixture(scope="module")
def thumbs(photos) -> list[np.ndarray]:
    """Eight thumbnails of 32x32."""
    found = []
    for photo in photos:
        for left in (0, 32):
            square = Image.fromarray(photo[:, left : left + 160])
            found.append(np.asarray(square.resize((32, 32), Image.Resampling.LANCZOS)))
    return found


PASSES = weights.find("preview").layout.max_passes


@pytest.fixture(scope="module")
def streams(thumbs) -> list[bytes]:
    return [neurocodec.encode(t, passes=PASSES) for t in thumbs]


def decode(stream, **options):
    return np.asarray(neurocodec.decode(stream, **options))


def test_small_pictures_are_previews_of_64_bytes_by_default(thumbs):
    stream = neurocodec.encode(thumbs[0])
    assert len(stream) == 64 and neurocodec.info(stream).model == "preview"
    assert neurocodec.info(neurocodec.encode(np.zeros((65, 2, 3), np.uint8), passes=1)).model == "photo"


def test_an_untrained_network_is_a_transform_coder(thumbs):
    x = torch.from_numpy(np.stack(thumbs)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        net = Preview.start([x], channels=96, widths=(8, 8, 8))
        y = net.synthesis_transform(net.analysis_transform(x))
    assert torch.mean((x - y) ** 2) < 0.001 < torch.var(x) / 20


def test_any_prefix_of_one_stream_is_better_the_longer_it_is(thumbs, streams):
    head = len(streams[0]) - len(neurocodec.unpack(streams[0]))
    means = []
    for size in (8, 16, 24, 32, 48, 64, 96, 128, 192):
        means.append(np.mean([metrics.ssim(t, decode(s[: head + size])) for t, s in zip(thumbs, streams, strict=True)]))
    assert means == sorted(means) and means[5] > 0.6 and means[7] > 0.75


BUDGETS = (24, 64, 128)


def means(thumbs: list[np.ndarray], streams: list[list[bytes]]) -> np.ndarray:
    """SSIM at each of the budgets; streams: for each budget those of all pictures."""
    cuts = [
        [metrics.ssim(t, decode(s[:n], size=(32, 32))) for t, s in zip(thumbs, these, strict=True)]
        for these, n in zip(streams, BUDGETS, strict=True)
    ]
    return np.mean(cuts, 1)


def test_more_effort_makes_every_prefix_better_and_one_of_the_size_asked_for_more_so(thumbs, photos):
    corners = [p[top : top + 96, left : left + 96] for p in photos for top in (0, 64) for left in (0, 96)]
    thumbs = [*thumbs, *(np.asarray(Image.fromarray(c).resize((32, 32), Image.Resampling.LANCZOS)) for c in corners)]
    plain, searched = (
        [neurocodec.encode(t, passes=PASSES, effort=effort, headerless=True) for t in thumbs] for effort in (1, 2)
    )
    asked = [[neurocodec.encode(t, bytes=n, effort=2, headerless=True) for t in thumbs] for n in BUDGETS]
    assert all(len(s) <= n for n, these in zip(BUDGETS, asked, strict=True) for s in these)
    assert (means(thumbs, [searched] * 3) > means(thumbs, [plain] * 3) + 0.001).all()
    gain = means(thumbs, asked) - means(thumbs, [searched] * 3)
    assert gain.mean() > 0.001 and gain.min() > -0.001


def test_truncation_equals_encoding_less(thumbs, streams):
    for budget in (12, 30, 64, 100):
        assert neurocodec.truncate(streams[1], bytes=budget) == neurocodec.encode(thumbs[1], bytes=budget)
    for passes in (9, 20, PASSES - 2):
        part = neurocodec.truncate(streams[1], passes=passes)
        assert streams[1].startswith(part) and neurocodec.info(part).passes >= passes
        assert np.array_equal(decode(part, passes=passes), decode(streams[1], passes=passes))


def test_info_counts_the_passes_without_a_network(streams):
    said = neurocodec.info(streams[0])
    assert (said.passes, len(said.pass_bytes), said.container) == (PASSES, PASSES, True)
    assert sum(said.pass_bytes) == len(neurocodec.unpack(streams[0]))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1), (32, 21), (64, 64), (20, 32)])
def test_any_size_comes_back_in_its_size(photos, size):
    picture = photos[2][: size[1], : size[0]]
    stream = neurocodec.encode(picture, model="preview", bytes=100)
    assert len(stream) <= 100 and neurocodec.decode(stream).size == size
    payload = neurocodec.encode(picture, model="preview", bytes=50, headerless=True)
    assert neurocodec.decode(payload, size=size).size == size


def test_digits_do_not_depend_on_threads_and_pixels_hardly(thumbs, streams):
    whole = [decode(s) for s in streams]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for stream, shown, thumb in zip(streams, whole, thumbs, strict=True):
            assert np.abs(decode(stream).astype(int) - shown).max() <= 1
            assert neurocodec.info(stream).passes == PASSES
    finally:
        torch.set_num_threads(before)


def test_large_pictures_are_scaled_down(photos):
    assert neurocodec.decode(neurocodec.encode(photos[0], model="preview")).size == (32, 27)
    assert neurocodec.decode(neurocodec.encode(photos[0], model="preview", fit=64)).size == (64, 53)
    assert neurocodec.decode(neurocodec.encode(photos[0], fit=48)).size == (48, 40)
    assert images.fit(images.load(photos[0]), 500).width == 192
    with pytest.raises(neurocodec.NeurocodecError, match="more than the model's"):
        neurocodec.encode(np.zeros((600, 600, 3), np.uint8), model="preview", fit=600)
    for bad in (0, -3):
        with pytest.raises(neurocodec.NeurocodecError, match="1 pixel or more"):
            neurocodec.encode(photos[0], fit=bad)


def test_alpha_is_kept(thumbs):
    alpha = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    shown = neurocodec.decode(neurocodec.encode(np.dstack([thumbs[0], alpha]), bytes=300))
    assert np.array_equal(np.asarray(shown)[..., 3], alpha)


def test_text_for_a_web_page_and_an_enlarged_placeholder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photos[0]).save("photo.png")
    run = CliRunner().invoke
    said = run(main, "encode photo.png -m preview --bytes 64 --base64 -o -".split())
    assert said.exit_code == 0 and len(said.stdout.strip()) <= 88
    (tmp_path / "p.txt").write_text(said.stdout)
    assert run(main, "decode p.txt --base64 --upscale 192x160 -o big.png".split()).exit_code == 0
    assert run(main, "encode photo.png -m preview --bytes 32 --headerless --json".split()).exit_code == 0
    assert (tmp_path / "photo.bits").stat().st_size == 32
    assert run(main, "decode photo.bits --size 32x27 -o small.png".split()).exit_code == 0
    with Image.open("big.png") as big, Image.open("small.png") as small:
        assert (big.size, small.size) == ((192, 160), (32, 27))


def test_upscaling_is_bounded(streams):
    with pytest.raises(neurocodec.NeurocodecError, match="outside the limits"):
        neurocodec.decode(streams[0], upscale=(70_000, 70_000))


@pytest.mark.parametrize("size", [(600, 600), (65_535, 2_000)])
def test_a_head_cannot_ask_for_a_large_preview(streams, size):
    payload = neurocodec.unpack(streams[0])
    with pytest.raises(neurocodec.StreamError, match="more than the model's"):
        neurocodec.pack(payload, size=size, model="preview")


def test_trailing_garbage_is_refused(streams):
    with pytest.raises(neurocodec.StreamError, match="trailing garbage"):
        neurocodec.decode(streams[0] + bytes(20))


def test_a_file_object_is_read(thumbs):
    buffer = io.BytesIO()
    Image.fromarray(thumbs[0]).save(buffer, "PNG")
    buffer.seek(0)
    assert neurocodec.encode(buffer) == neurocodec.encode(thumbs[0])
