"""Picture -> images and files."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import ALPHA, RGB, levels
from PIL import Image

from neurocodec import images
from neurocodec.errors import NeurocodecError


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 4]))))
def test_to_image_inverts_load(array):
    """8-bit pictures come back exactly, alpha included."""
    image = images.to_image(images.load(array))
    assert image.mode == ("RGB" if array.shape[2] == 3 else "RGBA")
    assert np.array_equal(np.asarray(image), array)


def test_to_image_inverts_load_at_every_level():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.asarray(images.to_image(images.load(ramp)))[..., 2], ramp)


def test_to_image_rounds_and_clips():
    rgb = np.array([-0.1, 0.4 / 255, 0.6 / 255, 1.2], np.float32).reshape(1, 1, 4).repeat(3, 0)
    assert np.asarray(images.to_image(images.Picture(rgb)))[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("suffix, name", [(".png", "PNG"), (".webp", "WEBP"), (".PNG", "PNG"), (".tiff", "TIFF")])
def test_encode_image_without_loss(suffix, name):
    opaque_enough = np.maximum(ALPHA, 1)  # WebP may drop the colours of what cannot be seen
    for array in (RGB, np.dstack([RGB, opaque_enough])):
        data = images.encode_image(Image.fromarray(array), suffix)
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == name and np.array_equal(np.asarray(image), array)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp", ".ppm"])
def test_encode_image_puts_alpha_over_white(suffix):
    image = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 16, 8))
    found = levels(images.load(images.encode_image(image, suffix)))
    np.testing.assert_allclose(found[:7], np.broadcast_to([200, 0, 0], (7, 16, 3)), atol=5)
    np.testing.assert_allclose(found[9:], 255, atol=5)


@pytest.mark.parametrize("suffix", ["", ".", ".xyz", ".txt", "png", ".psd", ".h5"])
def test_encode_image_refuses_other_suffixes(suffix):
    with pytest.raises(NeurocodecError, match="cannot be written") as caught:
        images.encode_image(Image.new("RGB", (2, 2)), suffix)
    assert "\n" not in str(caught.value)


def test_encode_image_refuses_what_the_format_cannot_hold():
    with pytest.raises(NeurocodecError, match="cannot be written as WEBP"):
        images.encode_image(Image.new("RGB", (17_000, 1)), ".webp")


def test_write_atomically(tmp_path):
    path = tmp_path / ("é" * 100 + ".nci")
    for data in (b"one", b"two"):
        images.write_atomically(path, data)
        assert path.read_bytes() == data and [*tmp_path.iterdir()] == [path]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode, "not the private mode of a temporary file"


@pytest.mark.parametrize("failing", ["os.replace", "os.fdopen", "os.chmod"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
def test_write_atomically_leaves_nothing_behind(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "a.nci"
    path.write_bytes(b"old")
    handles = []

    def fail(*args, **_):
        handles.extend(a for a in args if isinstance(a, int) and failing == "os.fdopen")
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(failing, fail)
        with pytest.raises(type(error)):
            images.write_atomically(path, b"new")
    for handle in handles:
        os.close(handle)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"old"


def test_write_atomically_to_a_device():
    images.write_atomically(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device(), "not replaced by a file"
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            images.write_atomically(Path("/dev/full"), b"x")
