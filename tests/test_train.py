"""`neurocodec train` goes from pictures to weights that encode, on any kind of data, and can be stopped and resumed."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import neurocodec
from neurocodec.cli import main
from neurocodec.errors import NeurocodecError
from neurocodec.models.conv_lstm import ConvLSTM
from neurocodec.models.photo import Photo
from neurocodec.models.preview import Preview
from neurocodec.tables import PLANES
from neurocodec.train import data, losses
from neurocodec.train.grow import grow
from neurocodec.train.muon import orthogonal
from neurocodec.train.rate_distortion import RateDistortion
from neurocodec.train.shrink import shrink
from neurocodec.train.unroll import Unroll

CONFIG = """
architecture = "conv-lstm"
terms = "made for a test"

[network]
encoder = 16
decoder = 16
synthesis = 16

[schedule]
batch_pixels = 8192
crop = 64
cuts = 64

[objective]
late = 0.0
partial = 0.0
"""

LATENT = """
architecture = "preview"

[network]
channels = 12
widths = [8, 8, 16]

[schedule]
batch_pixels = 16384
muon_rate = 0.02
thumbs = 1.0
"""


@pytest.fixture
def sources(tmp_path, photos):
    """A folder of photos, a tar archive of others, a mosaic of thumbnails, and a configuration."""
    (tmp_path / "folder").mkdir()
    for i in range(2):
        Image.fromarray(photos[i]).save(tmp_path / "folder" / f"{i}.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for i in range(2, 4):
            buffer = io.BytesIO()
            Image.fromarray(photos[i]).save(buffer, "JPEG", quality=95)
            member = tarfile.TarInfo(f"{i}.jpg")
            member.size = len(buffer.getvalue())
            tar.addfile(member, io.BytesIO(buffer.getvalue()))
    Image.fromarray(np.concatenate(photos[:2])).save(tmp_path / "mosaic.webp", lossless=True)
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path


def test_a_short_run_lowers_its_loss_and_its_weights_encode(sources, photos, monkeypatch):
    monkeypatch.setattr("neurocodec.train.loop._VALIDATION_SECONDS", 10)
    out = sources / "out"
    arguments = ["train", str(sources / "small.toml"), "--out", str(out), "--device", "cpu", "--minutes"]
    arguments_data = [
        "--data", str(sources / "folder"), "--data", str(sources / "shard.tar"), "--data", f"thumbs:{sources}/mosaic.webp",
    ]  # fmt: skip
    result = CliRunner().invoke(main, [*arguments, "0.5", *arguments_data])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"] and lines[-1]["thumbs"][3][0] > lines[-1]["thumbs"][0][0]
    weights = str(out / "small.safetensors")
    stream = neurocodec.encode(photos[0], model=weights, passes=2)
    assert neurocodec.decode(stream, model=weights).size == (192, 160)
    with pytest.raises(neurocodec.ModelError, match="other weights"):
        neurocodec.decode(stream)
    # A resumed run counts its earlier minutes: with no more to do it ends where it was.
    result = CliRunner().invoke(main, [*arguments, "0.5", *arguments_data, "--resume"])
    assert result.exit_code == 0 and json.loads(result.stdout.splitlines()[-1])["step"] == lines[-1]["step"]
    # Weights can be gone on from, too: before the first step the figures are theirs.
    (sources / "more.toml").write_text(f'weights = "{weights}"\n' + CONFIG)
    arguments[1] = str(sources / "more.toml")
    result = CliRunner().invoke(main, [*arguments, "1e-12", *arguments_data])
    assert result.exit_code == 0
    # Weights are float16, so some bits differ, which later passes make up for in other ways.
    again, before = (np.array(line["thumbs"]) for line in (json.loads(result.stdout), lines[-1]))
    np.testing.assert_allclose(again[0], before[0], atol=0.01)
    assert abs(again - before).max() < 0.1 and abs((again - before).mean()) < 0.02


@pytest.mark.parametrize(
    ("config", "path", "reason"),
    [
        ("not toml", "folder", "not TOML"),
        ('architecture = "none"', "folder", "architecture must be one of"),
        ('architecture = "conv-lstm"\n[schedule]\nspeed = 9', "folder", "unknown schedule settings speed"),
        ('architecture = "conv-lstm"', "nowhere", "no data at"),
        ('architecture = "conv-lstm"', "empty", "no pictures to train on"),
    ],
)
def test_bad_requests_are_refused_in_one_line(sources, config, path, reason):
    (sources / "bad.toml").write_text(config)
    (sources / "empty").mkdir()
    arguments = ["train", str(sources / "bad.toml"), "--data", str(sources / path), "--out", str(sources / "o")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and reason in result.stderr and len(result.stderr.splitlines()) == 1


def test_mosaics_are_cut_in_row_major_order(sources, photos):
    thumbs = data.load_mosaics([sources / "mosaic.webp"])
    assert thumbs.shape == (60, 32, 32, 3)
    assert np.array_equal(thumbs[7], photos[0][32:64, 32:64])


def test_a_network_with_a_latent_brings_its_tables(sources, photos, monkeypatch):
    monkeypatch.setattr("neurocodec.train.run._TABLE_STEPS", 100)
    (sources / "latent.toml").write_text(LATENT)
    out = sources / "out"
    arguments = ["train", str(sources / "latent.toml"), "--data", f"thumbs:{sources}/mosaic.webp", "--out", str(out)]
    result = CliRunner().invoke(main, [*arguments, "--minutes", "0.1"])
    assert result.exit_code == 0, result.output
    weights = str(out / "latent.safetensors")
    for size in ((32, 32), (21, 33), (1, 1)):
        picture = photos[0][: size[1], : size[0]]
        stream = neurocodec.encode(picture, model=weights, bytes=60)
        assert len(stream) <= 60 and neurocodec.decode(stream, model=weights).size == size


def test_steps_lower_the_distortion_of_unrolled_passes(photos):
    torch.manual_seed(0)
    x = torch.from_numpy(np.stack([p[a : a + 32, a : a + 32] for p in photos for a in (0, 60, 120)])).permute(0, 3, 1, 2) / 255
    net = ConvLSTM.start([x], encoder=16, decoder=16, synthesis=16)
    objective = Unroll(late=0.0, partial=0.0, noise=0.0)
    optimizer = torch.optim.Adam(net.parameters(), 3e-4)
    distortions = []
    for _ in range(12):
        distortion = objective.loss(net, x, 0.5, np.random.default_rng(0))
        optimizer.zero_grad()
        distortion.backward()
        optimizer.step()
        distortions.append(distortion.item())
    # The first step shakes the fitted start; from there on it gets better.
    assert np.mean(distortions[-3:]) < np.mean(distortions[1:4]) - 0.02


def test_muon_steps_by_a_nearly_orthogonal_matrix():
    torch.manual_seed(0)
    for shape in ((6, 9), (20, 4)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert 0.6 < values.min() and values.max() < 1.3


@pytest.mark.parametrize(
    "change",
    [{"channels": 12}, {"contexts": 32}, {"near": 4}, {"inner": (4, 4, 2)}, {"analysis_inner": (4, 4, 2)}, {"last": 4}],
    ids=str,
)
def test_a_network_that_grows_keeps_what_cannot_be_added_to(change):
    with pytest.raises(NeurocodecError, match="larger keeps"):
        grow(net := Photo(16, (8, 8, 8), (1, 1, 1)), net.config | change, [])


def test_a_network_that_grows_computes_what_it_did():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        net = Preview.start([x], channels=12, widths=(8, 8, 16))
        for p in net.parameters():
            p.add_(0.01 * torch.randn_like(p))
        larger = grow(net, net.config | {"widths": (12, 16, 24), "blocks": (1, 2, 3), "film": True}, [x])
        z = net.analysis_transform(x)
        torch.testing.assert_close(larger.analysis_transform(x), z)
        torch.testing.assert_close(larger.synthesis_transform(z, torch.tensor([0.5, 3.0])), net.synthesis_transform(z))
    larger.synthesis_transform(larger.analysis_transform(x)).sum().backward()
    assert larger.to_pixels.weight.grad[:, 8:].abs().min() > 0


def test_a_latent_that_becomes_a_pyramid_says_the_same_in_fewer_bits(photos):
    torch.manual_seed(0)
    x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        net = Preview.start([x], channels=12, widths=(8, 8, 16))
        larger = grow(net, net.config | {"pyramid": 3}, [x])
        z = [n.analysis_transform(x) for n in (net, larger)]
        torch.testing.assert_close(larger.synthesis_transform(z[1]), net.synthesis_transform(z[0]), rtol=0, atol=1e-4)
        bits = [n.prior(torch.round(z / 9) * 9, torch.full_like(z, 9)).sum() for n, z in zip((net, larger), z, strict=True)]
    assert bits[1] < 0.95 * bits[0]


def test_new_channels_tell_what_the_others_leave_out(photos):
    torch.manual_seed(0)
    x = torch.from_numpy(np.stack([p[a : a + 32, a : a + 32] for p in photos for a in (0, 60, 120)])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        net = Preview.start([x], channels=12, widths=(8, 8, 16))
        larger = grow(net, net.config | {"channels": 20}, [x])
        z, more = net.analysis_transform(x), larger.analysis_transform(x)
        torch.testing.assert_close(more[:, :12], z)
        steps = torch.ones(len(x), 1, 1, 1)
        torch.testing.assert_close(larger.prior._rate(more, steps)[:, :12], net.prior._rate(z, steps))
        before, after = (((n.synthesis_transform(latent) - x) ** 2).mean() for n, latent in ((net, z), (larger, more)))
    assert after < 0.8 * before


def test_a_network_that_shrinks_does_what_the_channels_that_matter_did():
    """Of each bottleneck half of the channels, of the last convolution's eight, and of the blocks behind others one that does nothing."""
    torch.manual_seed(0)
    pictures = torch.rand(24, 3, 64, 64)
    options = {"inner": (4, 4, 4), "analysis_inner": (4, 4, 4), "last": 4, "blocks": (1, 1, 1), "analysis_blocks": (1, 1, 1)}
    with torch.no_grad():
        net = Photo.start([pictures], channels=12, widths=(8, 12, 16), blocks=(1, 1, 2), analysis_blocks=(1, 1, 1), last=8)
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
        for blocks in (*net.down_blocks, *net.up_blocks):
            for block in blocks:
                block.wide.weight[:, torch.randperm(block.wide.in_features)[4:]] = 0
                block.conv.weight[:, torch.randperm(block.conv.in_channels)[4:]] = 0
        net.up_blocks[2][1].wide.weight.zero_()
        net.to_pixels.weight[:, torch.randperm(8)[4:]] = 0
        narrower = shrink(net, net.config | options, [pictures])
        assert narrower.config == Photo(**net.config | options).config
        z = net.analysis_transform(pictures)
        torch.testing.assert_close(narrower.analysis_transform(pictures), z, rtol=0, atol=1e-3 * z.std().item())
        shown = net.synthesis_transform(z)
        torch.testing.assert_close(narrower.synthesis_transform(z), shown, rtol=0, atol=1e-3 * shown.std().item())


