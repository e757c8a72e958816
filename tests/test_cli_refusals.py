"""What the command line refuses, with which exit code, and that it changes nothing then."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import PASS, SIZE, fails, usage

import neurocodec
from neurocodec import _api, _batch, bitstream, weights

pytestmark = pytest.mark.usefixtures("raw_passes")


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

    monkeypatch.setattr(_api, "decoded", work)
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    fails(code, "interrupted" if code == 130 else "not enough memory", "decode", "s.nci")


def test_interruption_ends_the_batch(here, monkeypatch):
    def work(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_api, "decoded", work)
    Path("t.nci").write_bytes(Path("s.nci").read_bytes())
    fails(130, "interrupted", "decode", "s.nci", "t.nci")
