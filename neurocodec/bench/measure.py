"""Pictures through codecs: every figure is of bytes that were written to a file and read back."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from PIL import Image

from neurocodec import metrics

MS_SSIM_SIDE = 161  # pixels, the least that five scales take
Measure = Literal["bytes", "bpp"]
Quality = Literal["psnr", "ssim", "ms_ssim", "ssimulacra2"]
MOST_PSNR = 100.0  # dB, what equal pictures count as, so that means stay finite


@dataclass(frozen=True)
class File:
    """A picture as a codec writes it. size: the bytes that count. seconds: what encoding took."""

    setting: str
    data: bytes
    size: int
    seconds: float
    decode: Callable[[bytes], Image.Image]


@dataclass(frozen=True)
class Codec:
    """What is measured: the files that it makes of an RGB picture.

    kind: a model of ours, whose settings are limits; a rival whose settings are points of a curve, or fixed ones.
    """

    name: str
    files: Callable[[Image.Image], Iterator[File]]
    kind: Literal["model", "curve", "fixed"]


class Row(TypedDict):
    """One picture in one file. bytes: those that count; psnr: dB; ms_ssim, ssimulacra2: None for small pictures; *_s: seconds."""

    codec: str
    setting: str
    image: str
    width: int
    height: int
    bytes: int
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float | None
    ssimulacra2: float | None
    encode_s: float
    decode_s: float


def warm_up(codecs: Iterable[Codec], image: Image.Image) -> None:
    """Put a picture through every codec once, so that no row pays for what is set up at first use."""
    for codec in codecs:
        file = next(codec.files(image))
        file.decode(file.data)


def measure(name: str, image: Image.Image, codecs: Iterable[Codec]) -> Iterator[tuple[Row, Image.Image]]:
    """Rows of a named RGB picture, each with the decoded picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for codec in codecs:
            for file in codec.files(image):
                path.write_bytes(file.data)
                data = path.read_bytes()
                begin = time.perf_counter()
                shown = file.decode(data)
                seconds = time.perf_counter() - begin
                yield _row(codec.name, name, image, file, shown, seconds), shown


def _row(codec: str, name: str, image: Image.Image, file: File, shown: Image.Image, seconds: float) -> Row:
    original, decoded = np.asarray(image), np.asarray(shown)
    large = min(image.size) >= MS_SSIM_SIDE
    return {
        "codec": codec,
        "setting": file.setting,
        "image": name,
        "width": image.width,
        "height": image.height,
        "bytes": file.size,
        "bpp": round(metrics.bpp(file.size, *image.size), 6),
        "psnr": round(min(metrics.psnr(original, decoded), MOST_PSNR), 4),
        "ssim": round(metrics.ssim(original, decoded), 6),
        "ms_ssim": round(metrics.ms_ssim(original, decoded), 6) if large else None,
        "ssimulacra2": round(metrics.ssimulacra2(original, decoded), 4) if large else None,
        "encode_s": round(file.seconds, 6),
        "decode_s": round(seconds, 6),
    }


def decibels(ms_ssim: float) -> float:
    """MS-SSIM as -10 log10(1 - x); at most 60."""
    return -10 * math.log10(max(1 - ms_ssim, 1e-6))


def by(rows: Iterable[Row], key: Literal["codec", "setting", "image"]) -> Mapping[str, list[Row]]:
    """Rows in groups of equal values of a key, in order of appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
