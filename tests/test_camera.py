"""A camera's variant: what it saves on frames of its scene, what it costs on others, and that it is asked for by name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import neurocodec
from neurocodec import images, metrics, weights
from neurocodec.cli import main
from neurocodec.light import LIGHT, fit, lit
from neurocodec.models.spatial_transformer import identity, refined, sample
from neurocodec.scene import SceneCodec
from neurocodec.train import adapt


def frame(scene: np.ndarray, number: int) -> np.ndarray:
    """The scene with a little noise and a red square that passes through it."""
    rng = np.random.default_rng(number)
    seen = np.clip(scene + rng.normal(0, 2, scene.shape), 0, 255).astype(np.uint8)
    left = 8 * number % 150
    seen[60:90, left : left + 30] = (200, 30, 40)
    return seen


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory) -> Path:
    """A folder with 24 frames of a camera, and its variant."""
    folder = tmp_path_factory.mktemp("camera")
    for number in range(24):
        Image.fromarray(frame(photos[2], number)).save(folder / f"{number:02}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "_STEPS", 60)
        arguments = ["adapt", str(folder), "--name", "yard", "-o", str(folder / "yard.safetensors")]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def variant(made) -> str:
    return str(made / "yard.safetensors")


def size_for(picture: np.ndarray, model: str, target: float) -> int:
    """Bytes from which on a stream's SSIM is the target."""
    stream = neurocodec.encode(picture, model=model, bpp=2)
    for size in np.geomspace(60, len(stream), 60).astype(int):
        if metrics.ssim(picture, np.asarray(neurocodec.decode(stream[:size], model=model))) >= target:
            return int(size)
    return len(stream)


def test_a_variant_is_small_and_says_what_it_is(variant):
    model = weights.find(variant)
    assert Path(variant).stat().st_size < 1_000_000
    assert model.card["model"]["name"] == "yard" and model.card["camera"]["frames"] == 24
    assert model.base.name == "photo" and model.fingerprint != model.base.fingerprint


def test_what_passes_through_does_not_burn_in(variant, photos):
    scene = np.asarray(neurocodec.decode(weights.find(variant).camera.scene)).astype(int)
    assert np.abs(scene - photos[2])[60:90].mean() < 12


def test_frames_of_the_scene_take_less_than_half_of_the_bytes(variant, photos):
    picture = frame(photos[2], 31)
    assert size_for(picture, variant, 0.8) < size_for(picture, "photo", 0.8) / 2


def darker(picture: np.ndarray) -> np.ndarray:
    return np.clip(0.8 * picture + np.array([-10, -14, -6]), 0, 255).astype(np.uint8)


def test_the_scene_is_seen_from_the_first_bytes_on(variant, photos):
    """The synthesis is not told that nothing is known."""
    picture, codec = frame(photos[2], 35), neurocodec.load(variant)
    height, width = picture.shape[:2]
    payload = neurocodec.encode(picture, model=variant, bytes=24, headerless=True)

    def similarity(codec: SceneCodec) -> float:
        *_, last = codec.decode(codec.layout.unpack(payload, width, height), width, height)
        return metrics.ssim(picture, np.asarray(images.to_image(last.picture)))

    assert similarity(codec) > max(0.8, similarity(replace(codec, lacking=7.0)) + 0.1)


def test_another_light_costs_hardly_more(variant, photos):
    picture = frame(photos[2], 31)
    assert size_for(darker(picture), variant, 0.8) < 1.3 * size_for(picture, variant, 0.8)


def test_the_light_is_found_whatever_passes_through(photos):
    scene = images.load(photos[2])
    seen = darker(photos[2])
    seen[40:100, 20:90] = (250, 240, 20)
    found = lit(scene, fit(scene, images.load(seen)))
    far = np.abs(255 * found.rgb.transpose(1, 2, 0) - darker(photos[2]))
    assert np.median(far) < 1.5 and (fit(scene, scene) == bytes(LIGHT))
    assert np.array_equal(lit(scene, bytes(LIGHT)).rgb, scene.rgb)
    white, black = (images.load(np.full_like(photos[2], value)) for value in (255, 0))
    for strange in (white, black):
        assert np.isfinite(lit(scene, fit(scene, strange)).rgb).all()
        assert np.isfinite(lit(strange, fit(strange, scene)).rgb).all()


