"""Fill the tables of the README from committed results; `--check` only says whether they are up to date.

python benchmarks/readme_tables.py
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import neurocodec
from neurocodec.bench.task import kept
from neurocodec.models.upsampling import UPSAMPLERS

ROOT = Path(__file__).parent.parent
README, RESULTS = ROOT / "README.md", Path(__file__).parent / "results" / neurocodec.__version__


MEASURES = {"ms_ssim": ".3f", "ssim": ".3f", "psnr": ".1f", "ssimulacra2": ".0f"}
RATES, EACH = (0.0625, 0.125, 0.25, 0.5, 1.0), (0.125, 0.25, 0.5, 1.0)


def _photos() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RESULTS / "photos.json").read_text())["summary"]
    return found


def photos() -> str:
    """Every codec on whole files of photos at one setting: curves of means, linear in ln bpp between their points."""

    def at(entry: dict[str, Any], rate: float) -> dict[str, float] | None:
        points = entry["points"]
        bpp = np.log([point["bpp"] for point in points])
        if not bpp[0] - 0.02 <= np.log(rate) <= bpp[-1] + 0.02:
            return None
        return {key: np.interp(np.log(rate), bpp, [point[key] for point in points]) for key in MEASURES}

    return _at_rates("mean bits per pixel", RATES, at)


def rates() -> str:
    """Every codec on whole files that all take the same rate."""
    return _at_rates("bits per pixel, each", EACH, lambda entry, rate: next((at for at in entry["at_rates"] if at["bpp"] == rate), None))


def _at_rates(title: str, rates: Sequence[float], at: Callable[[dict[str, Any], float], dict[str, float] | None]) -> str:
    rows = [f"| at {title} | " + " | ".join(f"{rate:g}" for rate in rates) + " |", "|---" * (len(rates) + 1) + "|"]
    for entry in _photos():
        found = (at(entry, rate) for rate in rates)
        cells = [" / ".join(f"{of[key]:{digits}}" for key, digits in MEASURES.items()) if of else "-" for of in found]
        rows.append("| " + " | ".join([_title(entry["codec"]), *cells]) + " |")
    return "\n".join(rows)


def bd_rates() -> str:
    """By how much our models' files are larger or (negative) smaller than others of the same quality."""
    found = _photos()
    rivals = [entry["codec"] for entry in found if entry["codec"] in TITLES]
    rows = ["| MS-SSIM, PSNR | " + " | ".join(map(_title, rivals)) + " |", "|---" * (len(rivals) + 1) + "|"]
    for entry in found:
        if entry["codec"] not in rivals:
            both = [[entry[key][rival] for key in ("bd_rate_ms_ssim", "bd_rate_psnr")] for rival in rivals]
            cells = [", ".join("-" if rate is None else f"{rate:+.0f} %" for rate in rates) for rates in both]
            rows.append("| " + " | ".join([_title(entry["codec"]), *cells]) + " |")
    return "\n".join(rows)


BUDGETS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
TITLES = {
    "jpeg": "JPEG", "jpeg-optimised": "JPEG, own tables", "jpeg2000": "JPEG2000", "webp": "WebP", "avif": "AVIF",
    "jpeg-xl": "JPEG XL", "blurhash": "BlurHash", "thumbhash": "ThumbHash",
}  # fmt: skip
# SSIM at 64 and 128 bytes: Toderici et al., arXiv 1511.06085, table 1.
PAPER = {
    "fc-residual-shared": (0.46, 0.48), "fc-residual": (0.65, 0.75), "fc-lstm": (0.69, 0.81),
    "conv-residual-shared": (0.45, 0.46), "conv-residual": (0.65, 0.75), "conv-autoencoder": (0.76, 0.86),
    "conv-lstm": (0.77, 0.87), "preview": None, "preview@2": None, "preview@2*": None,
    "jpeg": (0.70, 0.80), "jpeg2000": (0.66, 0.77), "webp": (0.62, 0.73),
}  # fmt: skip


def _thumbnails() -> dict[str, dict[int, float | None]]:
    """SSIM by codec and budget."""
    found: dict[str, dict[int, float | None]] = {}
    for entry in json.loads((RESULTS / "thumbs.json").read_text())["summary"]:
        found.setdefault(entry["codec"], {})[entry["budget"]] = entry["ssim"]
    return found


def _title(codec: str) -> str:
    model, _, effort = codec.partition("@")
    said = f"`{model} --effort {effort}`".replace("*`", " --bytes N`")
    return TITLES.get(codec, said if effort else f"`{codec}`")


def thumbs() -> str:
    """Every codec that can be cut to a budget, on thumbnails, best at 64 bytes first; then those of a fixed size."""
    rows = ["| SSIM at bytes | " + " | ".join(map(str, BUDGETS)) + " |", "|---" * (len(BUDGETS) + 1) + "|"]
    curves, fixed = {}, []
    for codec, of in _thumbnails().items():
        name = _title(codec)
        if set(BUDGETS) <= set(of) or codec not in TITLES:
            curves[name] = of
        else:
            fixed += [f"{name} {ssim:.3f} at {size} bytes" for size, ssim in of.items()]
    for name, of in sorted(curves.items(), key=lambda item: -(item[1][64] or 0)):
        rows.append(f"| {name} | " + " | ".join("-" if of.get(b) is None else f"{of[b]:.3f}" for b in BUDGETS) + " |")
    return "\n".join([*rows, "", "At their own sizes: " + ", ".join(fixed) + "."])


