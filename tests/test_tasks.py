"""Tasks: networks, losses, measures, and that a small one learns."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import neurocodec
from neurocodec import tasks, weights
from neurocodec.bench.task import _keeps, _models, _rivals, kept
from neurocodec.cli import main
from neurocodec.errors import NeurocodecError
from neurocodec.tasks import Example, classification, segmentation, surface
from neurocodec.tasks.networks.classifier import Classifier
from neurocodec.tasks.networks.crf import CRF
from neurocodec.tasks.networks.fcn import FCN, doubling
from neurocodec.tasks.networks.uber import Uber, backward
from neurocodec.tasks.networks.unet import UNet
from neurocodec.train import run, task_network
from neurocodec.train.task_network import TaskSchedule, batch, train_network


@pytest.mark.parametrize("name", segmentation.NETWORKS)
def test_a_segmentation_network_scores_every_pixel(name):
    torch.manual_seed(0)
    net = segmentation.NETWORKS[name]()
    x, labels = torch.rand(2, 3, 104, 136), torch.randint(0, 12, (2, 104, 136))
    segmentation.loss(net(x), labels).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    y = net.eval()(x)
    assert y.shape == (2, segmentation.CLASSES, 104, 136)
    assert segmentation.loss(y, labels) > 0


@pytest.mark.parametrize("name", surface.NETWORKS)
def test_a_surface_network_says_something_of_every_pixel(name):
    torch.manual_seed(0)
    net = surface.NETWORKS[name]()
    y = net(torch.rand(2, 3, 104, 136))
    assert y.shape[0] == 2 and y.shape[2:] == (104, 136)
    assert y.shape[1] == {"normals": 3, "depth": 1}.get(name, 4)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert set(net.state_dict()) == set(surface.NETWORKS[name]().state_dict())


def test_cross_stitched_networks_start_as_those_of_one_task(monkeypatch):
    """When nothing is mixed, the two of them say what each says alone."""
    torch.manual_seed(0)
    alone = {"a": UNet(3).eval(), "b": UNet(1).eval()}
    monkeypatch.setattr(task_network, "stored", lambda name: alone[name].state_dict())
    both = surface.NETWORKS["cross-stitch"]()
    both.load_state_dict(both.state_dict() | task_network._start(["a", "b"]))
    for unit in both.units:
        unit.shares.data[:] = torch.eye(2)[..., None]
    x = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(both.eval()(x), torch.cat([alone["a"](x), alone["b"](x)], 1))


def test_each_fcn_starts_as_the_one_before():
    torch.manual_seed(0)
    coarse, fine = FCN(5, 0).eval(), FCN(5, 1).eval()
    fine.load_state_dict(coarse.state_dict(), strict=False)
    x = torch.rand(1, 3, 128, 128)
    inside = (slice(None), slice(None), slice(40, 88), slice(40, 88))
    assert (coarse(x) - fine(x))[inside].square().mean() < 0.02 * coarse(x)[inside].square().mean()


def test_doubling_is_bilinear_at_first():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    with torch.no_grad():
        y = doubling(1)(ramp)[0, 0, 8, 3:-3]
    torch.testing.assert_close(y, torch.arange(1.25, 6, 0.5)[: len(y)])


def test_a_field_hears_from_what_is_alike():
    """One pixel with a wrong score, amid others of its colour, is put right; one of another colour keeps its class."""
    x = torch.zeros(1, 3, 24, 24)
    x[..., 12:] = 1
    scores = torch.zeros(1, 2, 24, 24)
    scores[:, 0, :, :12] = scores[:, 1, :, 12:] = 2
    scores[0, :, 5, 5] = torch.tensor([0.0, 1.0])
    found = CRF(lambda _: scores)(x).argmax(1)[0]
    assert (found[:, :12] == 0).all() and (found[:, 12:] == 1).all()


def test_intersection_over_union():
    label = np.array([[0, 0, 1, 1], [2, 2, 11, 11]], np.uint8)
    scores = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1, 0], [2, 2, 5, 5]]), 11).permute(2, 0, 1)[None].float()
    figures = segmentation.measure([(scores, label)])
    assert figures["mean_iou"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3) and figures["accuracy"] == pytest.approx(5 / 6)
    assert segmentation.loss(10 * scores, torch.from_numpy(label)[None]) > 0


def test_normals_of_a_tilted_plane():
    intrinsics = np.array([[100.0, 0, 32], [0, 100, 24], [0, 0, 1]])
    truth = np.array([0.3, -0.2, -1.0]) / np.linalg.norm([0.3, -0.2, -1.0])
    rows, columns = np.mgrid[:48, :64]
    rays = np.stack([(columns - 32) / 100, (rows - 24) / 100, np.ones((48, 64))], -1)
    depth = 1000 * (truth * [0, 0, 2.0]).sum() / (rays @ truth)
    depth[0, 0] = 65535
    label = surface.surface(depth.astype(np.float32), intrinsics)
    assert np.isnan(label[0, 0]).all() and np.isnan(label[:3, :, 0]).all()
    angles = np.degrees(np.arccos(np.clip(label[12:-12, 12:-12, :3] @ truth, -1, 1)))
    assert angles.max() < 2
    said = torch.from_numpy(label).permute(2, 0, 1)[None].nan_to_num()
    figures = surface.measure([(said, label)])
    assert figures["within_11.25"] == 1 and figures["relative_depth_error"] == 0
    assert surface.loss(said, torch.from_numpy(label)[None]) < 1e-3


def test_frugal_gradients_are_the_same():
    torch.manual_seed(0)
    net, x = Uber({"a": 2, "b": 1, "c": 3}), torch.rand(2, 3, 64, 64)
    labels = {"a": torch.rand(2, 2, 64, 64), "c": torch.rand(2, 3, 64, 64)}
    losses = {name: torch.nn.functional.mse_loss for name in "abc"}
    net.eval()  # dropout draws anew, and batch statistics would be counted twice
    found = []
    for frugal in (False, True):
        net.zero_grad()
        assert set(backward(net, x, labels, losses, frugal)) == {"a", "c"}
        found.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and not any(name.startswith("heads.b") for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_a_small_network_learns():
    rng = np.random.default_rng(0)
    examples = [
        Example(np.clip(rng.normal(60 + 130 * (i % 2), 20, (32, 32, 3)), 0, 255).astype(np.uint8), np.int64(i % 2))
        for i in range(40)
    ]
    task = tasks.Task(lambda: Classifier(2), classification.loss, classification.measure, lambda folder, part: examples)
    torch.manual_seed(0)
    net = train_network(task.network(), task, examples, TaskSchedule(batch=16), 0.05, lambda line: None)
    with torch.no_grad():
        pairs = [(net(torch.from_numpy(e.picture).permute(2, 0, 1)[None] / 255), e.label) for e in examples]
    assert classification.measure(pairs)["accuracy"] > 0.9


def test_pictures_and_labels_are_cropped_and_mirrored_together():
    picture = np.random.default_rng(0).integers(0, 11, (60, 80), np.uint8)
    examples = [Example(np.repeat(picture[..., None], 3, 2), picture)]
    rng = np.random.default_rng(0)
    x, labels = batch(examples, TaskSchedule(crop=32, batch=6), rng)
    light = (x * 255).amax((2, 3), keepdim=True) / labels.amax((1, 2)).view(-1, 1, 1, 1)
    assert x.shape == (6, 3, 32, 32) and labels.shape == (6, 32, 32)
    torch.testing.assert_close((x * 255 / light).round().mean(1).to(torch.uint8), labels)


def test_camvid_s_layout_is_read(tmp_path):
    for part, kind in (("train", "RGB"), ("train_labels", "L")):
        (tmp_path / part).mkdir()
        Image.new(kind, (12, 8), 3).save(tmp_path / part / "a.png")
    (example,) = segmentation.examples(tmp_path, "train")
    assert example.picture.shape == (8, 12, 3) and (example.label == 3).all()


def test_tasks_are_found_by_name(tmp_path: Path):
    assert tasks.find("segmentation").measure is segmentation.measure
    assert tasks.find("neurocodec.tasks.classification:task").loss is classification.loss
    for name in ("nothing", "no.such.module:task", "neurocodec.tasks:nothing"):
        with pytest.raises(NeurocodecError):
            tasks.find(name)


def tiny_task() -> tasks.Task:
    """How bright each pixel is: the 30 lines of the documentation in short."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 80, 3), np.uint8) for _ in range(20)]
    found = [Example(p, (p.mean(2) > 128).astype(np.uint8)) for p in pictures]
    network = torch.nn.Conv2d(3, 2, 1)
    network.load_state_dict(
        {"weight": torch.tensor([0, 1 / 3]).view(2, 1, 1, 1).expand(2, 3, 1, 1), "bias": torch.tensor([0, -0.5])}
    )
    return tasks.Task(
        network=lambda: network,
        loss=lambda said, labels: torch.nn.functional.cross_entropy(said, labels.long()),
        measure=lambda pairs: {"right": float(np.mean([(said[0].argmax(0).numpy() == label).mean() for said, label in pairs]))},
        examples=lambda folder, part: found,
    )


