"""The block table: small `preview` networks that differ in nothing but their blocks or upsamplers, trained alike, measured on bytes.

    python benchmarks/blocks.py --data thumbs:MOSAICS --thumbs DIR --out benchmarks/results/0.1.0/blocks.json

Every network has as many multiply-adds per pixel (within 10 %), by the width of its maps; each is trained for the same number
of steps on the same thumbnails. Then it encodes thumbnails that took no part; SSIM is that of the first 64 bytes, decoded.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

import neurocodec
from neurocodec import metrics, weights
from neurocodec.bench.report import figure
from neurocodec.models.blocks import BLOCKS
from neurocodec.models.preview import Preview
from neurocodec.models.upsampling import UPSAMPLERS
from neurocodec.train.run import cost, run

CHANNELS, COUNTS, KMAC, WITHIN, BYTES = 48, (1, 1, 2), 40.0, 0.1, 64
UP, BLOCK = "depth-to-space", "residual"  # of rows that compare blocks, and of those that compare upsamplers
ROWS = {name: (name, UP) for name in BLOCKS} | {name: (BLOCK, name) for name in UPSAMPLERS if name != UP}
CONFIG = """architecture = "preview"
[network]
channels = {channels}
widths = {widths}
blocks = {counts}
block = "{block}"
up = "{up}"
[schedule]
steps = {steps}
batch_pixels = 65536
muon_rate = 0.01
thumbs = 1.0
"""


def widths_for(block: str, up: str) -> tuple[int, int, int]:
    """Widths, multiples of 16, in about the ratio 1 : 2 : 5, of the network that comes nearest to KMAC.

    Multiples of 8 where those are too coarse.
    """
    for unit in (16, 8):
        found = []
        for first in range(16, 129, unit):
            for last in range(4 * first, 6 * first + 1, unit):
                with torch.device("meta"):
                    net = Preview(CHANNELS, (first, 2 * first, last), COUNTS, block, up=up)
                found.append((abs(_kmac(net) - KMAC), (first, 2 * first, last)))
        nearest, widths = min(found)
        if nearest <= WITHIN * KMAC:
            break
    return widths


def _kmac(net: Preview) -> float:
    """Multiply-adds per pixel, both ways, in thousands, of a network without weights."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        net.synthesis_transform(net.analysis_transform(torch.empty(1, 3, 64, 64)))
    return counter.get_total_flops() / 2 / 64**2 / 1000


def milliseconds(net: Preview) -> float:
    """Median time of both transforms of 512x512 pixels."""
    x, times = torch.rand(1, 3, 512, 512), []
    with torch.no_grad():
        for _ in range(7):
            begin = time.perf_counter()
            net.synthesis_transform(net.analysis_transform(x))
            times.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(times[1:]), 1)


def ssim(model: str, pictures: list[np.ndarray]) -> float:
    """Mean SSIM of pictures cut to so many bytes."""
    found = []
    for picture in pictures:
        payload = neurocodec.encode(picture, model=model, bytes=BYTES, headerless=True)
        shown = neurocodec.decode(payload, model=model, size=picture.shape[1::-1])
        found.append(metrics.ssim(picture, np.asarray(shown)))
    return round(float(np.mean(found)), 4)


@click.command()
@click.option("--data", multiple=True, required=True, help="As of `neurocodec train`.")
@click.option("--thumbs", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="To measure on.")
@click.option("--steps", default=500)
@click.option("--block", "names", multiple=True, type=click.Choice(list(ROWS)), help="Or upsampler; by default all.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(data: tuple[str, ...], thumbs: Path, steps: int, names: tuple[str, ...], out: Path) -> None:
    """Train and measure those that are not in the file yet, and time all that are."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(thumbs.glob("*.png"))]
    table = (
        json.loads(out.read_text()) if out.exists() else {"steps": steps, "bytes": BYTES, "pictures": len(pictures), "rows": {}}
    )
    for name in (name for name in names or ROWS if name not in table["rows"]):
        block, up = ROWS[name]
        widths = widths_for(block, up)
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "block.toml"
            filled = CONFIG.format(channels=CHANNELS, widths=list(widths), counts=list(COUNTS), block=block, up=up, steps=steps)
            config.write_text(filled)
            run(config, list(data), Path(folder), 24 * 60, "cpu", False, click.echo)
            model = str(Path(folder) / "block.safetensors")
            net = weights.network(weights.find(model).path)
            table["rows"][name] = {
                "paper": (BLOCKS | UPSAMPLERS)[name].paper, "widths": widths, **cost(net), "ssim": ssim(model, pictures),
            }  # fmt: skip
        click.echo(f"{name}: {table['rows'][name]}")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(table, indent=1) + "\n")
    for name, row in table["rows"].items():
        block, up = ROWS[name]
        row["ms"] = milliseconds(Preview(CHANNELS, row["widths"], COUNTS, block, up=up))
    out.write_text(json.dumps(table, indent=1) + "\n")
    plot(table, out.with_suffix(".png"))


def plot(table: dict, path: Path) -> None:
    """SSIM against time, a point a block, a square an upsampler."""
    drawn = figure(path.suffix, (8, 5))
    axes = drawn.add_subplot()
    for name, row in table["rows"].items():
        axes.plot(row["ms"], row["ssim"], "s" if name in UPSAMPLERS else "o")
        axes.annotate(name, (row["ms"], row["ssim"]), xytext=(4, 4), textcoords="offset points")
    axes.margins(0.2, 0.1)
    axes.set(
        xlabel="milliseconds, 512x512 pixels both ways", ylabel=f"SSIM at {table['bytes']} bytes", title="Blocks of equal cost"
    )
    drawn.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
