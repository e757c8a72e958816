"""Where the command line takes its inputs from and puts its outputs."""

import base64
import io
from pathlib import Path

import pytest
from command import PASS, SIZE, done, fails, rows, run, snapshot, usage
from PIL import Image

pytestmark = pytest.mark.usefixtures("raw_passes")


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
