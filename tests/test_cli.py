"""The command line: what it writes, says and exits with. Most cases run in this process, a few in one of their own."""

import base64
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import neurocodec
from neurocodec import _batch, bitstream, weights
from neurocodec.cli import main

ENCODE_KEYS = {"input", "output", "model", "width", "height", "passes", "bytes", "bpp", "seconds"}
DECODE_KEYS = ENCODE_KEYS - {"bpp"}
INFO_KEYS = {"input", "model", "width", "height", "passes", "bytes", "bpp", "pass_bytes", "container"}
MODEL_KEYS = {"name", "id", "summary", "weights", "parameters", "kmac_per_pixel"}
SIZE = (72, 33)  # 3 x 2 tiles of 32 pixels: 96 bytes a pass; too wide for `preview`
PASS = 96


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.dstack([rows * 7, columns * 3, rows + columns]).astype(np.uint8)


@pytest.fixture(scope="module")
def stream(pixels) -> bytes:
    return neurocodec.encode(pixels, passes=3)


@pytest.fixture
def here(tmp_path, monkeypatch, pixels, stream) -> Path:
    """A folder to work in, with a picture, a.png, and a stream, s.nci, of three passes."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("a.png")
    Path("s.nci").write_bytes(stream)
    return tmp_path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def done(*arguments: object, stdin: bytes | None = None) -> Result:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


def rows(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def fails(code: int, reason: str, *arguments: object, name: str | None = None, stdin: bytes | None = None) -> None:
    """The command exits with `code`, says the reason (and the input's name) in one line, and changes no file."""
    before = snapshot(Path.cwd())
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), "an error that nobody expected"
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("neurocodec: "), result.stderr
    assert reason in result.stderr and (name or str(arguments[1])) in result.stderr
    assert snapshot(Path.cwd()) == before


def usage(reason: str, *arguments: object) -> None:
    before = snapshot(Path.cwd())
    result = run(*arguments)
    assert result.exit_code == 2 and reason in result.stderr, result.output
    assert snapshot(Path.cwd()) == before


def head(model: int = 1, fingerprint: int = 0, size: tuple[int, int] = SIZE, magic: bytes = b"\x8eNC\x10") -> bytes:
    """The head of a container without any of the writer's checks."""
    out = magic
    for i, number in enumerate((model, *size)):
        while number > 127:
            out += bytes([number & 127 | 128])
            number >>= 7
        out += bytes([number]) + (struct.pack(">H", fingerprint) if i == 0 else b"")
    return out


def bomb() -> bytes:
    """A PNG whose head claims 60000x60000 pixels."""
    out = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", size), (b"IDAT", b"x"), (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


# --- what each verb writes and says ----------------------------------------------------------------------------------


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
        assert row["passes"] == 1
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


# --- where inputs come from and outputs go ---------------------------------------------------------------------------


def test_existing_files_need_force(here, stream):
    Path("a.nci").write_bytes(b"old")
    fails(1, "-f overwrites", "encode", "a.png")
    done("encode", "a.png", "--passes", 3, "-f")
    assert Path("a.nci").read_bytes() == stream


def test_inputs_are_never_overwritten(here):
    """Not by their own output, under another name, or by another input's output, even with -f."""
    Path("link.nci").symlink_to("s.nci")
    Path("hard.nci").hardlink_to("s.nci")
    for target in ("s.nci", "./s.nci", "link.nci", "hard.nci", here / "s.nci"):
        fails(1, "is an input", "truncate", "s.nci", "--passes", 1, "-o", target, "-f")
    fails(1, "is an input", "encode", "a.png", "-o", "a.png", "-f")
    fails(1, "is an input", "truncate", "s.nci", "--passes", 1, "-o", ".", "-f")
    (here / "other").mkdir()
    Path("other/s.nci").write_bytes(Path("s.nci").read_bytes()[:-PASS])
    before = snapshot(here)
    result = run("truncate", "s.nci", "other/s.nci", "--passes", 1, "-o", "other", "-f")
    assert result.exit_code == 1 and snapshot(here) == before
    assert run("truncate", "-r", "other", "-o", "other", "--passes", 1, "-f").exit_code == 1
    assert snapshot(here) == before


