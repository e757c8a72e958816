"""Camera variants: adapted to some frames of a camera, measured on others, still and shaken, and on pictures of something else.

    python benchmarks/cameras.py CAMERA... --foreign DIR --out benchmarks/results/0.1.0/cameras.json

CAMERA is a folder of frames in time order, adapted to their first half and measured on the second, or one with folders `train` and
`test`. Of the latter, `--frames` are encoded by the base model, the variant, JPEG, WebP and AVIF (`neurocodec bench --protocol
photos`). Shaken: frames of the second half, each shifted by up to 8 pixels and turned by up to 2 degrees, by a variant with a spatial
transformer and by the one without. Foreign: pictures scaled to the frames' size, by the base model and the variant.
"""

import json
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from neurocodec import images, metrics, weights
from neurocodec._batch import pictures_in
from neurocodec.bench.run import run
from neurocodec.models.spatial_transformer import sample
from neurocodec.train import adapt

RIVALS = "jpeg,webp,avif"
metrics.ssimulacra2 = lambda original, decoded: 0.0  # not told here, and it would take most of the time


def measured(frames: list[Path], variants: dict[str, Path], model: str) -> dict:
    """Points and BD-rates of the model and of its variants, by name."""
    codecs = ",".join([RIVALS, model, *map(str, variants.values())])
    result = run(frames, "photos", codecs, {}, None, jobs=2)
    names = {str(path): name for name, path in variants.items()}
    found = {}
    for entry in result["summary"]:
        rates = {key: entry[key] for key in ("bd_rate_ms_ssim", "bd_rate_psnr", "camera")}
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


def scaled(pictures: list[Path], size: tuple[int, int], folder: Path) -> list[Path]:
    """The pictures at another size."""
    found = []
    for picture in pictures:
        found.append(folder / f"foreign-{picture.stem}.png")
        Image.open(picture).convert("RGB").resize(size, Image.Resampling.LANCZOS).save(found[-1])
    return found


@click.command()
@click.argument("cameras", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="photo")
@click.option("--minutes", default=0.0, help="To tune the network for.")
@click.option("--frames", "count", default=16, help="How many are measured.")
@click.option("--shake/--no-shake", default=True, help="Measure shaken frames, too.")
@click.option("--foreign", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Pictures of something else.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(
    cameras: tuple[Path, ...], model: str, minutes: float, count: int, shake: bool, foreign: Path | None, out: Path
) -> None:
    """Adapt and measure; cameras that are in the file already and not asked for are kept."""
    results = json.loads(out.read_text()) if out.exists() else {}
    for camera in cameras:
        driving = (camera / "train").is_dir()
        frames = pictures_in(camera / "train" if driving else camera)
        first, second = (frames, pictures_in(camera / "test")) if driving else np.split(frames, [len(frames) // 2])
        test = [second[i] for i in np.unique(np.linspace(0, len(second) - 1, count).round().astype(int))]
        with tempfile.TemporaryDirectory() as scratch:
            still, moving = Path(scratch) / "still.safetensors", Path(scratch) / "moving.safetensors"
            begin = time.perf_counter()
            adapt.adapt(first, model, camera.name, still, minutes=minutes)
            seconds = round(time.perf_counter() - begin, 1)
            size = Image.open(test[0]).size
            results[camera.name] = {
                "adapted_to": len(first), "measured_on": len(test), "width": size[0], "height": size[1], "adapt_seconds": seconds,
                "minutes": minutes, "moving": weights.find(str(still)).card["camera"]["moving"],
                "variant_bytes": still.stat().st_size, "still": measured(test, {"variant": still}, model),
            }  # fmt: skip
            if shake and not driving:
                adapt.adapt(first, model, camera.name, moving, moving=True)
                variants = {"variant": still, "transformer": moving}
                results[camera.name]["shaken"] = measured(shaken(test, Path(scratch)), variants, model)
            if foreign:
                pictures = scaled(pictures_in(foreign), size, Path(scratch))
                results[camera.name]["foreign"] = measured(pictures, {"variant": still}, model)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")
        for kind in ("still", "shaken", "foreign"):
            for name in ("variant", "transformer"):
                if name in results[camera.name].get(kind, {}):
                    click.echo(f"{camera.name}, {kind}, {name}: {results[camera.name][kind][name]['bd_rate_ms_ssim']}")


if __name__ == "__main__":
    main()