@pytest.mark.parametrize("change", [{"channels": 10}, {"inner": (16, 4, 4)}, {"blocks": (2, 1, 1)}, {"film": True}], ids=str)
def test_a_network_that_shrinks_keeps_all_else(change):
    with pytest.raises(NeurocodecError, match="made fewer"):
        shrink(net := Photo(16, (8, 8, 8), (1, 1, 1)), net.config | change, [])


PARALLEL = """
import sys, torch
from neurocodec.train import parallel
from neurocodec.train.muon import Muon
parallel.join(torch.device("cpu"))
torch.manual_seed(0)
layer, x = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 2, 1)), torch.rand(4, 3, 6, 6)
mine = x[parallel.rank() :: parallel.count()]
learning, spare = list(layer.parameters()), torch.nn.Parameter(torch.zeros(2))
if parallel.rank():
    layer[0].weight.data.zero_()
parallel.share(learning)
optimizer = Muon([p for p in learning if p.ndim > 1], 0.1)
for _ in range(3):
    optimizer.zero_grad()
    (layer(mine).square().mean() / parallel.count()).backward()
    spare.grad = torch.ones(2) if parallel.rank() == 0 else None
    parallel.add_gradients([*learning, spare])
    assert spare.grad.tolist() == [1, 1]
    optimizer.step()
if parallel.rank() == parallel.count() - 1:
    torch.save(layer.state_dict(), sys.argv[1])
"""


