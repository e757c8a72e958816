"""`make demo`: a photo becomes a progressive stream; prefixes of it are decoded beside JPEGs of as many bytes.

Writes demo-output/: the stream, each decoded prefix, and one picture that shows all of them.
"""

import io
from pathlib import Path

import click
import numpy as np
import skimage
from PIL import Image, ImageDraw

import neurocodec
from neurocodec import metrics

RATES = (0.06, 0.12, 0.25, 0.5, 1.0)  # bits per pixel


def jpeg_of(image: Image.Image, size: int) -> bytes:
    """The best JPEG (4:2:0, optimised) of at most `size` bytes, or the smallest there is if none is."""
    best = b""
    for quality in range(96):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
        if best and len(buffer.getvalue()) > size:
            break
        best = buffer.getvalue()
    return best


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="demo-output")
def main(out: Path) -> None:
    """Encode a sample photo once, decode prefixes, compare with JPEG."""
    out.mkdir(exist_ok=True)
    image = Image.fromarray(skimage.data.coffee())
    original = np.asarray(image)
    stream_file = out / "coffee.nci"
    stream_file.write_bytes(neurocodec.encode(image, bpp=max(RATES)))
    stream = stream_file.read_bytes()
    click.echo(f"{stream_file}: {image.width}x{image.height}, {len(stream)} bytes; every row is a prefix of it\n")
    click.echo("  bytes     bpp    SSIM |  JPEG bytes    SSIM")
    tiles = [(image, "original")]
    for rate in RATES:
        prefix = neurocodec.truncate(stream, bpp=rate)
        decoded = neurocodec.decode(prefix)
        decoded.save(out / f"coffee-{rate:.2f}-bpp.png")
        rival = jpeg_of(image, len(prefix))
        rival_image = Image.open(io.BytesIO(rival))
        ours, theirs = (metrics.ssim(original, np.asarray(i)) for i in (decoded, rival_image))
        bpp = metrics.bpp(len(prefix), *image.size)
        click.echo(f"{len(prefix):7} {bpp:7.3f} {ours:7.4f} | {len(rival):11} {theirs:7.4f}")
        tiles.append((decoded, f"neurocodec {len(prefix)} bytes, SSIM {ours:.3f}"))
        tiles.append((rival_image, f"JPEG {len(rival)} bytes, SSIM {theirs:.3f}"))
    sheet_file = out / "comparison.png"
    sheet(tiles[1:9]).save(sheet_file)
    click.echo(f"\n{sheet_file} shows the first four rows, neurocodec on the left, JPEG on the right")


def sheet(tiles: list[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures with captions, two to a row."""
    width, height = tiles[0][0].size
    rows = -(-len(tiles) // 2)
    page = Image.new("RGB", (2 * width, rows * (height + 16)), "white")
    for i, (tile, caption) in enumerate(tiles):
        x, y = i % 2 * width, i // 2 * (height + 16)
        page.paste(tile, (x, y + 16))
        ImageDraw.Draw(page).text((x + 4, y + 2), caption, fill="black")
    return page


if __name__ == "__main__":
    main()