@pytest.mark.parametrize(("sides", "share"), [("encoder", 0.5), ("both", 0.5), ("encoder", 0.0)])
def test_a_variant_for_a_task(tmp_path, photos, sides, share, monkeypatch):
    """An encoder's variant changes nothing that decodes: the model itself reads what it writes.

    Without a share of the task's own loss, any pictures will do.
    """
    monkeypatch.setattr(run, "_TABLE_STEPS", 2)
    monkeypatch.setattr(run, "_TABLE_CROP", 64)
    monkeypatch.setattr(run, "_TABLE_CROPS", 4)
    config = tmp_path / "photo.bright.toml"
    base = weights.find("photo")
    config.write_text(
        f'architecture = "photo"\nweights = "{base.path}"\ntask = "{__name__}:tiny_task"\nsides = "{sides}"\n'
        "[schedule]\nbatch_pixels = 8192\ncrop = 64\nsteps = 3\n"
        f"[objective]\nshare = {share}\nmatch = {1 - share}\nmultiscale = 0.5\nshorter = 0.0\n"
    )
    if not share:
        for i, photo in enumerate(photos):
            Image.fromarray(photo).save(tmp_path / f"{i}.png")
    result = CliRunner().invoke(main, ["train", str(config), "--data", str(tmp_path), "--out", str(tmp_path), "--minutes", "1"])
    assert result.exit_code == 0, result.output
    path = str(tmp_path / "photo.bright.safetensors")
    variant = weights.find(path)
    before, after = (weights.network(m.path).state_dict() for m in (base, variant))
    changed = {name.split(".")[0] for name in before if not torch.allclose(before[name], after[name], atol=2e-3, rtol=2e-2)}
    stream = neurocodec.encode(photos[0], model=path, bytes=600)
    assert variant.card["objective"]["share"] == share
    if sides == "encoder":
        assert variant.fingerprint == base.fingerprint and not changed & {"synthesis", "up_blocks", "to_pixels", "prior"}
        assert np.array_equal(neurocodec.decode(stream), neurocodec.decode(stream, model=path))
        with pytest.raises(NeurocodecError, match="not one by itself"):
            weights.export(variant, tmp_path / "e.safetensors", True, 0)
    else:
        assert variant.fingerprint != base.fingerprint
        assert neurocodec.decode(stream, model=path).size == (192, 160)


