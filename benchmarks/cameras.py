"""Camera variants: adapted to the first half of a camera's frames, measured on the second, still and shaken.

    python benchmarks/cameras.py CAMERA... --out benchmarks/results/0.1.0/cameras.json

CAMERA is a folder of frames in time order. Of the second half, `--frames` are encoded by the base model, the variant, JPEG, WebP and
AVIF (`neurocodec bench --protocol photos`); shaken: the same frames, each shifted by up to 8 pixels and turned by up to 2 degrees, by a
variant with a spatial transformer and by the one without.
"""

import json
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from neurocodec import images
from neurocodec._batch import pictures_in
from neurocodec.bench.run import run
from neurocodec.models.spatial_transformer import sample
from neurocodec.train import adapt

RIVALS = "jpeg,webp,avif"


def measured(frames: list[Path], variants: dict[str, Path], model: str) -> dict:
    """Points and BD-rates of the model and of its variants, by name."""
    codecs = ",".join([RIVALS, model, *map(str, variants.values())])
    result = run(frames, "photos", codecs, {}, None, jobs=2)
    names = {str(path): name for name, path in variants.items()}
    found = {}
    for entry in result["summary"]:
        rates = {key: entry[key] for key in ("bd_rate_ms_ssim", "bd_rate_psnr")}
        points = [{key: point[key] for key in ("bpp", "ms_ssim", "ssim", "psnr")} for point in entry["points"]]
        found[names.get(entry["codec"], entry["codec"])] = {**rates, "points": points}
    return found


def shaken(frames: list[Path], folder: Path) -> list[Path]:
    """The frames, moved at random."""
    torch.manual_seed(0)
    found = []
    for frame in frames:
        picture = torch.from_numpy(images.load(frame).rgb)[None]
        pose = adapt.poses(1, picture.shape[3], picture.shape[2])
        moved = sample(picture, pose)[0].permute(1, 2, 0).mul(255).round().byte().numpy()
        found.append(folder / f"shaken-{frame.stem}.png")
        Image.fromarray(moved).save(found[-1])
    return found


@click.command()
@click.argument("cameras", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="photo")
@click.option("--frames", "count", default=16, help="Of the second half, how many are measured.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(cameras: tuple[Path, ...], model: str, count: int, out: Path) -> None:
    """Adapt and measure."""
    results = {}
    for camera in cameras:
        frames = pictures_in(camera)
        first, second = frames[: len(frames) // 2], frames[len(frames) // 2 :]
        test = [second[i] for i in np.unique(np.linspace(0, len(second) - 1, count).round().astype(int))]
        with tempfile.TemporaryDirectory() as scratch:
            still, moving = Path(scratch) / "still.safetensors", Path(scratch) / "moving.safetensors"
            begin = time.perf_counter()
            adapt.adapt(first, model, camera.name, still)
            seconds = round(time.perf_counter() - begin, 1)
            adapt.adapt(first, model, camera.name, moving, moving=True)
            width, height = Image.open(test[0]).size
            results[camera.name] = {
                "adapted_to": len(first), "measured_on": len(test), "width": width, "height": height, "adapt_seconds": seconds,
                "variant_bytes": still.stat().st_size,
                "still": measured(test, {"variant": still}, model),
                "shaken": measured(shaken(test, Path(scratch)), {"variant": still, "transformer": moving}, model),
            }  # fmt: skip
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
        for kind in ("still", "shaken"):
            for name in ("variant", "transformer"):
                if name in results[camera.name][kind]:
                    click.echo(f"{camera.name}, {kind}, {name}: {results[camera.name][kind][name]['bd_rate_ms_ssim']}")


if __name__ == "__main__":
    main()
