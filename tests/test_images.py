"""Files, PIL images and arrays of every mode -> Picture."""

import io

import numpy as np
import pytest
from pictures import ALPHA, COLOURS, GREY, RGB, levels, saved
from PIL import Image, ImageCms

from neurocodec import images


def lab(colour: tuple[int, int, int]) -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(Image.new("RGB", (3, 2), colour), to_lab)


def test_mode_1():
    bits = GREY > 127
    assert np.array_equal(levels(images.load(Image.fromarray(bits))), np.repeat(bits[..., None], 3, 2) * 255.0)


def test_modes_of_grey_and_colour_are_exact():
    """L, RGB and RGBX give their levels over 255."""
    grey, colour = Image.fromarray(GREY), Image.fromarray(RGB)
    np.testing.assert_allclose(levels(images.load(grey)), np.repeat(GREY[..., None], 3, 2), atol=1e-4)
    for image in (colour, colour.convert("RGBX")):
        picture = images.load(image)
        np.testing.assert_allclose(levels(picture), RGB, atol=1e-4)
        assert picture.alpha is None


def test_modes_with_alpha_keep_it_apart():
    """LA, RGBA and PA give straight colours and the alpha plane as it is."""
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]))
    pa = Image.fromarray(GREY).convert("P").convert("PA")
    pa.putalpha(Image.fromarray(ALPHA))
    assert pa.mode == "PA"
    for image, colours in ((la, np.repeat(GREY[..., None], 3, 2)), (rgba, RGB), (pa, np.asarray(pa.convert("RGB")))):
        picture = images.load(image)
        np.testing.assert_allclose(levels(picture), colours, atol=1e-4)
        assert np.array_equal(picture.alpha, ALPHA)


@pytest.mark.parametrize("mode, straight", [("La", "LA"), ("RGBa", "RGBA")])
def test_premultiplied_modes_become_straight(mode, straight):
    alpha = np.full_like(GREY, 128)
    image = Image.fromarray(np.dstack([GREY, alpha] if straight == "LA" else [RGB, alpha])).convert(mode)
    picture = images.load(image)
    expected = np.repeat(GREY[..., None], 3, 2) if straight == "LA" else RGB
    np.testing.assert_allclose(levels(picture), expected, atol=2)  # 8-bit premultiplication costs a level or two
    assert np.array_equal(picture.alpha, alpha)


def test_mode_p():
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("L")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert image.mode == "P"
    np.testing.assert_allclose(levels(images.load(image)), expected, atol=1e-4)
    for key, alpha in ((1, [[255, 0], [255, 0]]), (b"\x07\x80", [[7, 128], [255, 128]])):
        picture = images.load(saved(image, "PNG", transparency=key))
        np.testing.assert_allclose(levels(picture), expected, atol=1e-4)
        assert picture.alpha.tolist() == alpha


def test_one_transparent_colour():
    """A PNG's transparent colour becomes alpha, in 8 and in 16 bits."""
    for image, key in ((Image.fromarray(RGB), tuple(map(int, RGB[2, 3]))), (Image.fromarray(GREY), int(GREY[2, 3]))):
        alpha = images.load(saved(image, "PNG", transparency=key)).alpha
        assert np.array_equal(alpha, np.where((np.atleast_3d(np.asarray(image)) == key).all(2), 0, 255))
    deep = np.array([[0, 1000, 65535]], np.uint16)
    picture = images.load(saved(Image.fromarray(deep), "PNG", transparency=1000))
    assert picture.alpha.tolist() == [[255, 0, 255]]
    np.testing.assert_allclose(picture.rgb[0] * 65535, deep, atol=0.01)


def test_mode_cmyk():
    image = Image.fromarray(RGB).convert("CMYK")
    np.testing.assert_allclose(levels(images.load(image)), RGB, atol=1e-4)  # Pillow's own CMYK is invertible
    assert np.abs(levels(images.load(saved(image, "JPEG", quality=100, subsampling=0))) - RGB).mean() < 3


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_other_colour_modes(mode):
    for colour in COLOURS:
        found = levels(images.load(Image.new("RGB", (3, 2), colour).convert(mode)))
        np.testing.assert_allclose(found, np.broadcast_to(colour, found.shape), atol=4)


def test_mode_lab():
    for colour in COLOURS:
        found = levels(images.load(lab(colour)))
        np.testing.assert_allclose(found, np.broadcast_to(colour, found.shape), atol=6)


