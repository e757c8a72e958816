"""What every length of a stream is worth: mean quality of 200 prefixes of each photo's one stream, and where it falls.

python benchmarks/prefixes.py data/kodak --out benchmarks/results/0.1.0/prefixes.json

Lengths are those of whole files, from one byte behind the header to 1.5 bits per pixel, in equal ratios where that is more than a
byte's difference; a stream that ends before stays as it is.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TextIO

import click
import numpy as np
import torch
from PIL import Image

import neurocodec
from neurocodec import metrics

COUNT, MOST = 200, 1.5  # prefixes; bits per pixel
FIGURES = {"ms_ssim": metrics.ms_ssim, "ssim": metrics.ssim, "psnr": metrics.psnr}


def measured(path: Path, model: str) -> tuple[list[int], np.ndarray]:
    """Lengths in bytes, and figures of the prefixes, (COUNT, 3)."""
    torch.set_num_threads(1)  # processes work side by side
    image = np.asarray(Image.open(path).convert("RGB"))
    stream = neurocodec.encode(image, model=model, bpp=MOST)
    least = len(stream) - len(neurocodec.unpack(stream)) + 1
    ratios = np.geomspace(least, MOST * image[..., 0].size / 8, COUNT).round().astype(int)
    lengths = np.maximum(ratios, least + np.arange(COUNT))  # no two alike
    shown = (np.asarray(neurocodec.decode(stream[:length])) for length in lengths)
    return lengths.tolist(), np.array([[figure(image, y) for figure in FIGURES.values()] for y in shown])


@click.command()
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="photo")
@click.option("--jobs", default=2, help="Photos at a time.")
@click.option("--out", type=click.File("w"), default="-")
def main(photos: Path, model: str, jobs: int, out: TextIO) -> None:
    """Measure prefixes of the PNG files of a folder, all of as many pixels."""
    with ProcessPoolExecutor(jobs) as pool:
        lengths, figures = zip(*pool.map(partial(measured, model=model), sorted(photos.glob("*.png"))), strict=True)
    if len(set(map(tuple, lengths))) > 1:
        raise click.ClickException("a mean over lengths takes photos of as many pixels")
    mean = np.mean(figures, 0)
    falls = np.minimum(np.diff(mean, axis=0), 0)
    said = {
        "model": model,
        "photos": len(lengths),
        "falls": {
            name: {"lengths": int((falls[:, i] < 0).sum()), "most": round(float(abs(falls[:, i].min())), 5)}
            for i, name in enumerate(FIGURES)
        },
        "prefixes": [
            {"bytes": length} | {name: round(float(v), 5) for name, v in zip(FIGURES, row, strict=True)}
            for length, row in zip(lengths[0], mean, strict=True)
        ],
    }
    out.write(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
