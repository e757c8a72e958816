"""What each verb of the command line writes and says."""

from pathlib import Path

import numpy as np
import pytest
from command import PASS, SIZE, done, fails, rows, run, usage
from PIL import Image

import neurocodec
from neurocodec import bitstream

pytestmark = pytest.mark.usefixtures("raw_passes")

ENCODE_KEYS = {"input", "output", "model", "width", "height", "passes", "bytes", "bpp", "seconds"}
DECODE_KEYS = ENCODE_KEYS - {"bpp"}
INFO_KEYS = {"input", "model", "width", "height", "passes", "bytes", "bpp", "pass_bytes", "container"}
MODEL_KEYS = {"name", "id", "summary", "task", "weights", "parameters", "kmac_per_pixel"}


def test_encode_and_decode(here):
    """Outputs are named after the input; --json prints the documented keys and true values."""
    said = done("encode", "a.png", "--json")
    (row,) = rows(said)
    assert set(row) == ENCODE_KEYS and said.stderr == ""
    data = Path("a.nci").read_bytes()
    assert (row["input"], row["output"], row["model"]) == ("a.png", "a.nci", "conv-lstm")
    assert (row["width"], row["height"], row["passes"], row["bytes"]) == (*SIZE, 8, len(data))
    assert row["bpp"] == pytest.approx(8 * len(data) / (SIZE[0] * SIZE[1])) and row["seconds"] >= 0
    Path("a.png").unlink()
    (row,) = rows(done("decode", "a.nci", "--json"))
    assert set(row) == DECODE_KEYS
    assert (row["input"], row["output"], row["model"]) == ("a.nci", "a.png", "conv-lstm")
    assert (row["width"], row["height"], row["passes"], row["bytes"]) == (*SIZE, 8, len(data))
    with Image.open("a.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", SIZE)
        assert np.array_equal(np.asarray(image), np.asarray(neurocodec.decode(data)))


def test_without_json_one_line_goes_to_stderr(here):
    for arguments in (("encode", "a.png"), ("decode", "s.nci"), ("truncate", "s.nci", "-o", "t.nci", "--passes", 1)):
        said = done(*arguments)
        assert said.stdout == "" and said.stderr.count("\n") == 1 and "72x33" in said.stderr


def test_info(here, stream):
    (row,) = rows(done("info", "s.nci", "--json"))
    assert set(row) == INFO_KEYS
    assert row["bpp"] == pytest.approx(8 * len(stream) / (SIZE[0] * SIZE[1]))
    del row["bpp"]
    assert row == {
        "input": "s.nci",
        "model": "conv-lstm",
        "width": SIZE[0],
        "height": SIZE[1],
        "passes": 3,
        "bytes": len(stream),
        "pass_bytes": [PASS] * 3,
        "container": True,
    }
    Path("cut.nci").write_bytes(stream[:-10])
    cut, whole = rows(done("info", "cut.nci", "s.nci", "--json"))
    assert (cut["passes"], cut["pass_bytes"], whole["passes"]) == (2, [PASS, PASS, PASS - 10], 3)
    said = done("info", "s.nci")
    assert "width: 72\n" in said.stdout and said.stderr == ""


def test_truncate(here, stream):
    (row,) = rows(done("truncate", "s.nci", "-o", "t.nci", "--passes", 2, "--json"))
    assert set(row) == INFO_KEYS | {"output"}
    assert (row["output"], row["passes"], row["bytes"]) == ("t.nci", 2, len(stream) - PASS)
    assert Path("t.nci").read_bytes() == stream[:-PASS]
    for option, limit in (("--bytes", 100), ("--bpp", 0.75)):
        (row,) = rows(done("truncate", "s.nci", "-o", "t.nci", option, limit, "-f", "--json"))
        assert row["bytes"] == len(Path("t.nci").read_bytes()) <= (100 if option == "--bytes" else 0.75 * 72 * 33 / 8)
        assert stream.startswith(Path("t.nci").read_bytes())
    done("decode", "t.nci")
    assert Path("s.nci").read_bytes() == stream


def test_pack_and_unpack_are_inverse(here, stream):
    (row,) = rows(done("unpack", "s.nci", "--json"))
    assert set(row) == INFO_KEYS | {"output"}
    assert (row["output"], row["bytes"], row["pass_bytes"], row["container"]) == ("s.bits", 3 * PASS, [PASS] * 3, False)
    assert row["bpp"] == pytest.approx(8 * 3 * PASS / (SIZE[0] * SIZE[1]))
    assert Path("s.bits").read_bytes() == stream[-3 * PASS :]
    (row,) = rows(done("pack", "s.bits", "--size", "72x33", "-o", "p.nci", "--json"))
    assert set(row) == INFO_KEYS | {"output"} and row["container"] is True
    assert Path("p.nci").read_bytes() == stream
    done("pack", "s.bits", "--size", "72x33", "-o", "c.nci", "--checksum")
    assert bitstream.read(Path("c.nci").read_bytes())[0].checksum