def test_another_picture_costs_hardly_more(variant, photos):
    for other in (photos[0], photos[1][:100, :150]):
        base = neurocodec.encode(other, model="photo", bpp=1)
        stream = neurocodec.encode(other, model=variant, bpp=1)
        assert len(stream) == len(base)
        shown, before = (np.asarray(neurocodec.decode(s, model=m)) for s, m in ((stream, variant), (base, "photo")))
        assert metrics.psnr(other, shown) > metrics.psnr(other, before) - 0.05


def test_everything_else_works_as_ever(variant, photos, made, monkeypatch):
    monkeypatch.chdir(made)
    picture = frame(photos[2], 40)
    stream = neurocodec.encode(picture, model=variant, bpp=0.5)
    assert neurocodec.truncate(stream, bytes=300, model=variant) == neurocodec.encode(picture, model=variant, bytes=300)
    assert neurocodec.info(stream, model=variant).bytes == len(stream) == 0.5 * 192 * 160 / 8
    for length in range(20, len(stream), 97):
        assert neurocodec.decode(stream[:length], model=variant).size == (192, 160)
    payload = neurocodec.encode(picture, model=variant, bytes=400, headerless=True)
    shown = neurocodec.decode(payload, model=variant, size=(192, 160))
    assert metrics.ssim(picture, np.asarray(shown)) > 0.7
    for place in range(14, len(stream), 61):
        damaged = bytearray(stream)
        damaged[place] ^= 0x20
        try:
            neurocodec.decode(bytes(damaged), model=variant)
        except neurocodec.StreamError as error:
            assert "trailing garbage" in str(error)
    resized = neurocodec.pack(neurocodec.unpack(stream), size=(300, 200), model=variant)
    assert neurocodec.decode(resized, model=variant).size == (300, 200)
    run = CliRunner().invoke
    assert run(main, ["encode", "03.png", "-m", variant, "-o", "f.nci"]).exit_code == 0
    for arguments in (
        ["decode", "f.nci", "-o", "f.png"],
        ["info", "f.nci"],
        ["truncate", "f.nci", "-o", "g.nci", "--bpp", "0.1"],
    ):
        assert run(main, [*arguments, "-m", variant]).exit_code == 0, arguments
    result = run(main, ["decode", "f.nci", "-o", "h.png"])
    assert result.exit_code == 4 and "name their file with -m" in result.stderr
    with pytest.raises(neurocodec.ModelError, match="other weights"):
        neurocodec.decode(stream, model="photo")


def test_frames_that_cannot_be_used_are_refused(made, tmp_path, photos):
    Image.fromarray(photos[0][:100]).save(tmp_path / "other.png")
    some = [str(p) for p in sorted(made.glob("0*.png"))]
    for arguments, reason in (
        (some[:3], "at least 8"),
        ([*some, str(tmp_path / "other.png")], "of one size"),
        ([*some, "-m", "conv-lstm"], "variants"),
    ):
        result = CliRunner().invoke(main, ["adapt", *arguments, "--name", "x", "-o", str(tmp_path / "x.safetensors")])
        assert result.exit_code == 1 and reason in result.stderr and len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "x.safetensors").exists()
    (tmp_path / "x.safetensors").write_bytes(b"mine")
    for name, code, reason in (("x.safetensors", 1, "-f overwrites"), ("x.bin", 2, "a variant is")):
        result = CliRunner().invoke(main, ["adapt", *some, "--name", "x", "-o", str(tmp_path / name)])
        assert result.exit_code == code and reason in result.stderr
    assert (tmp_path / "x.safetensors").read_bytes() == b"mine"


