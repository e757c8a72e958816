"""Fill the tables of the README from committed results; `--check` only says whether they are up to date.

    python benchmarks/readme_tables.py
"""

import json
import re
import sys
from pathlib import Path

import click

import neurocodec

ROOT = Path(__file__).parent.parent
README, RESULTS = ROOT / "README.md", Path(__file__).parent / "results" / neurocodec.__version__


def photos() -> str:
    """conv-lstm against JPEG on whole files of photos."""
    rows = [
        "| bits per pixel | bytes | SSIM | MS-SSIM | PSNR | JPEG: bytes | SSIM | MS-SSIM | PSNR |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for bpp, sides in json.loads((RESULTS / "against_jpeg.json").read_text())["photos"].items():
        cells = [bpp]
        for figures in (sides["ours"], sides["jpeg"]):
            quality = [f"{figures[k]:.3f}" for k in ("ssim", "ms_ssim")]
            cells += [f"{figures['bytes']:,.0f}", *quality, f"{figures['psnr']:.1f}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def thumbs() -> str:
    """conv-lstm against header-less JPEG on thumbnails."""
    rows = ["| bytes | SSIM | JPEG: bytes | SSIM |", "|---|---|---|---|"]
    for size, sides in json.loads((RESULTS / "against_jpeg.json").read_text())["thumbs"].items():
        ours, jpeg = sides["ours"], sides["jpeg"]
        rows.append(f"| {size} | {ours['ssim']:.3f} | {jpeg['bytes']:.0f} | {jpeg['ssim']:.3f} |")
    return "\n".join(rows)


TABLES = {"photos": photos, "thumbs": thumbs}


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