def test_two_processes_learn_what_one_does_of_both_batches(tmp_path):
    (tmp_path / "steps.py").write_text(PARALLEL)
    command = [sys.executable, tmp_path / "steps.py", tmp_path / "one.pt"]
    subprocess.run(command, check=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command[:1], *launcher, *command[1:2], tmp_path / "two.pt"], check=True, capture_output=True)
    one, two = (torch.load(tmp_path / name) for name in ("one.pt", "two.pt"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-2, atol=1e-4)


def test_steps_lower_distortion_plus_bits(photos):
    torch.manual_seed(0)
    x = torch.from_numpy(np.stack([p[a : a + 32, a : a + 32] for p in photos for a in (0, 60, 120)])).permute(0, 3, 1, 2) / 255
    net = Preview.start([x], channels=12, widths=(8, 8, 16))
    objective, depth = RateDistortion(), torch.full((len(x),), 1.0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    costs = []
    for _ in range(30):
        cost = objective.cost(net, net.analysis_transform(x), x, depth).mean()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert np.mean(costs[-5:]) < np.mean(costs[:5]) - 0.01


def test_what_colours_of_places_weigh():
    """An error of means counts, one that 8x8 pixels even out hardly does; pictures need not be multiples of 8."""
    x = torch.full((1, 3, 45, 30), 0.5)
    tint = torch.tensor([0.02, -0.01, 0.0]).view(1, 3, 1, 1)
    texture = 0.02 * (-1.0) ** (torch.arange(45)[:, None] + torch.arange(30))
    plain, weighed = RateDistortion(), RateDistortion(means=30.0)
    more = lambda y: (weighed.trade(x, y, 0.0, 0) - plain.trade(x, y, 0.0, 0)).item()
    assert more(x + tint) == pytest.approx(30 * (tint**2).mean().item(), rel=1e-3)
    assert more(x + texture) < 1e-3 * 30 * 0.02**2


def test_the_squared_error_weighs_less_of_what_is_not_known():
    """By 3^keen for every plane: `mse` is what it weighs where all is known."""
    x = torch.full((3, 3, 32, 32), 0.5)
    depth, error = torch.tensor([0.0, 1.0, 2.5]), 0.1
    weighed = [RateDistortion(mse=m, keen=0.85).trade(x, x + error, 0.0, depth) for m in (50.0, 0.0)]
    assert (weighed[0] - weighed[1]).tolist() == pytest.approx((50 * 3 ** (-0.85 * depth) * error**2).tolist(), rel=1e-3)


def test_some_pictures_are_known_less_than_others_at_most(monkeypatch):
    """`beyond` is their share; depths of all others stay within their range."""
    depths = []

    def coded(self, net, z, depth, noise):
        depths.extend(depth.tolist())
        return z, torch.zeros(len(z))

    monkeypatch.setattr(RateDistortion, "coded", coded)
    net = type("Net", (), {"stride": 4, "analysis_transform": staticmethod(lambda x: x)})
    x, rng = torch.rand(200, 3, 32, 32), np.random.default_rng(0)
    for beyond in (0.0, 0.1):
        depths.clear()
        for _ in range(10):
            RateDistortion(shallowest=0.3, deepest=3.7, beyond=beyond, shorter=0.0).loss(net, x, 0.5, rng)
        d = np.array(depths)
        assert d.min() >= 0.3 and d.max() <= PLANES
        assert (d > 3.7).mean() == pytest.approx(beyond, abs=0.02)


def test_half_of_the_windows_teach_the_same(photos):
    x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    slopes = []
    for thinned in (False, True):
        y = (x + 0.05 * torch.randn(x.shape, generator=torch.manual_seed(1))).requires_grad_()
        single, multi = losses.ms_ssim(x, y, thinned)
        (single + multi).sum().backward()
        slopes.append(y.grad.flatten())
    assert torch.cosine_similarity(*slopes, 0).item() > 0.99
    assert slopes[1].norm().item() == pytest.approx(slopes[0].norm().item(), rel=0.01)


def test_crops_are_of_up_to_twice_the_size_within_the_photo():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 150, 3))  # a level per pixel
    narrow, small = ramp[:100, :40], ramp[:20, :90]  # the latter is padded, and flat there
    rng = np.random.default_rng(0)
    for photo, steepest in ((ramp, 2.0), (narrow, 40 / 32), (small, 1.0)):
        crops = data.random_crops([photo], 32, 100, rng).int()
        assert crops.shape == (100, 3, 32, 32)
        # Levels from one quarter of a crop's side to three: an eighth more in 16 pixels is a crop an eighth larger.
        slopes = (crops[:, 0, 24, 24] - crops[:, 0, 8, 8]).abs() / 16
        if photo is not small:
            assert 1.0 <= slopes.min() < 1.1
            assert steepest - 0.15 < slopes.max() <= steepest


def test_mixed_precision_changes_no_similarity(photos):
    """Whatever the network computes in, its pictures are compared in float32."""
    x = torch.from_numpy(np.stack(photos[:2])).permute(0, 3, 1, 2).float() / 255
    y = (x + 0.02 * torch.randn(x.shape, generator=torch.manual_seed(0))).clamp(0, 1)
    plain = [*losses.ms_ssim(x, y), losses.distortion(x, y)]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = [*losses.ms_ssim(x, y), losses.distortion(x, y)]
    for a, b in zip(plain, mixed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
