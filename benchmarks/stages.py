"""Where the time of a photo's encode and decode goes: milliseconds by stage, warm, of a 768x512 picture at 0.5 bpp.

python benchmarks/stages.py --out benchmarks/results/0.1.0/stages.json [--photo kodim.png]
"""

import cProfile
import json
import pstats
import time
from collections.abc import Callable
from typing import TextIO

import click
import skimage
from PIL import Image

import neurocodec

# A stage is all that is spent in and below functions of these names.
STAGES = {
    "analysis transform": ("analysis_transform",),
    "synthesis transform": ("synthesis_transform",),
    "expected magnitudes": ("keys",),
    "range coder": (
        "<method 'encode' of 'builtins.RangeEncoder' objects>",
        "<method 'decode' of 'builtins.RangeDecoder' objects>",
    ),
}
TURNS = 5


def stages(work: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of each stage, of what remains, and of the whole, as one turn of several takes without a profiler."""
    work()
    begin = time.perf_counter()
    for _ in range(TURNS):
        work()
    whole = 1000 * (time.perf_counter() - begin) / TURNS
    with cProfile.Profile() as profile:
        for _ in range(TURNS):
            work()
    statistics = pstats.Stats(profile)
    spent = {
        stage: sum(entry[3] for (_, _, name), entry in statistics.stats.items() if name in names)
        for stage, names in STAGES.items()
    }
    scale = whole / statistics.total_tt
    found = {stage: round(scale * seconds, 1) for stage, seconds in spent.items() if seconds}
    return found | {"everything else": round(whole - sum(found.values()), 1), "whole": round(whole, 1)}


@click.command()
@click.option("--photo", type=click.Path(exists=True, dir_okay=False), help="By default scikit-image's coffee.")
@click.option("--model", default="photo")
@click.option("--out", type=click.File("w"), default="-")
def main(photo: str | None, model: str, out: TextIO) -> None:
    """Profile encode and decode."""
    image = Image.open(photo).convert("RGB") if photo else Image.fromarray(skimage.data.coffee())
    image = image.resize((768, 512), Image.Resampling.LANCZOS)
    stream = neurocodec.encode(image, model=model, bpp=0.5)
    result = {
        "model": model,
        "encode_ms": stages(lambda: neurocodec.encode(image, model=model, bpp=0.5)),
        "decode_ms": stages(lambda: neurocodec.decode(stream)),
    }
    out.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
