"""conv-lstm against JPEG: photos as whole files, thumbnails as payloads. Every figure is of bytes written and read back.

    python benchmarks/against_jpeg.py --photos DIR --thumbs DIR --out benchmarks/results/0.1.0/against_jpeg.json

Photos: one encode of all passes; the file cut to each budget in bpp, header included, is decoded and measured. JPEG
(Pillow, 4:2:0, optimize=True) is measured at every quality and interpolated on (ln bytes, measure) to the same number of
bytes for each picture; where it cannot go that low, its lowest quality counts, with the bytes that takes.
Thumbnails: payload prefixes of 16 to 256 bytes; JPEG without headers (scan data alone, standard Huffman tables).
"""

import io
import json
import math
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

import neurocodec
from neurocodec import metrics

PHOTO_BPP = (0.0625, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
THUMB_BYTES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
QUALITIES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 35, 40, 50, 60, 70, 80, 90, 95)


def measure(original: np.ndarray, shown: Image.Image) -> dict[str, float]:
    """PSNR, SSIM and, where the size allows it, MS-SSIM."""
    decoded = np.asarray(shown.convert("RGB"))
    figures = {"psnr": metrics.psnr(original, decoded), "ssim": metrics.ssim(original, decoded)}
    if min(original.shape[:2]) > 160:
        figures["ms_ssim"] = metrics.ms_ssim(original, decoded)
    return figures


def jpeg(image: Image.Image, quality: int, optimize: bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=optimize)
    return buffer.getvalue()


def scan_bytes(data: bytes) -> int:
    """Length of the entropy-coded data between the SOS segment and the EOI marker."""
    sos = data.index(b"\xff\xda")
    return len(data) - 2 - (sos + 2 + int.from_bytes(data[sos + 2 : sos + 4], "big"))


def at_bytes(curve: list[tuple[float, dict[str, float]]], size: float) -> dict[str, float]:
    """A curve of (bytes, figures) at `size` bytes, linear in ln bytes; its lowest point below its range."""
    curve = sorted(curve, key=lambda point: point[0])
    sizes = np.log([s for s, _ in curve])
    return {
        "bytes": max(size, curve[0][0]),
        **{k: float(np.interp(math.log(size), sizes, [f[k] for _, f in curve])) for k in curve[0][1]},
    }


def photos(folder: Path, model: str) -> dict:
    rows: dict[float, dict[str, list]] = {bpp: {"ours": [], "jpeg": []} for bpp in PHOTO_BPP}
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(folder.glob("*.png")):
            image = Image.open(path).convert("RGB")
            original = np.asarray(image)
            curve = []
            for quality in QUALITIES:
                data = jpeg(image, quality, optimize=True)
                curve.append((len(data), measure(original, Image.open(io.BytesIO(data)))))
            whole = neurocodec.encode(image, model=model, passes=16)
            for bpp in PHOTO_BPP:
                file = Path(scratch) / "cut.nci"
                file.write_bytes(neurocodec.truncate(whole, bpp=bpp))
                data = file.read_bytes()
                ours = {"bytes": len(data), **measure(original, neurocodec.decode(data))}
                rows[bpp]["ours"].append(ours)
                rows[bpp]["jpeg"].append(at_bytes(curve, len(data)))
            click.echo(f"{path.name}", err=True)
    return {str(bpp): {who: _mean(figures) for who, figures in sides.items()} for bpp, sides in rows.items()}


def thumbs(folder: Path, model: str) -> dict:
    images = [Image.open(p).convert("RGB") for p in sorted(folder.glob("*.png"))]
    curve = []
    for quality in range(1, 96):
        files = [jpeg(image, quality, optimize=False) for image in images]
        figures = [measure(np.asarray(i), Image.open(io.BytesIO(f))) for i, f in zip(images, files, strict=True)]
        curve.append((float(np.mean([scan_bytes(f) for f in files])), _mean(figures)))
    streams = [neurocodec.encode(image, model=model, passes=16, headerless=True) for image in images]
    rows = {}
    for size in THUMB_BYTES:
        decoded = [neurocodec.decode(s[:size], model=model, size=(32, 32)) for s in streams]
        ours = [measure(np.asarray(i), d) for i, d in zip(images, decoded, strict=True)]
        rows[str(size)] = {"ours": {"bytes": size, **_mean(ours)}, "jpeg": at_bytes(curve, size)}
    return rows


def _mean(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([f[key] for f in figures])), 4) for key in figures[0]}


@click.command()
@click.option("--photos", "photo_folder", type=click.Path(exists=True, path_type=Path))
@click.option("--thumbs", "thumb_folder", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="conv-lstm")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(photo_folder: Path | None, thumb_folder: Path | None, model: str, out: Path) -> None:
    results: dict = {"model": model, "version": neurocodec.__version__}
    if photo_folder:
        results["photos"] = photos(photo_folder, model)
    if thumb_folder:
        results["thumbs"] = thumbs(thumb_folder, model)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    for kind in ("photos", "thumbs"):
        for budget, sides in results.get(kind, {}).items():
            click.echo(f"{kind} {budget}: " + "; ".join(f"{who} {figures}" for who, figures in sides.items()))


if __name__ == "__main__":
    main()