def test_a_network_is_tuned_to_a_camera_and_other_pictures_are_told_by_the_model_s_own(made, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(adapt, "_STEPS", 20)
    out = tmp_path / "tuned.safetensors"
    arguments = ["adapt", *(str(p) for p in sorted(made.glob("0*.png"))), "--name", "t", "--minutes", "0.15", "-o", str(out)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    model, base = weights.find(str(out)), weights.find("photo")
    assert out.stat().st_size < 1_000_000 and model.card["camera"]["minutes"] == 0.15
    before, after = (weights.network(m.path).state_dict() for m in (base, model))
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert {"analysis.weight", "down.1.weight", "to_pixels.bias"} <= changed and not any(n.startswith("prior") for n in changed)
    picture = frame(photos[2], 33)
    stream = neurocodec.encode(picture, model=str(out), bytes=600)
    assert metrics.ssim(picture, np.asarray(neurocodec.decode(stream, model=str(out)))) > 0.75
    other = [neurocodec.decode(neurocodec.encode(photos[0], model=m, bytes=600), model=m) for m in (str(out), "photo")]
    assert metrics.psnr(*map(np.asarray, other)) > 40


def test_a_bench_of_a_camera_counts_its_frames(variant, photos, tmp_path):
    for number in range(2):
        Image.fromarray(np.pad(frame(photos[2], 50 + number), ((0, 16), (0, 0), (0, 0)))).save(tmp_path / f"{number}.png")
    arguments = ["bench", str(tmp_path), "--protocol", "photos", "--codecs", f"jpeg,photo,{variant}", "--json", "-"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    summary = {entry["codec"]: entry for entry in json.loads(result.stdout)["summary"]}
    for name, entry in summary.items():
        for at in entry["camera"]:
            assert at["bytes_per_frame"] is None or at["bytes_per_hour"] == pytest.approx(
                3600 * at["bytes_per_frame"], rel=0.01
            )
        assert ("variant_bytes" in entry) == (name == variant)


def test_a_shaking_camera_is_noticed_and_how_a_frame_moved_travels(photos, made, tmp_path, monkeypatch):
    import torch

    torch.manual_seed(1)
    for name, value in (("_STEPS", 20), ("_LOCALISATION_STEPS", 30), ("MOST_MOVED", 8)):
        monkeypatch.setattr(adapt, name, value)
    out = made / "shaky.safetensors"

    def moved(number: int) -> np.ndarray:
        picture = torch.from_numpy(images.load(frame(photos[2], number)).rgb)[None]
        return np.round(255 * sample(picture, adapt.poses(1, 192, 160))[0].numpy().transpose(1, 2, 0)).astype(np.uint8)

    for number in range(8):
        Image.fromarray(moved(number)).save(tmp_path / f"{number}.png")
    adapt.adapt(sorted(tmp_path.glob("*.png")), "photo", "shaky", out)
    assert weights.find(str(out)).card["camera"]["moving"] and not weights.find(str(made / "yard.safetensors")).card["camera"]["moving"]
    shown = moved(5)
    stream = neurocodec.encode(shown, model=str(out), bytes=300)
    assert (
        metrics.ssim(shown, np.asarray(neurocodec.decode(stream, model=str(out))))
        > metrics.ssim(
            shown,
            np.asarray(
                neurocodec.decode(
                    neurocodec.encode(shown, model=str(made / "yard.safetensors"), bytes=300),
                    model=str(made / "yard.safetensors"),
                )
            ),
        )
        + 0.05
    )


def test_refinement_finds_a_small_move(photos):
    import torch

    torch.manual_seed(0)
    scene = torch.from_numpy(images.load(photos[1]).rgb)[None]
    pose = adapt.poses(1, 192, 160)
    found = refined(scene, sample(scene, pose), identity(1))
    assert (found - pose).abs().max() < 0.25 * (pose - identity(1)).abs().max()
