"""The command line in a process of its own: pipes, signals, imports."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import PASS, snapshot
from PIL import Image

PROGRAM = [sys.executable, "-m", "neurocodec"]


def process(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output="stdout" not in options, timeout=60, **options)


def test_pipeline(here, stream):
    """Bytes pass through real pipes untouched."""
    encoded = process("encode", "-", "-m", "conv-lstm", "--passes", 3, input=Path("a.png").read_bytes())
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
    command = [sys.executable, "-c", program, "encode", "big.png", "-m", "conv-lstm", "--passes", "16"]
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
    "pack s.bits --size 72x33 -m conv-lstm -o p.nci", "models --json",
):
    try:
        main(arguments.split())
    except SystemExit as end:
        assert end.code == 0, arguments
    assert "torch" not in sys.modules, arguments
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