def test_headerless(here, stream):
    """A payload needs its size to be read, and decodes to the same picture."""
    (row,) = rows(done("encode", "a.png", "--headerless", "--passes", 3, "--json"))
    assert set(row) == ENCODE_KEYS and (row["output"], row["bytes"]) == ("a.bits", 3 * PASS)
    payload = Path("a.bits").read_bytes()
    assert payload == stream[-3 * PASS :]
    result = run("decode", "a.bits", "-o", "x.png")
    assert result.exit_code == 3 and result.stderr.count("\n") == 1
    done("decode", "a.bits", "--size", "72x33", "-o", "x.png")
    with Image.open("x.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(neurocodec.decode(stream)))
    (row,) = rows(done("info", "a.bits", "--size", "72x33", "--json"))
    assert row["container"] is False and row["pass_bytes"] == [PASS] * 3
    for size in ("40", "40x", "x33", "-1x4", "72x33x1", "4.0x3", "40X33", "9" * 30 + "x1"):
        usage("is not a size", "decode", "a.bits", "--size", size)
    for size in ("0x33", "70000x1", "60000x60000"):
        fails(3, "outside the limits", "decode", "a.bits", "--size", size, "-o", "y.png")


def test_models():
    listed = rows(done("models", "--json"))
    assert all(set(row) == MODEL_KEYS for row in listed)
    (row,) = (row for row in listed if row["name"] == "conv-lstm")
    assert row["id"] == 1 and row["weights"] is True and row["summary"]
    assert "conv-lstm" in done("models").stdout


@pytest.mark.parametrize("limit", [60, 75, 76, 200, 100_000])
def test_bytes_are_a_hard_limit(here, limit):
    (row,) = rows(done("encode", "a.png", "--bytes", limit, "--json"))
    size = len(Path("a.nci").read_bytes())
    assert row["bytes"] == size <= limit
    assert size == min(limit, 16 * PASS + size % PASS), "the budget is used while there are passes"


def test_bpp_is_a_hard_limit_header_included(here):
    for limit in (0.3, 1, 2.5):
        done("encode", "a.png", "--bpp", limit, "-f")
        size = len(Path("a.nci").read_bytes())
        assert 0 <= limit * SIZE[0] * SIZE[1] / 8 - size < 1
        done("encode", "a.png", "--bpp", limit, "--headerless", "-f")
        assert 0 <= limit * SIZE[0] * SIZE[1] / 8 - len(Path("a.bits").read_bytes()) < 1


def test_budgets_that_cannot_be_met(here, stream):
    header = len(stream) - 3 * PASS
    fails(1, "too small", "encode", "a.png", "--bytes", header)
    fails(1, "too small", "encode", "a.png", "--bpp", 0.01)
    fails(1, "too small", "truncate", "s.nci", "--bytes", header, "-o", "t.nci")
    fails(1, "passes must be", "encode", "a.png", "--passes", 17)


def test_ssim_target(here):
    """The first pass that reaches a target ends the stream; a target out of reach takes all passes."""
    (low,) = rows(done("encode", "a.png", "--ssim", 1e-6, "--json"))
    (high,) = rows(done("encode", "a.png", "--ssim", 1, "--json", "-f"))
    assert 1 <= low["passes"] <= high["passes"] == 16


def test_decode_uses_only_so_much(here, stream):
    for option, used in ((("--passes", 1), stream[: -2 * PASS]), (("--bytes", len(stream) - 100), stream[:-100])):
        (row,) = rows(done("decode", "s.nci", *option, "-o", "x.png", "-f", "--json"))
        assert (row["passes"], row["bytes"]) == (1, len(used))
        with Image.open("x.png") as image:
            assert np.array_equal(np.asarray(image), np.asarray(neurocodec.decode(used)))


def test_suffix_chooses_the_format(here):
    for name, kind in (("x.png", "PNG"), ("x.jpg", "JPEG"), ("x.WEBP", "WEBP"), ("noname", "PNG")):
        done("decode", "s.nci", "-o", name)
        with Image.open(name) as image:
            assert image.format == kind
    fails(1, "cannot be written as", "decode", "s.nci", "-o", "x.xyz")


def test_alpha_travels_in_the_container(here, pixels):
    alpha = pixels[..., 0]
    Image.fromarray(np.dstack([pixels, alpha])).save("t.png")
    done("encode", "t.png")
    done("decode", "t.nci", "-o", "back.png")
    with Image.open("back.png") as image:
        assert image.mode == "RGBA" and np.array_equal(np.asarray(image)[..., 3], alpha)


def test_warnings_name_the_file(here):
    for name in ("x.gif", "y.gif"):
        frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
        frames[0].save(name, save_all=True, append_images=frames[1:])
    said = done("encode", "x.gif", "y.gif", "--passes", 1, "--json")
    assert [line.split(": ")[1:3] for line in said.stderr.splitlines()] == [["x.gif", "warning"], ["y.gif", "warning"]]
