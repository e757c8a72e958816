"""The specification's text is true: its examples, limits and table of models are those of the code."""

import re
from pathlib import Path

import numpy as np
import pytest

from neurocodec import bitstream
from neurocodec.bitstream import Header
from neurocodec.models import ARCHITECTURES, register
from neurocodec.payload import CodedPasses, RawPasses

SPEC = (Path(__file__).parent.parent / "bitstream_spec.md").read_text()
HEAD, CHECKSUM, ALPHA = (bytes.fromhex(e) for e in re.findall(r"```\n([0-9a-f ]+)\n```", SPEC))


def test_head_example():
    assert bitstream.write(Header(1, 0xABCD, 768, 512), b"") == HEAD
    assert bitstream.read(HEAD) == (Header(1, 0xABCD, 768, 512), b"")


def test_checksum_example():
    header = Header(1, 1, 3, 2, checksum=True)
    assert bitstream.write(header, b"\xff\x00") == CHECKSUM
    assert bitstream.read(CHECKSUM) == (header, b"\xff\x00")


def test_alpha_example():
    header, payload = bitstream.read(ALPHA)
    assert payload == b"\xff\x00" and (header.width, header.height) == (3, 2)
    assert (bitstream.unpack_alpha(header.alpha, 3, 2) == 255).all()


def test_bit_order_example():
    text, byte = re.search(r"`([01 ]+)`, the byte `([0-9a-f]{2})`", SPEC).groups()
    planes = np.array([[[1, 0], [0, 1]], [[1, 1], [1, 1]]], bool)
    assert ARCHITECTURES["conv-lstm"].layout.pack([planes.reshape(-1)], 32, 32) == bytes.fromhex(byte)
    assert "".join(str(int(b)) for b in planes.reshape(-1)) == text.replace(" ", "")


def test_model_table_and_limits():
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \| raw passes \| (\d+) \| (\d+) \| (\d+) \|$", SPEC, re.M)
    assert rows == [
        (str(a.number), a.name, str(a.layout.bits), str(a.layout.stride), str(a.layout.max_passes))
        for a in ARCHITECTURES.values()
        if isinstance(a.layout, RawPasses)
    ]
    rows = re.findall(r"^\| (\d+) \| `([a-z]+)` \| coded passes \| ([\d, ]+) \| ([\d,]+) \|$", SPEC, re.M)
    assert rows == [
        (str(a.number), a.name, str(a.layout.stride), f"{a.layout.max_pixels:,}")
        for a in ARCHITECTURES.values()
        if isinstance(a.layout, CodedPasses)
    ]
    for limit in (bitstream.MAX_SIDE, bitstream.MAX_PIXELS):
        assert f"{limit:,}" in SPEC


def test_model_numbers_are_frozen():
    names = "conv-lstm fc-residual-shared fc-residual fc-lstm conv-residual-shared conv-residual conv-autoencoder preview photo"
    assert {a.name: a.number for a in ARCHITECTURES.values()} == {n: i for i, n in enumerate(names.split(), 1)}
    layout = ARCHITECTURES["conv-lstm"].layout
    for name, number in (("conv-lstm", 99), ("other", 1)):
        with pytest.raises(ValueError, match="already registered"):
            register(name, number, "", layout)(lambda: None)
