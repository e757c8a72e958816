"""`neurocodec train` goes from pictures to weights that encode, on any kind of data, and can be stopped and resumed."""

import io
import json
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import neurocodec
from neurocodec.cli import main
from neurocodec.train import data

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
    # Weights can be gone on from, too.
    (sources / "more.toml").write_text(f'weights = "{weights}"\n' + CONFIG)
    arguments[1] = str(sources / "more.toml")
    result = CliRunner().invoke(main, [*arguments, "0.02", *arguments_data])
    assert result.exit_code == 0 and json.loads(result.stdout)["thumbs"][3][0] > lines[-1]["thumbs"][3][0] - 0.02


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
