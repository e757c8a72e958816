"""What one embedded stream costs: a model's bytes beside those of the same network trained for one rate, at equal MS-SSIM.

neurocodec train models/configs/photo.single-rate.toml --data photos/train-0.tar --data photos/train-1.tar \\
    --out runs/single-rate --minutes 13
python benchmarks/single_rate.py data/kodak runs/single-rate/photo.single-rate.safetensors \\
    --out benchmarks/results/0.1.0/single_rate.json

The network of one rate tells each photo to one plane, the one it was trained for. Beside it stand prefixes of the embedded
stream of as many bytes, and of shares of them; where the mean MS-SSIM is the same, the share says what embedding costs.
"""

import json
from pathlib import Path
from typing import TextIO

import click
import numpy as np
from PIL import Image

import neurocodec
from neurocodec import metrics, weights
from neurocodec.tables import RANKS

PLANE = 2  # to which the network of one rate is known
SHARES = np.arange(0.80, 1.21, 0.05)  # of the bytes of the network of one rate
FIGURES = {"ms_ssim": metrics.ms_ssim, "ssim": metrics.ssim, "psnr": metrics.psnr}


def measured(image: np.ndarray, payload: bytes, model: str) -> list[float]:
    """Figures of a header-less stream."""
    shown = np.asarray(neurocodec.decode(payload, model=model, size=(image.shape[1], image.shape[0])))
    return [figure(image, shown) for figure in FIGURES.values()]


def share_at(figure: float, curve: np.ndarray) -> float | None:
    """Of the bytes at which a curve over `SHARES` reaches a figure, if it does."""
    if not curve.min() <= figure <= curve.max():
        return None
    return round(float(np.interp(figure, np.maximum.accumulate(curve), SHARES)), 3)


@click.command()
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("single", type=click.Path(exists=True, dir_okay=False))
@click.option("--model", default="photo", help="Of the embedded stream.")
@click.option("--out", type=click.File("w"), default="-")
def main(photos: Path, single: str, model: str, out: TextIO) -> None:
    """Compare bytes at equal MS-SSIM on the PNG files of a folder; SINGLE: weights trained for one rate."""
    pictures = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(photos.glob("*.png"))]
    passes = (max(weights.find(single).layout.tables.tops) - PLANE) * RANKS
    bpp, of_single, of_shares = [], [], []
    for image in pictures:
        one = neurocodec.encode(image, model=single, passes=passes, headerless=True)
        most = int(len(one) * SHARES[-1]) + 1
        embedded = neurocodec.encode(image, model=model, bytes=most, headerless=True)
        bpp.append(8 * len(one) / image[..., 0].size)
        of_single.append(measured(image, one, single))
        of_shares.append([measured(image, embedded[: round(share * len(one))], model) for share in SHARES])
    target, curve = np.mean(of_single, 0), np.mean(of_shares, 0)
    said = {
        "photos": len(pictures),
        "bpp": round(float(np.mean(bpp)), 4),
        "single_rate": {name: round(float(v), 4) for name, v in zip(FIGURES, target, strict=True)},
        "embedded": [
            {"share": round(float(s), 2)} | {name: round(float(v), 4) for name, v in zip(FIGURES, row, strict=True)}
            for s, row in zip(SHARES, curve, strict=True)
        ],
        "share_at_equal": {name: share_at(target[i], curve[:, i]) for i, name in enumerate(FIGURES)},
    }
    out.write(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