@pytest.mark.parametrize("dtype, mode", [(np.uint16, "I;16"), (">u2", "I;16B"), (np.int32, "I")])
def test_16_bit_grey_keeps_its_precision(dtype, mode):
    """Steps of one in 65535 survive; what lies outside is clipped."""
    values = np.array([[0, 1, 255, 256], [20_000, 20_001, 65_534, 65_535]], dtype)
    image = Image.fromarray(values)
    assert image.mode == mode
    for channel in images.load(image).rgb:
        np.testing.assert_allclose(channel * 65535, values, atol=0.01)
    if mode != "I;16B":
        np.testing.assert_allclose(images.load(saved(image, "TIFF")).rgb[0] * 65535, values, atol=0.01)


def test_native_16_bit_mode():
    np.testing.assert_allclose(images.load(Image.new("I;16N", (2, 1), 20_000)).rgb * 65535, 20_000, atol=0.01)


def test_modes_i_and_f_are_clipped():
    picture = images.load(Image.fromarray(np.array([[-5, 1 << 20]], np.int32)))
    assert picture.rgb[0].tolist() == [[0, 1]]
    values = np.array([[0, 63.75, 255, -1, 300, np.inf, np.nan]], np.float32)
    assert levels(images.load(Image.fromarray(values)))[..., 1].tolist() == [[0, 63.75, 255, 0, 255, 255, 0]]


@pytest.mark.parametrize(
    "name, suffix, options",
    [
        ("PNG", ".png", {}),
        ("WEBP", ".webp", {"lossless": True}),
        ("TIFF", ".tif", {}),
        ("BMP", ".bmp", {}),
        ("JPEG", ".jpg", {"quality": 95, "subsampling": 0}),
    ],
)
def test_files(tmp_path, name, suffix, options):
    """A file gives what was saved, from a path, a string, bytes and an open file."""
    smooth = np.kron(RGB[:2, :3], np.ones((8, 8, 1), np.uint8))
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth).save(path, name, **options)
    expected = levels(images.load(path))
    assert np.abs(expected - smooth).mean() < (6 if name == "JPEG" else 1e-4)
    data = path.read_bytes()
    with open(path, "rb") as file:
        for source in (str(path), data, file, io.BytesIO(data)):
            assert np.array_equal(levels(images.load(source)), expected)


def test_animation_gives_its_first_frame_and_a_warning():
    frames = [Image.new("RGB", (5, 4), c) for c in ("red", "blue")]
    for name in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if name == "WEBP" else {}
        data = saved(frames[0], name, save_all=True, append_images=frames[1:], **options)
        with pytest.warns(UserWarning, match="first frame"):
            picture = images.load(data)
        np.testing.assert_allclose(levels(picture), np.broadcast_to([255, 0, 0], (4, 5, 3)), atol=1)


def test_still_gif(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    np.testing.assert_allclose(levels(images.load(tmp_path / "a.gif"))[..., 0], GREY, atol=1e-4)


def test_phone_picture_with_a_preview_is_no_animation():
    """The second picture of an MPO is not worth a warning."""
    first = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    data = saved(first, "MPO", save_all=True, append_images=[first])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    np.testing.assert_allclose(levels(images.load(data)), 90, atol=2)


STORED = {  # how a file of each orientation stores the upright picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_orientation_is_applied_once(orientation, name):
    upright = np.kron(RGB[:2, :3], np.ones((8, 8, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(name, {})
    data = saved(Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), name, exif=exif, **options)
    found = levels(images.load(data))
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < (6 if name == "JPEG" else 1e-4)


def test_orientation_applies_to_alpha_and_to_16_bits():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = images.load(saved(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG", exif=exif))
    assert np.array_equal(picture.alpha, np.rot90(ALPHA, -1))
    deep = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10_000
    np.testing.assert_allclose(
        images.load(saved(Image.fromarray(deep), "PNG", exif=exif)).rgb[0] * 65535, np.rot90(deep, -1), atol=0.01
    )


def test_arrays():
    for array in (GREY, RGB, np.dstack([RGB, ALPHA]), RGB[::-1, ::2], np.asfortranarray(RGB)):
        picture = images.load(array)
        colours = np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array[..., :3]
        np.testing.assert_allclose(levels(picture), colours, atol=1e-4)
        assert (picture.alpha is not None) == (array.shape[2:] == (4,))
    assert images.load(picture) is picture
