"""What smaller weights cost: SSIM on bytes by models as they are, in 8 bits, and pruned (`neurocodec export`).

    python benchmarks/export.py MODEL... --pictures DIR --bpp 0.5 --out benchmarks/results/0.1.0/export.json

MODEL is a name, or a .safetensors file. A row of the result: bytes of the file, and mean SSIM of the pictures at that rate.
"""

import json
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

import neurocodec
from neurocodec import metrics, weights
from neurocodec._batch import pictures_in

OPTIONS = {
    "int8": (True, 0.0),
    "int8, pruned 1 %": (True, 0.01),
    "int8, pruned 5 %": (True, 0.05),
    "int8, pruned 20 %": (True, 0.2),
}


def measured(model: str, pictures: list[np.ndarray], bpp: float) -> dict[str, float]:
    """Bytes of the weights, and mean SSIM."""
    found = []
    for picture in pictures:
        height, width = picture.shape[:2]
        size = max(1, int(bpp * width * height / 8))
        payload = neurocodec.encode(picture, model=model, bytes=size, headerless=True)
        found.append(metrics.ssim(picture, np.asarray(neurocodec.decode(payload, model=model, size=(width, height)))))
    return {"bytes": weights.find(model).path.stat().st_size, "ssim": round(float(np.mean(found)), 5)}


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--pictures", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--bpp", default=0.5)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(models: tuple[str, ...], folder: Path, bpp: float, out: Path) -> None:
    """Export and measure; models that are in the file already and not asked for are kept."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in pictures_in(folder)]
    results = json.loads(out.read_text()) if out.exists() else {}
    for model in models:
        found = weights.find(model)
        name = found.path.stem
        results[name] = {"bpp": bpp, "pictures": len(pictures), "rows": {"as it is": measured(model, pictures, bpp)}}
        for option, (int8, prune) in OPTIONS.items():
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / f"{name}.safetensors"
                weights.export(found, path, int8, prune)
                results[name]["rows"][option] = measured(str(path), pictures, bpp)
            click.echo(f"{name}, {option}: {results[name]['rows'][option]}")
        out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
