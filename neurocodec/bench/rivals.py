"""The codecs to measure against: of each, how a picture becomes a file at a setting, and which bytes of it count.

Files are whole files, as their library writes them. Where headers don't count, the payload is, of
- JPEG: what follows the SOS segment, without EOI; with optimised Huffman tables also their DHT segments;
- JPEG2000: what follows SOD, without EOC (one tile, one tile-part);
- WebP: the VP8 chunk without its 10 bytes of frame header, which is the file less 30 bytes;
- AVIF: the content of `mdat`;
- JPEG XL (libjxl in imagecodecs): all of a bare codestream;
- BlurHash: its characters as a number, ceil(characters x log2(83) / 8) bytes; the text is a fifth longer (4x3: 28);
- ThumbHash: all of it.
BlurHash and ThumbHash have sizes of their own; the settings of all others are points of a curve.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from PIL import Image, features

from neurocodec.bench import extra, thumbhash
from neurocodec.errors import NeurocodecError

Size = tuple[int, int]  # width, height in pixels


def opened(data: bytes, size: Size) -> Image.Image:
    """The RGB picture in a file that Pillow reads."""
    return Image.open(io.BytesIO(data)).convert("RGB")


@dataclass(frozen=True)
class Rival:
    """A codec. encode: the file of an RGB picture at a setting. payload: the bytes of it that count without headers.

    curve: between its settings there could be others. feature, package: what of Pillow, and which package, it needs.
    """

    encode: Callable[[Image.Image, str], bytes]
    settings: tuple[str, ...]
    payload: Callable[[bytes], int] = len
    decode: Callable[[bytes, Size], Image.Image] = opened
    curve: bool = True
    feature: str = ""
    package: str = ""

    @property
    def here(self) -> bool:
        """Whether everything it needs is here."""
        return (not self.feature or features.check(self.feature)) and (not self.package or bool(find_spec(self.package)))

    def require(self) -> None:
        """Raise NeurocodecError, which says what to install, unless everything is here."""
        if self.package:
            extra(self.package)
        if not self.here:
            raise NeurocodecError(f"this Pillow was built without {self.feature}: pip install neurocodec[bench]")


def _saved(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image, quality: str) -> bytes:
    """JPEG 4:2:0 with the standard's Huffman tables."""
    return _saved(image, "JPEG", quality=int(quality), subsampling="4:2:0", optimize=False)


def jpeg_optimised(image: Image.Image, quality: str) -> bytes:
    """JPEG 4:2:0 with Huffman tables made for the picture."""
    return _saved(image, "JPEG", quality=int(quality), subsampling="4:2:0", optimize=True)


def jpeg_segments(data: bytes) -> tuple[list[bytes], bytes]:
    """The marker segments of a baseline JPEG between SOI and the scan, and the scan."""
    at, segments = 2, list[bytes]()
    while not segments or segments[-1][1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at:end])
        at = end
    return segments, data[at:-2]


def jpeg_scan(data: bytes) -> int:
    """Bytes of a baseline JPEG's scan."""
    return len(jpeg_segments(data)[1])


def jpeg_scan_and_tables(data: bytes) -> int:
    """Bytes of a baseline JPEG's scan and DHT segments."""
    segments, scan = jpeg_segments(data)
    return len(scan) + sum(len(segment) for segment in segments if segment[1] == 0xC4)


def _jpeg2000(image: Image.Image, ratio: str, **options: object) -> bytes:
    """OpenJPEG's, to a compression ratio; mct is the transform to luma and chroma, which Pillow leaves off."""
    return _saved(image, "JPEG2000", quality_mode="rates", quality_layers=[float(ratio)], mct=1, **options)


def jpeg2000(image: Image.Image, ratio: str) -> bytes:
    """JPEG2000 (.jp2), 9/7 wavelet; the setting is the compression ratio."""
    return _jpeg2000(image, ratio, irreversible=True)


def jpeg2000_small(image: Image.Image, setting: str) -> bytes:
    """A bare JPEG2000 codestream; the setting is RATIO-RESOLUTIONS-WAVELET, as 6 resolutions don't suit thumbnails."""
    ratio, resolutions, wavelet = setting.split("-")
    return _jpeg2000(image, ratio, no_jp2=True, num_resolutions=int(resolutions), irreversible=wavelet == "9/7")


def jpeg2000_packets(data: bytes) -> int:
    """Bytes of a JPEG2000 codestream after SOD, without EOC."""
    at = 2
    while data[at : at + 2] != b"\xff\x93":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data) - 2 - (at + 2)


def webp(image: Image.Image, quality: str) -> bytes:
    """WebP, method 6."""
    return _saved(image, "WEBP", quality=float(quality), method=6)


def webp_frame(data: bytes) -> int:
    """Bytes of a simple lossy WebP after the headers: RIFF and chunk (20), VP8 frame tag, start code and size (10)."""
    if data[12:16] != b"VP8 ":
        raise ValueError("not a simple lossy WebP")
    return int.from_bytes(data[16:20], "little") - 10


