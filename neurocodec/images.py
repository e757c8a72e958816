"""Files, bytes, PIL images and arrays <-> Picture: orientation applied, colours in sRGB, alpha apart."""

import io
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from neurocodec.bitstream import check_size
from neurocodec.errors import NeurocodecError, StreamError

_OPAQUE_ONLY = {"JPEG", "MPO", "BMP", "DIB", "PPM", "PCX", "EPS"}


@dataclass(frozen=True)
class Picture:
    """A picture on the codec's line.

    rgb: float32 (3, H, W) in [0, 1], sRGB, straight (not premultiplied). alpha: uint8 (H, W), 255 opaque, or None.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None

    @property
    def width(self) -> int:
        return self.rgb.shape[2]

    @property
    def height(self) -> int:
        return self.rgb.shape[1]


Source = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray | Picture


def load(source: Source) -> Picture:
    """The picture in a file (path, bytes or binary file), a PIL image or a uint8 array (H, W), (H, W, 3), (H, W, 4).

    A Picture is returned as it is.
    Animations give their first frame, with a warning. Raises NeurocodecError when it cannot be read or is too large.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (3,), (4,)):
            raise NeurocodecError("an array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4)")
        if source.size == 0:
            raise NeurocodecError("an array must hold at least one pixel")
        source = Image.fromarray(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        if isinstance(source, Image.Image):
            return _picture(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _picture has limits of its own
            with Image.open(file) as image:
                return _picture(image)
    except UnidentifiedImageError:
        raise NeurocodecError("not a picture that can be read") from None
    except Image.DecompressionBombError:
        raise NeurocodecError("the picture has too many pixels") from None
    except (NeurocodecError, MemoryError, Warning):
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # the file system's, not the decoder's
            raise
        raise NeurocodecError(f"the picture is damaged ({_one_line(error)})") from None


def to_image(picture: Picture) -> Image.Image:
    """The picture as an 8-bit PIL image, mode RGB, or RGBA where there is alpha."""
    planes = []
    for samples in picture.rgb:
        levels = samples * np.float32(255)
        levels += np.float32(0.5)
        planes.append(np.clip(levels, 0, 255, out=levels).astype(np.uint8))
    if picture.alpha is not None:
        planes.append(picture.alpha)
    return Image.merge("RGB" if picture.alpha is None else "RGBA", [Image.fromarray(plane) for plane in planes])


def fit(picture: Picture, side: int) -> Picture:
    """The picture scaled down so that its long side is `side` pixels; as it is where that is no larger.

    Raises NeurocodecError unless side is at least 1.
    """
    if side < 1:
        raise NeurocodecError("a picture can only be fitted to 1 pixel or more")
    scale = side / max(picture.width, picture.height)
    if scale >= 1:
        return picture
    size = tuple(max(1, round(n * scale)) for n in (picture.width, picture.height))
    return _picture(to_image(picture).resize(size, Image.Resampling.LANCZOS))


def encode_image(image: Image.Image, suffix: str) -> bytes:
    """The bytes of an image file in the format that the suffix names (".png"); alpha goes over white if it has to.

    Raises NeurocodecError for a suffix that Pillow cannot write.
    """
    name = Image.registered_extensions().get(suffix.lower())
    if name is None or name not in Image.SAVE:
        raise NeurocodecError(f"pictures cannot be written as {suffix!r}")
    if image.mode == "RGBA" and name in _OPAQUE_ONLY:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    # PNG's usual level 6 takes three times as long for a twentieth less.
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "PNG": {"compress_level": 4}}.get(name, {})
    buffer = io.BytesIO()
    try:
        image.save(buffer, name, **options)
    except (OSError, ValueError) as error:
        raise NeurocodecError(f"cannot be written as {name}: {_one_line(error)}") from None
    return buffer.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole or not there; a device or pipe is written to as it is. Raises OSError."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:32]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _picture(image: Image.Image) -> Picture:
    try:
        check_size(*image.size)
    except StreamError as error:
        raise NeurocodecError(str(error)) from None
    if getattr(image, "is_animated", False) and image.format != "MPO":  # the rest of an MPO is previews and depth
        warnings.warn("only the first frame of an animation is used", stacklevel=3)
    image.load()
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        if profile:
            warnings.warn("the colour profile is ignored (more than 8 bits)", stacklevel=3)
        return _deep_grey(image)
    alpha = None
    if image.has_transparency_data:
        if image.mode not in ("RGBA", "LA"):
            image = image.convert("LA" if image.mode in ("L", "1", "La") else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert(image.mode[:-1])
    if profile:
        image = _to_srgb(image, profile)
    pixels = np.asarray(image.convert("RGB"))
    rgb = np.empty((3, *pixels.shape[:2]), np.float32)
    np.divide(pixels.transpose(2, 0, 1), np.float32(255), out=rgb)
    return Picture(rgb, alpha)


def _deep_grey(image: Image.Image) -> Picture:
    """A picture of mode I;16 or I, white at 65535, or F, white at 255."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = None if key is None else np.where(values == key, 0, 255).astype(np.uint8)
    grey = np.nan_to_num(values.astype(np.float32), nan=0) / np.float32(255 if image.mode == "F" else 65535)
    return Picture(np.repeat(np.clip(grey, 0, 1)[None], 3, 0), alpha)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB; as it is, with a warning, when its profile is broken or for another kind of image."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space == "RGB " and image.mode != "CMYK":
            image = image.convert("RGB")
        elif image.mode == "1":
            image = image.convert("L")
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        warnings.warn(f"the colour profile is ignored ({_one_line(error)})", stacklevel=4)
        return image
    return converted or image


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