def paper() -> str:
    """The founding paper's table beside ours."""
    rows = ["| | paper: 64 bytes | 128 bytes | here: 64 bytes | 128 bytes |", "|---|---|---|---|---|"]
    found = _thumbnails()
    for codec, published in PAPER.items():
        cells = ["-", "-"] if published is None else [f"{v:.2f}" for v in published]
        for budget in (64, 128):
            # An autoencoder is one network per rate.
            value = found.get(codec, found.get(f"{codec}.{budget}", {})).get(budget)
            cells.append("-" if value is None else f"{value:.3f}")
        rows.append(f"| {_title(codec)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


KINDS = {"still": "", "shaken": ", shaken", "foreign": ", other pictures"}


def cameras() -> str:
    """By how much a camera's variant takes fewer bytes, and what its frames take an hour at MS-SSIM 0.95."""
    rows = ["| MS-SSIM 0.90 to 0.99 | to `photo` | to JPEG | WebP | AVIF | MB an hour: `photo` | variant | file, bytes |"]
    rows.append("|---" * 8 + "|")
    for camera, of in json.loads((RESULTS / "cameras.json").read_text()).items():
        for kind, title in KINDS.items():
            for name in ("variant", "transformer") if kind in of else ():
                if name in of[kind]:
                    rates = [of[kind][name]["bd_rate_ms_ssim"].get(rival) for rival in ("photo", "jpeg", "webp", "avif")]
                    hours = [of[kind][codec]["camera"][1]["bytes_per_hour"] for codec in ("photo", name)]
                    cells = ["-" if rate is None else f"{rate:+.0f} %" for rate in rates]
                    cells += ["-" if hour is None else f"{hour / 1e6:.2f}" for hour in hours]
                    with_moves = ", `--moving`" if name == "transformer" else ""
                    size = f"{of['variant_bytes']:,}" if kind == "still" else ""
                    rows.append("| " + " | ".join([f"{camera}{title}{with_moves}", *cells, size]) + " |")
    return "\n".join(rows)


def blocks() -> str:
    """Networks that differ in nothing but their blocks or, at the end, upsamplers, best first."""
    table = json.loads((RESULTS / "blocks.json").read_text())
    rows = ["| block | paper | SSIM at 64 bytes | parameters | kMAC per pixel | ms |", "|---" * 6 + "|"]
    for name, of in sorted(table["rows"].items(), key=lambda item: (item[0] in UPSAMPLERS, -item[1]["ssim"])):
        size, time = f"{of['parameters'] / 1e6:.2f} M", f"{of['ms']:.0f}"
        cells = [f"`{name}`", of["paper"], f"{of['ssim']:.3f}", size, of["kmac_per_pixel"], time]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def task_networks() -> str:
    """What each task's networks are right about."""
    rows = ["| network | right about | parameters |", "|---|---|---|"]
    for task, of in json.loads((RESULTS / "task_networks.json").read_text()).items():
        for name, figures in of.items():
            said = ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in figures.items() if key != "parameters")
            size = f"{figures['parameters'] / 1e6:.2f} M" if "parameters" in figures else ""
            rows.append(f"| {task}, {name} | {said} | {size} |")
    return "\n".join(rows)


def tasks() -> str:
    """Bytes from which on networks are right about decoded pictures as often as about the originals, or nearly."""
    rows = ["| task | codec | bytes within 0.02 | 0.03 | 0.05 |", "|---" * 5 + "|"]
    for task in ("segmentation", "normals", "classification"):
        found = json.loads((RESULTS / f"{task}.json").read_text())
        figure, value = next(iter(found["uncompressed"].items()))
        title = f"{task}, {figure.replace('_', ' ')} {value:.3f}"
        for entry in found["summary"]:
            rows.append("| " + " | ".join([title, _title(entry["codec"]), *kept(entry, found["uncompressed"])]) + " |")
            title = ""
    return "\n".join(rows)


def export() -> str:
    """What smaller weights cost."""
    found = json.loads((RESULTS / "export.json").read_text())
    options = list(next(iter(found.values()))["rows"])
    rows = ["| SSIM (bytes of weights) | " + " | ".join(options) + " |", "|---" * (len(options) + 1) + "|"]
    for name, of in found.items():
        cells = [f"{of['rows'][option]['ssim']:.4f} ({of['rows'][option]['bytes'] / 1e6:.2f} MB)" for option in options]
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(rows)


TABLES = {
    "photos": photos, "rates": rates, "bd_rates": bd_rates, "thumbs": thumbs, "paper": paper, "cameras": cameras, "blocks": blocks,
    "tasks": tasks, "task_networks": task_networks, "export": export}  # fmt: skip


def filled(readme: str) -> str:
    """The README with every `<!-- table: NAME -->` ... `<!-- end -->` made anew."""
    return re.sub(
        r"<!-- table: (\w+) -->\n.*?<!-- end -->",
        lambda match: f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->",
        readme,
        flags=re.DOTALL,
    )


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 when the README is not up to date.")
def main(check: bool) -> None:
    """Fill the README's tables from committed results."""
    before = README.read_text()
    after = filled(before)
    if check:
        sys.exit(before != after)
    README.write_text(after)


if __name__ == "__main__":
    main()
