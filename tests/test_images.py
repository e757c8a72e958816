"""Files, PIL images and arrays <-> Picture."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

from neurocodec import images
from neurocodec.errors import NeurocodecError

RGB = np.random.default_rng(7).integers(0, 256, (6, 9, 3), np.uint8)
GREY = RGB[..., 0]
ALPHA = RGB[..., 1]
COLOURS = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (30, 140, 90)]


def levels(picture: images.Picture) -> np.ndarray:
    """(H, W, 3) float in 0..255, after the checks that hold for every Picture."""
    assert picture.rgb.dtype == np.float32 and picture.rgb.shape == (3, picture.height, picture.width)
    assert picture.rgb.min() >= 0 and picture.rgb.max() <= 1
    if picture.alpha is not None:
        assert picture.alpha.dtype == np.uint8 and picture.alpha.shape == picture.rgb.shape[1:]
    return picture.rgb.transpose(1, 2, 0).astype(np.float64) * 255


def saved(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """An RGB PNG with a head that says this size and hardly any data."""
    out = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", head), *chunks, (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


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


def lab(colour: tuple[int, int, int]) -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(Image.new("RGB", (3, 2), colour), to_lab)


# --- modes -----------------------------------------------------------------------------------------------------------


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


# --- files -----------------------------------------------------------------------------------------------------------


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


# --- colour profiles -------------------------------------------------------------------------------------------------


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


# --- arrays and refusals ---------------------------------------------------------------------------------------------


def test_arrays():
    for array in (GREY, RGB, np.dstack([RGB, ALPHA]), RGB[::-1, ::2], np.asfortranarray(RGB)):
        picture = images.load(array)
        colours = np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array[..., :3]
        np.testing.assert_allclose(levels(picture), colours, atol=1e-4)
        assert (picture.alpha is not None) == (array.shape[2:] == (4,))
    assert images.load(picture) is picture


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


# --- back to images and files ----------------------------------------------------------------------------------------


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