def test_folder_to_folder(here, pixels):
    """-r keeps the tree, skips what is no picture, and refuses the second of two that would get the same name."""
    for name in ("in/x.png", "in/deep/y.JPG", "in/deep/x.webp", "in/x.bmp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)
    Path("in/notes.txt").write_text("no picture")
    result = run("encode", "-r", "in", "-o", "out", "--passes", 1, "--json")
    assert result.exit_code == 1 and "already written" in result.stderr
    assert {row["output"] for row in rows(result)} == {"out/x.nci", "out/deep/y.nci", "out/deep/x.nci"}
    done("decode", "-r", "out", "-o", "back")
    assert {n for n in snapshot(here / "back") if n.endswith(".png")} == {"x.png", "deep/y.png", "deep/x.png"}
    done("unpack", "-r", "out", "-o", "bits")
    done("pack", "-r", "bits", "-o", "again", "--size", "72x33")
    assert snapshot(here / "again") == snapshot(here / "out")
    done("decode", "-r", "bits", "-o", "from_bits", "--size", "72x33")
    assert snapshot(here / "from_bits") == snapshot(here / "back")


def test_several_inputs_into_a_folder(here):
    """One bad input costs exit code 1 and its own line; the others are done."""
    (here / "out").mkdir()
    Path("bad.nci").write_bytes(b"text")
    Path("t.nci").write_bytes(Path("s.nci").read_bytes())
    result = run("decode", "s.nci", "bad.nci", "t.nci", "none.nci", "-o", "out", "--json")
    assert result.exit_code == 1 and set(snapshot(here / "out")) == {"s.png", "t.png"}
    assert [row["input"] for row in rows(result)] == ["s.nci", "t.nci"]
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["bad.nci", "none.nci"]
    usage("need a folder", "decode", "s.nci", "t.nci", "-o", "new")


def test_outputs_beside_several_inputs(here):
    Path("t.nci").write_bytes(Path("s.nci").read_bytes())
    done("decode", "s.nci", "t.nci")
    assert Path("s.png").read_bytes() == Path("t.png").read_bytes()


def test_folders_of_the_output_are_made(here):
    done("decode", "s.nci", "-o", "new/deep/x.png")
    assert Path("new/deep/x.png").is_file()


def test_stdin_and_stdout(here, stream):
    picture = Path("a.png").read_bytes()
    piped = done("encode", "-", "--passes", 3, stdin=picture)
    assert piped.stdout_bytes == stream and piped.stderr == ""
    assert done("encode", "a.png", "--passes", 3, "-o", "-").stdout_bytes == stream
    shown = done("decode", "-", "-o", "-", stdin=stream).stdout_bytes
    with Image.open(io.BytesIO(shown)) as image:
        assert image.format == "PNG" and image.size == SIZE
    done("decode", "-", "-o", "x.png", stdin=stream)
    assert Path("x.png").read_bytes() == shown
    assert done("truncate", "-", "-o", "-", "--passes", 2, stdin=stream).stdout_bytes == stream[:-PASS]
    assert rows(done("info", "-", "--json", stdin=stream))[0]["passes"] == 3
    fails(3, "wrong magic", "decode", "-", stdin=b"text", name="stdin")
    fails(1, "not a picture", "encode", "-", stdin=b"text", name="stdin")


def test_base64_round_trip(here, stream):
    done("encode", "a.png", "--passes", 3, "--base64")
    text = Path("a.txt").read_bytes()
    assert text.endswith(b"\n") and base64.b64decode(text) == stream
    Path("a.txt").write_bytes(text[:20] + b"\r\n \t" + text[20:])
    assert rows(done("info", "a.txt", "--base64", "--json"))[0]["bytes"] == len(stream)
    done("decode", "a.txt", "--base64", "-o", "x.png")
    done("decode", "s.nci", "-o", "y.png")
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes()
    cut = done("truncate", "a.txt", "--base64", "--passes", 2, "-o", "-").stdout_bytes
    assert base64.b64decode(cut) == stream[:-PASS]
    done("encode", "a.png", "--passes", 3, "--base64", "--headerless", "-f")
    done("decode", "a.txt", "--base64", "--size", "72x33", "-o", "z.png")
    assert Path("z.png").read_bytes() == Path("y.png").read_bytes()
    Path("bad.txt").write_text("no base64 at all!")
    fails(3, "not base64", "decode", "bad.txt", "--base64")
    fails(3, "not base64", "decode", "s.nci", "--base64", "-o", "q.png")
    Path("in").mkdir()
    Path("in/a.txt").write_bytes(text)
    done("truncate", "-r", "in", "--base64", "--passes", 1, "-o", "cut")
    assert base64.b64decode(Path("cut/a.txt").read_bytes()) == stream[: -2 * PASS]


# --- usage errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason, arguments",
    [
        ("either inputs or -r", "encode"),
        ("either inputs or -r", "encode a.png -r . -o out"),
        ("needs -o DIR", "encode -r ."),
        ("needs -o DIR", "encode -r . -o -"),
        ("not a folder", "encode -r none -o out"),
        ("at most one", "encode a.png --bytes 99 --passes 2"),
        ("at most one", "encode a.png --bpp 1 --ssim 0.9"),
        ("at most one", "decode s.nci --bytes 99 --passes 2"),
        ("is needed", "truncate s.nci -o t.nci"),
        ("-o is needed", "truncate s.nci --passes 1"),
        ("--size", "pack s.nci"),
        ("both go to stdout", "encode a.png -o - --json"),
        ("'nan' is not a number", "encode a.png --bpp nan"),
        ("'nan' is not a number", "encode a.png --ssim nan"),
        ("'nan' is not a number", "truncate s.nci -o t.nci --bpp nan"),
        ("inf is not in the range", "encode a.png --bpp inf"),
        ("range", "encode a.png --bpp 0"),
        ("range", "encode a.png --bpp -1"),
        ("range", "encode a.png --ssim 1.01"),
        ("range", "encode a.png --ssim 0"),
        ("range", "encode a.png --passes 0"),
        ("range", "encode a.png --bytes 0"),
        ("range", "encode a.png --bytes 1000000000000000000000000"),
        ("range", "truncate s.nci -o t.nci --bytes 1000000000000000000000000"),
        ("not a valid", "encode a.png --passes x"),
        ("No such option", "encode a.png --quality 3"),
        ("No such command", "transmogrify"),
    ],
)
def test_usage_errors(here, reason, arguments):
    usage(reason, *arguments.split())