def avif(image: Image.Image, setting: str) -> bytes:
    """AVIF, speed 6; the setting is QUALITY-SUBSAMPLING."""
    quality, subsampling = setting.split("-")
    return _saved(image, "AVIF", quality=int(quality), subsampling=subsampling, speed=6, autotiling=False)


def avif_small(image: Image.Image, setting: str) -> bytes:
    """AVIF as it does best on thumbnails, speed 4 and tuned for SSIM; the setting is QUALITY-SUBSAMPLING."""
    quality, subsampling = setting.split("-")
    tuned = {"tune": "ssim"}
    return _saved(image, "AVIF", quality=int(quality), subsampling=subsampling, speed=4, codec="aom", advanced=tuned)


def avif_mdat(data: bytes) -> int:
    """Bytes in the `mdat` box of an AVIF."""
    at = 0
    while data[at + 4 : at + 8] != b"mdat":
        at += int.from_bytes(data[at : at + 4], "big")
    return int.from_bytes(data[at : at + 4], "big") - 8


def jpeg_xl(image: Image.Image, distance: str) -> bytes:
    """A bare JPEG XL codestream, effort 9; the setting is the Butteraugli distance."""
    encode = extra("imagecodecs").jpegxl_encode
    return bytes(encode(np.asarray(image), distance=float(distance), effort=9, usecontainer=False, numthreads=1))


def jpeg_xl_decoded(data: bytes, size: Size) -> Image.Image:
    """The picture of a JPEG XL codestream."""
    return Image.fromarray(extra("imagecodecs").jpegxl_decode(data))


def blurhash(image: Image.Image, components: str) -> bytes:
    """BlurHash text; the setting is the number of components, across x down."""
    across, down = (int(n) for n in components.split("x"))
    return bytes(extra("blurhash").encode(np.asarray(image).tolist(), across, down), "ascii")


def blurhash_bytes(data: bytes) -> int:
    """Bytes that the characters of a BlurHash would take without their text form."""
    return math.ceil(len(data) * math.log2(83) / 8)


def blurhash_decoded(data: bytes, size: Size) -> Image.Image:
    """The picture of a BlurHash."""
    return Image.fromarray(np.array(extra("blurhash").decode(data.decode("ascii"), *size), np.uint8))


def _settings(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _each(text: str, *variants: str) -> tuple[str, ...]:
    return tuple(f"{setting}-{variant}" for variant in variants for setting in text.split())


_LOW = _settings("1 2 3 4 5 6 7 8 10 12 14 17 20 25 30 35 40 50 60 70 80 90")
_HIGH = _settings("3 5 8 12 17 25 35 50 70 85")
_RATIOS = "200 20 19 18 17 16 15 13 11 9 8 7 6"

SMALL: dict[str, Rival] = {  # for thumbnails, by their payload
    "jpeg": Rival(jpeg, _LOW, jpeg_scan),
    "jpeg-optimised": Rival(jpeg_optimised, _LOW, jpeg_scan_and_tables),
    "jpeg2000": Rival(jpeg2000_small, _each(_RATIOS, "2-9/7", "3-9/7", "2-5/3", "3-5/3"), jpeg2000_packets, feature="jpg_2000"),
    "webp": Rival(webp, _settings("0 0.1 0.3 0.5 1 2 3 5 8 10 15 20 25 30 40 50 60 70 80"), webp_frame, feature="webp"),
    "avif": Rival(avif_small, _each("0 2 5 8 10 15 20 25 30 35 40 45 50 60 70", "4:2:0", "4:4:4"), avif_mdat, feature="avif"),
    "jpeg-xl": Rival(jpeg_xl, _settings("25 20 15 12 10 8 6 5 4 3 2"), decode=jpeg_xl_decoded, package="imagecodecs"),
    "blurhash": Rival(blurhash, ("4x3", "9x9"), blurhash_bytes, blurhash_decoded, curve=False, package="blurhash"),
    "thumbhash": Rival(lambda image, _: thumbhash.encode(image), ("hash",), decode=thumbhash.decode, curve=False),
}
LARGE: dict[str, Rival] = {  # for photos, by their files
    "jpeg": Rival(jpeg_optimised, _HIGH),
    "jpeg2000": Rival(jpeg2000, _settings("384 256 160 96 64 40 24 16"), feature="jpg_2000"),
    "webp": Rival(webp, _settings("0 2 5 10 20 35 50 65 80 90"), feature="webp"),
    "avif": Rival(avif, _each("5 12 20 28 36 45 55 65 75 85", "4:2:0"), feature="avif"),
    "jpeg-xl": Rival(jpeg_xl, _settings("25 18 13 10 7.5 5.5 4 3 2 1.4 1"), decode=jpeg_xl_decoded, package="imagecodecs"),
}
