"""Colour profiles are applied, or ignored with a warning."""

import struct

import numpy as np
import pytest
from pictures import ALPHA, GREY, RGB, levels, saved
from PIL import Image, ImageCms

from neurocodec import images


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC profile (version 2, display) of colour space `space`."""
    tags = {b"desc": b"desc" + struct.pack(">4xI", 2) + b"t\0" + bytes(78), b"cprt": b"text\0\0\0\0t\0", **tags}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + xyz(0.9642, 1, 0.8249)[8:]
    return head + bytes(128 - len(head)) + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def gamma(value: float) -> bytes:
    return b"curv" + struct.pack(">4xIH", 1, round(value * 256))


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# sRGB's primaries with red and blue exchanged: nobody's profile, but it cannot be mistaken for sRGB
SWAPPED = profile(
    b"RGB ",
    WHITE
    | {b"rXYZ": xyz(0.1431, 0.0606, 0.7141), b"gXYZ": xyz(0.3851, 0.7169, 0.0971), b"bXYZ": xyz(0.4360, 0.2225, 0.0139)}
    | {channel + b"TRC": gamma(2.2) for channel in (b"r", b"g", b"b")},
)
LINEAR_GREY = profile(b"GRAY", WHITE | {b"kTRC": gamma(1.0)})


def test_srgb_profile_changes_nothing():
    for image in (Image.fromarray(RGB), Image.fromarray(GREY), Image.fromarray(np.dstack([RGB, ALPHA]))):
        plain, tagged = images.load(saved(image, "PNG")), images.load(saved(image, "PNG", icc_profile=SRGB))
        np.testing.assert_allclose(levels(tagged), levels(plain), atol=1.01)
        assert (plain.alpha is None) == (tagged.alpha is None)


def test_rgb_profile_is_converted():
    """Under a profile with red and blue exchanged, a red pixel shows blue; alpha is left alone."""
    image = Image.new("RGBA", (3, 2), (255, 0, 0, 77))
    picture = images.load(saved(image, "PNG", icc_profile=SWAPPED))
    np.testing.assert_allclose(levels(picture), np.broadcast_to([0, 0, 255], (2, 3, 3)), atol=4)
    assert (picture.alpha == 77).all()


def test_rgb_profile_applies_to_palettes():
    image = Image.new("P", (3, 2), 0)
    image.putpalette([255, 0, 0])
    found = levels(images.load(saved(image, "PNG", icc_profile=SWAPPED)))
    np.testing.assert_allclose(found, np.broadcast_to([0, 0, 255], (2, 3, 3)), atol=4)


def test_grey_profile_is_converted():
    """Linear light 55/255 is level 127 or so in sRGB."""
    found = levels(images.load(saved(Image.new("L", (3, 2), 55), "PNG", icc_profile=LINEAR_GREY)))
    np.testing.assert_allclose(found, 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055), atol=2)


@pytest.mark.parametrize("damaged", [b"broken", SRGB[:200], LINEAR_GREY], ids=["text", "cut", "for grey"])
def test_unusable_profile_is_ignored_with_a_warning(damaged):
    with pytest.warns(UserWarning, match="colour profile is ignored"):
        picture = images.load(saved(Image.fromarray(RGB), "PNG", icc_profile=damaged))
    np.testing.assert_allclose(levels(picture), RGB, atol=1e-4)


def test_profile_of_16_bit_grey_is_ignored_with_a_warning():
    deep = np.array([[0, 12_345]], np.uint16)
    with pytest.warns(UserWarning, match="colour profile is ignored"):
        picture = images.load(saved(Image.fromarray(deep), "PNG", icc_profile=LINEAR_GREY))
    np.testing.assert_allclose(picture.rgb[0] * 65535, deep, atol=0.01)