# --- what is refused, and how ----------------------------------------------------------------------------------------


def test_what_is_no_stream_exits_3(here, stream, pixels):
    """Every verb that reads a stream refuses it with the reason."""
    length = len(stream) - 3 * PASS
    cases = {
        "empty": (b"", "empty"),
        "magic": (b"GIF89a" + stream, "magic"),
        "picture": (Path("a.png").read_bytes(), "magic"),
        "version": (stream[:3] + b"\x20" + stream[4:], "version 2"),
        "flags": (stream[:3] + b"\x18" + stream[4:], "reserved"),
        "short": (stream[: length - 1], "truncated"),
        "huge": (head(size=(1 << 31, 1 << 31)) + bytes(64), "outside the limits"),
        "wide": (head(size=(65_535, 65_535)) + bytes(64), "outside the limits"),
        "nothing": (head(size=(0, 5)) + bytes(64), "outside the limits"),
        "endless": (head()[:4] + b"\xff" * 200, "truncated or malformed"),
        "garbage": (stream[:length] + bytes(16 * PASS + 5), "5 bytes of trailing garbage"),
    }
    checked = bitstream.write(replace(bitstream.read(stream)[0], checksum=True), stream[length:])
    cases["garbage after checksum"] = (checked + b"abc", "3 bytes of trailing garbage")
    cases["checksum"] = (checked[:-1] + bytes([checked[-1] ^ 1]), "checksum")
    transparent = neurocodec.encode(np.dstack([pixels, pixels[..., 0]]), passes=1)
    cases["alpha"] = (transparent[: -PASS - 5], "alpha")
    for name, (data, reason) in cases.items():
        Path(f"{name}.nci").write_bytes(data)
        for verb in ("decode", "info", "truncate", "unpack"):
            if verb in ("truncate", "unpack") and name == "garbage":
                continue  # what ends a payload is the model's business; these need not know it
            more = {"truncate": ("--passes", 1, "-o", "t.nci"), "decode": ("-o", "x.png")}.get(verb, ())
            fails(3, reason, verb, f"{name}.nci", *more)
    for data, reason in ((stream[:length], ""), (transparent[:-PASS], "")):
        Path("none.nci").write_bytes(data)
        fails(3, reason, "decode", "none.nci", "-o", "x.png")
    Path("long.bits").write_bytes(bytes(16 * PASS + 1))
    fails(3, "trailing garbage", "pack", "long.bits", "--size", "72x33")


