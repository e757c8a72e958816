"""Warm times in one process, as milliseconds and as ratios to rivals that take their turns in the same run.

    python benchmarks/speed.py --out benchmarks/results/0.1.0/speed.json [--photo kodim.png]

A 768x512 photo: `photo` and `conv-lstm` to 0.5 bpp and back, against WebP (method 4) and AVIF (speed 6) of Pillow at about as many
bytes. A 32x32 thumbnail: `preview` to 64 bytes and back. Parts of that photo, and many of it side by side: milliseconds of `photo` per
megapixel. Medians.
"""

import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TextIO

import click
import numpy as np
import skimage
import torch
from PIL import Image

import neurocodec
from neurocodec.precision import has_bfloat16

Codec = tuple[Callable[[], bytes], Callable[[bytes], object]]


def pillow(image: Image.Image, name: str, **options: int) -> Codec:
    """A format of Pillow's as a codec."""

    def encode() -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        return buffer.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def timed(codecs: dict[str, Codec], turns: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each codec's encode and decode, taken in turns, after one turn that does not count."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in codecs}
    sizes = {}
    for turn in range(turns + 1):
        for name, (encode, decode) in codecs.items():
            begin = time.perf_counter()
            data = encode()
            middle = time.perf_counter()
            decode(data)
            end = time.perf_counter()
            sizes[name] = len(data)
            if turn:
                times[name][0].append(1000 * (middle - begin))
                times[name][1].append(1000 * (end - middle))
    return {
        name: {
            "bytes": sizes[name],
            "encode_ms": round(statistics.median(encodes), 2),
            "decode_ms": round(statistics.median(decodes), 2),
        }
        for name, (encodes, decodes) in times.items()
    }


def by_size(image: Image.Image, turns: int) -> dict[str, dict[str, float]]:
    """Milliseconds per megapixel of `photo` at 0.5 bpp, by the size of the picture: a quarter of it, it, and four and sixteen of it."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    pictures = [pixels[: height // 2, : width // 2], *(np.tile(pixels, (n, n, 1)) for n in (1, 2, 4))]
    codecs: dict[str, Codec] = {
        f"{p.shape[1]}x{p.shape[0]}": (partial(neurocodec.encode, p, model="photo", bpp=0.5), neurocodec.decode) for p in pictures
    }
    rows = timed(codecs, turns)
    return {
        name: {way: round(1e6 * rows[name][way] / p[..., 0].size, 1) for way in ("encode_ms", "decode_ms")}
        for name, p in zip(codecs, pictures, strict=True)
    }


@click.command()
@click.option("--photo", type=click.Path(exists=True, dir_okay=False), help="By default scikit-image's coffee.")
@click.option("--turns", default=7)
@click.option("--out", type=click.File("w"), default="-")
def main(photo: str | None, turns: int, out: TextIO) -> None:
    """Time the codecs."""
    image = Image.open(photo).convert("RGB") if photo else Image.fromarray(skimage.data.coffee())
    image = image.resize((768, 512), Image.Resampling.LANCZOS)
    thumb = image.resize((32, 32), Image.Resampling.LANCZOS)
    large = {
        **{
            name: (partial(neurocodec.encode, image, model=name, bpp=0.5), neurocodec.decode) for name in ("photo", "conv-lstm")
        },
        "webp": pillow(image, "WEBP", quality=40, method=4),
        "avif": pillow(image, "AVIF", quality=45, speed=6),
    }
    small = {
        "preview": (lambda: neurocodec.encode(thumb, bytes=64), neurocodec.decode),
        "webp": pillow(thumb, "WEBP", quality=5, method=4),
    }
    results: dict[str, object] = {
        "version": neurocodec.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16": has_bfloat16(),
    }
    for name, codecs, rival in (("photo 768x512", large, "webp"), ("thumbnail 32x32", small, "webp")):
        rows = timed(codecs, turns)
        for row in rows.values():
            for way in ("encode", "decode"):
                row[f"{way}_ratio_to_{rival}"] = round(row[f"{way}_ms"] / rows[rival][f"{way}_ms"], 2)
        results[name] = rows
    results["photo by size, ms per megapixel"] = by_size(image, turns)
    out.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
