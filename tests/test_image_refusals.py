"""What `images` does not take, and how it says so."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from pictures import GREY, RGB, levels, saved
from PIL import Image

from neurocodec import images
from neurocodec.errors import NeurocodecError


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """An RGB PNG with a head that says this size and hardly any data."""
    out = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", head), *chunks, (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


@pytest.mark.parametrize(
    "array",
    [
        RGB.astype(np.float32),
        RGB.astype(np.int64),
        GREY > 3,
        RGB[..., :2],
        RGB[..., :1],
        RGB[0, :, 0],
        RGB[None],
        RGB[:0],
        RGB[:, :0],
        np.zeros((70_000, 1), np.uint8),
    ],
    ids=["float", "int64", "bool", "2 channels", "1 channel", "1-D", "4-D", "no rows", "no columns", "too long"],
)
def test_wrong_arrays_are_refused(array):
    refused(array)


def refused(source, match: str | None = None) -> None:
    with pytest.raises(NeurocodecError, match=match) as caught:
        images.load(source)
    message = str(caught.value)
    assert message and "\n" not in message and len(message) < 200


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000"])
def test_damaged_files_are_refused(name):
    """Cut files give the documented error; flipped bytes give it or a picture, and nothing else."""
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8))
    data = saved(noise, name)
    for keep in (len(data) // 2, len(data) // 4):
        refused(data[:keep])
    rng = np.random.default_rng(11)
    for _ in range(25):
        flipped = bytearray(data)
        for place in rng.integers(0, min(len(data), 300), 3):
            flipped[place] ^= 1 << rng.integers(8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of some damage
                levels(images.load(bytes(flipped)))
        except NeurocodecError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("data", [b"", b"x", b"just text, no picture\n" * 9, b"\x8eNC\x10"])
def test_what_is_no_picture_is_refused(data, tmp_path):
    refused(data, "not a picture")
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "not a picture")


def test_bombs_are_refused_unopened():
    """A head that claims too much is refused before anything is allocated for it."""
    refused(png(60_000, 60_000), "too many pixels")
    refused(png(2**31 - 1, 2**31 - 1), "too many pixels")
    refused(png(12_000, 12_000), "outside the limits")
    refused(png(65_536, 2), "outside the limits")


def test_zero_size_is_refused():
    refused(png(0, 5))
    refused(Image.new("RGB", (0, 5)), "outside the limits")


def test_damaged_pil_image_is_refused():
    """A PIL image that was opened but not yet read fails like its file."""
    data = saved(Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8)), "PNG")
    with Image.open(io.BytesIO(data[: len(data) // 2])) as image:
        refused(image, "damaged")


def test_file_system_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        images.load(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        images.load(tmp_path)