def test_a_tasks_network_may_learn_too(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_TABLE_STEPS", 2)
    config, said = tmp_path / "photo.bright.toml", {}
    text = (
        f'architecture = "photo"\nweights = "photo"\ntask = "{__name__}:tiny_task"\n'
        "[schedule]\nbatch_pixels = 8192\ncrop = 64\nsteps = 3\n[objective]\nshare = 0.5\nshorter = 0.0\n"
    )
    for more in ("", "joint = 1e-2\n", "joint = 1e-2\nmatch = 1.0\n"):
        config.write_text(text + more)
        out = tmp_path / str(len(more))
        said[more] = CliRunner().invoke(
            main, ["train", str(config), "--data", str(tmp_path), "--out", str(out), "--minutes", "1"]
        )
        if more and "match" not in more:
            assert said[more].exit_code == 0, said[more].output
            before, after = tiny_task().network(), tiny_task().network()
            after.load_state_dict(torch.load(out / "photo.bright.network.pt"))
            assert 1e-3 < (after.weight - before.weight).abs().max() < 0.1
        else:
            assert said[more].exit_code == (1 if more else 0) and not (out / "photo.bright.network.pt").exists()
    assert "nothing to match" in said["joint = 1e-2\nmatch = 1.0\n"].stderr


def test_more_effort_serves_the_task(photos):
    """A variant's search minds what its network says, not only what pictures look like."""
    thumbs = [np.asarray(Image.fromarray(p[:, 16:176]).resize((32, 32), Image.Resampling.LANCZOS)) for p in photos]
    name, network = "preview.classification", classification.task().network().eval()

    @torch.no_grad()
    def apart(effort: int) -> float:
        streams = [neurocodec.encode(t, model=name, bytes=24, effort=effort, headerless=True) for t in thumbs]
        shown = [np.asarray(neurocodec.decode(s, model=name, size=(32, 32))) for s in streams]
        of_these, of_originals = (network(tasks.to_input(np.stack(pictures))) for pictures in (shown, thumbs))
        return float((of_these - of_originals).square().mean())

    assert apart(2) < 0.7 * apart(1)


def test_a_variant_without_a_model_is_refused(tmp_path):
    config = tmp_path / "x.toml"
    config.write_text('architecture = "photo"\ntask = "segmentation"\n')
    result = CliRunner().invoke(main, ["train", str(config), "--data", str(tmp_path), "--out", str(tmp_path)])
    assert result.exit_code == 1 and "whose weights are named" in result.stderr


def test_a_bench_of_a_task(tmp_path):
    codecs, files = (
        "jpeg:10,jpeg:60,jpeg:95,photo:0.1,photo:2",
        {kind: tmp_path / f"b.{kind}" for kind in ("json", "csv", "png")},
    )
    arguments = [
        "bench",
        str(tmp_path),
        "--protocol",
        "task",
        "--task",
        f"{__name__}:tiny_task",
        "--codecs",
        codecs,
        "--jobs",
        "2",
    ]
    outputs = ["--json", str(files["json"]), "--csv", str(files["csv"]), "--sheet", str(files["png"])]
    result = CliRunner().invoke(main, [*arguments, *outputs])
    assert result.exit_code == 0, result.output
    found = json.loads(files["json"].read_text())
    jpeg, ours = (entry["points"] for entry in found["summary"])
    assert [p["setting"] for p in jpeg] == ["10", "60", "95"] and jpeg[0]["bytes"] < jpeg[-1]["bytes"]
    assert jpeg[0]["right"] < jpeg[-1]["right"] and 0 <= ours[0]["right"] <= 1 and ours[1]["bpp"] == pytest.approx(2, rel=0.02)
    assert len(files["csv"].read_text().splitlines()) == 6 and Image.open(io.BytesIO(files["png"].read_bytes())).width > 160
    assert "bytes within 0.02 of right" in result.output
    for extra, code in (([], 2), (["--task", "nothing"], 1)):
        again = CliRunner().invoke(main, [*arguments[:4], *extra, "--codecs", "jpeg"])
        assert again.exit_code == code and ("go together" if code == 2 else "no task 'nothing'") in again.stderr


def test_a_task_is_measured_with_its_own_variants():
    assert _models("classification", True) == ["preview", "preview.classification", "preview.classification@2*"]
    assert _models("segmentation", False) == ["photo", "photo.segmentation"]
    assert _models("a.module:task", True) == ["preview"]
    assert _rivals(True)[0] == "jpeg:2" and _rivals(False)[:2] == ["jpeg", "webp"]


def test_bytes_that_keep_a_figure():
    points = [{"bytes": b, "right": r} for b, r in ((100, 0.5), (200, 0.8), (400, 0.9), (800, 0.94))]
    found = _keeps(points, {"right": 0.9, "other": 1.0})
    assert found["0.05"] == pytest.approx(200 * 2**0.5, abs=0.1)
    said = {of: kept({"points": points, "keeps": _keeps(points, {"right": of})}, {"right": of}) for of in (0.51, 0.96, 1.0)}
    assert said == {0.51: ["< 100"] * 3, 0.96: ["800", "673", "476"], 1.0: ["-"] * 3}
    assert _keeps(points[1:], {"right": 0.8})["0.02"] is None and _keeps(points, {"right": 1.0})["0.02"] is None


def test_the_readme_s_task(tmp_path, monkeypatch):
    """What the README shows is followed, with data that is tiny."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    section = readme[readme.index("**For a task.**") :]
    code, config = (re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL)[1] for kind in ("python", "toml"))
    assert len(code.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("cracks.py").write_text(code)
    Path("photo.cracks.toml").write_text(config + "[schedule]\nbatch_pixels = 8192\ncrop = 64\nsteps = 2\n")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 2, 1))
    torch.save(net.state_dict(), "cracks.pt")
    for part, count in (("train", 18), ("test", 2)):
        Path("cracks", part).mkdir(parents=True)
        for number in range(count):
            picture = np.random.default_rng(number).integers(0, 256, (176, 192, 3), np.uint8)
            Image.fromarray(picture).save(f"cracks/{part}/{number:02}.jpg")
            Image.fromarray((picture[..., 0] > 128).astype(np.uint8)).save(f"cracks/{part}/{number:02}.mask.png")
            Image.fromarray(picture).save("wall.jpg")
    for line in re.search(r"```\n(neurocodec train photo.cracks.*?)```", section, re.DOTALL)[1].splitlines():
        result = CliRunner().invoke(main, line.split()[1:])
        assert result.exit_code == 0, (line, result.output)
    assert "within 0.02 of accuracy" in result.output
    assert neurocodec.decode(Path("wall.nci").read_bytes()).size == (192, 176)