def test_every_cut_of_the_head_exits_3(here, stream):
    for length in range(len(stream) - 3 * PASS):
        Path("c.nci").write_bytes(stream[:length])
        fails(3, "", "decode", "c.nci")


def test_missing_models_exit_4(here, stream):
    number = weights.find("conv-lstm").fingerprint
    Path("number.nci").write_bytes(head(model=99, fingerprint=number) + stream[-PASS:])
    for verb in ("decode", "info"):
        fails(4, "model number 99", verb, "number.nci")
    Path("other.nci").write_bytes(head(fingerprint=number ^ 1) + stream[-PASS:])
    fails(4, f"{number ^ 1:04x}", "decode", "other.nci")
    fails(4, f"{number ^ 1:04x}", "decode", "other.nci", "-m", "conv-lstm")
    fails(4, "no model named", "encode", "a.png", "-m", "nonsense")
    fails(4, "no weights", "encode", "a.png", "-m", "conv-lstm.nonsense")
    fails(4, "no weights file", "encode", "a.png", "-m", "none.safetensors")
    Path("bad.safetensors").write_bytes(b"text")
    fails(4, "not a weights file", "encode", "a.png", "-m", "bad.safetensors")


def test_what_is_no_picture_exits_1(here):
    picture = Path("a.png").read_bytes()
    for name, data, reason in (
        ("text.png", b"hello\n", "not a picture"),
        ("empty.png", b"", "not a picture"),
        ("cut.png", picture[: len(picture) // 2], "damaged"),
        ("bomb.png", bomb(), "too many pixels"),
        ("stream.png", Path("s.nci").read_bytes(), "not a picture"),
    ):
        Path(name).write_bytes(data)
        fails(1, reason, "encode", name)


def test_missing_inputs_and_folders_exit_1(here):
    (here / "d").mkdir()
    for verb in ("encode", "decode", "info", "unpack"):
        fails(1, "No such file", verb, "none.nci")
        for folder in ("d", ".", "..", "/"):
            fails(1, "Is a directory", verb, folder)
    (here / "a.nci").mkdir()
    fails(1, "a.nci is a folder", "encode", "a.png", "-f")


def test_a_picture_given_to_decode_stays(here):
    fails(1, "is an input", "decode", "a.png")
    fails(1, "is an input", "decode", "a.png", "-f")
    fails(3, "wrong magic", "decode", "a.png", "-o", "b.png")


def test_targets_that_cannot_be_written(here):
    for target in ("a.png/x.nci", "a.png/deep/x.nci", "/proc/x.nci", "/proc/none/x.nci", f"{'n' * 300}.nci"):
        fails(1, target, "encode", "a.png", "--passes", 1, "-o", target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk(here):
    fails(1, "No space left", "encode", "a.png", "--passes", 1, "-o", "/dev/full")
    fails(1, "No space left", "decode", "s.nci", "-o", "/dev/full")
    assert Path("/dev/full").is_char_device()


def test_streams_beyond_the_limit_are_not_read(here, monkeypatch):
    monkeypatch.setattr(_batch, "MAX_STREAM_BYTES", 100)
    fails(3, "limit", "decode", "s.nci")


def test_failure_after_decoding_leaves_nothing(here, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    fails(1, "No space left", "decode", "s.nci")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 8 GB"), KeyboardInterrupt()])
def test_exhaustion_and_interruption(here, monkeypatch, error):
    def work(*_, **__):
        raise error

    monkeypatch.setattr(neurocodec, "decode", work)
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    fails(code, "interrupted" if code == 130 else "not enough memory", "decode", "s.nci")


def test_interruption_ends_the_batch(here, monkeypatch):
    def work(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(neurocodec, "decode", work)
    Path("t.nci").write_bytes(Path("s.nci").read_bytes())
    fails(130, "interrupted", "decode", "s.nci", "t.nci")


# --- in a process of its own -----------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-c", "import sys; from neurocodec.cli import main; sys.argv[0] = 'neurocodec'; main()"]


def process(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output="stdout" not in options, timeout=60, **options)


def test_pipeline(here, stream):
    """Bytes pass through real pipes untouched."""
    encoded = process("encode", "-", "--passes", 3, input=Path("a.png").read_bytes())
    assert (encoded.returncode, encoded.stdout, encoded.stderr) == (0, stream, b"")
    decoded = process("decode", "-", "-o", "-", input=stream)
    assert decoded.returncode == 0 and decoded.stdout.startswith(b"\x89PNG")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_stdout_on_a_full_disk(here):
    """One line and exit code 1, and nothing more when the interpreter ends."""
    for arguments in (("unpack", "s.nci", "-o", "-"), ("info", "s.nci")):
        with open("/dev/full", "wb") as full:
            result = process(*arguments, stdout=full, stderr=subprocess.PIPE)
        assert (result.returncode, result.stderr) == (1, b"neurocodec: s.nci: No space left on device\n")


def test_closed_pipe(here):
    end, start = os.pipe()
    os.close(end)
    result = process("unpack", "s.nci", "-o", "-", stdout=start, stderr=subprocess.PIPE)
    os.close(start)
    assert (result.returncode, result.stderr) == (1, b"neurocodec: s.nci: Broken pipe\n")


def test_odd_file_names(here, stream):
    """A name that is not UTF-8, or breaks the line, works like any other; what is said of it stays on one line."""
    name = os.fsdecode(b"\xff \n.nci")
    try:
        Path(name).write_bytes(stream)
    except OSError:
        pytest.skip("the file system wants UTF-8")
    for arguments in (("info",), ("info", "--json"), ("unpack",)):
        result = process(*arguments, name)
        assert result.returncode == 0, result.stderr
    assert Path(os.fsdecode(b"\xff \n.bits")).stat().st_size == 3 * PASS
    result = process("unpack", name)
    assert result.returncode == 1 and result.stderr.count(b"\n") == 1 and b"-f overwrites" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are different there")
def test_ctrl_c(here):
    """An interrupted encode exits with 130 and one line; no file is left."""
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (1024, 1024, 3), np.uint8)).save("big.png")
    before = snapshot(here)
    # tells when the first pass is done: until the import of torch is over, a signal may hit anything
    program = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
import neurocodec.codec
from neurocodec.cli import main
passes = neurocodec.codec.Codec.encode
def told(self, picture):
    for done in passes(self, picture):
        print("ready", flush=True)
        yield done
neurocodec.codec.Codec.encode = told
main()
"""
    command = [sys.executable, "-c", program, "encode", "big.png", "--passes", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"ready\n"
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, said) == (130, b"neurocodec: big.png: interrupted\n")
    assert snapshot(here) == before


def test_verbs_that_run_no_network_do_not_import_torch(here):
    """All in one process: --help, info, truncate, pack, unpack, models."""
    program = """
import sys
from neurocodec.cli import main
for arguments in (
    "--help", "encode --help", "decode --help", "info s.nci", "truncate s.nci -o t.nci --passes 1", "unpack s.nci",
    "pack s.bits --size 72x33 -o p.nci", "models --json",
):
    try:
        main(arguments.split())
    except SystemExit as end:
        assert end.code == 0, arguments
    assert "torch" not in sys.modules, arguments
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
