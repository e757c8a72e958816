"""What a run leaves behind: JSON, CSV, a table, a plot and a contact sheet. A result is a dict, as JSON has it."""

import csv
import io
import json
import statistics
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from neurocodec.bench import extra
from neurocodec.bench.measure import Measure, Row, by, decibels
from neurocodec.bench.protocols import OF_PASSES
from neurocodec.bench.published import KODAK_MS_SSIM
from neurocodec.errors import NeurocodecError

Result = dict[str, Any]
LEAST = 1 / 32  # bits per pixel: first passes that tell less are not drawn
CAPTION, GAP = 18, 6  # pixels of a contact sheet: a line of text, what is between


def to_json(result: Result) -> bytes:
    """The result with one row on a line, so that versions of it can be compared."""
    members = [f"{json.dumps(key)}: {_json_value(value)}" for key, value in result.items()]
    return ("{\n" + ",\n".join(members) + "\n}\n").encode()


def _json_value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(item, allow_nan=False) for item in value) + "\n]"
    return json.dumps(value, allow_nan=False)


def to_csv(result: Result) -> bytes:
    """The result's rows, with a header; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["rows"])
    return text.getvalue().encode()


def table(result: Result) -> str:
    """The summary in Markdown. Times are medians in milliseconds, and as ratios to the first rival."""
    lines = _thumbs_table(result) if result["protocol"] == "thumbs" else _photos_table(result)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _thumbs_table(result: Result) -> Iterator[list[str]]:
    """SSIM at each budget; (n) are the least bytes that a codec can do, [n] those it takes where they differ."""
    summary, times = result["summary"], _times(result)
    own_size = [entry for entry in summary if entry["codec"] in result["fixed"]]
    budgets = sorted({entry["budget"] for entry in summary if entry not in own_size})
    head = ["codec", *(f"{budget} B" for budget in budgets), "at its own size", "encode", "decode"]
    yield from (head, ["---"] * len(head))
    for codec in times:
        mine = [entry for entry in summary if entry["codec"] == codec]
        cells = {entry["budget"]: _cell(entry) for entry in mine if codec not in result["fixed"]}
        own = "; ".join(f"{e['ssim']:.3f} at {e['bytes']:.0f} B" for e in mine if codec in result["fixed"])
        yield [codec, *(cells.get(budget, "") for budget in budgets), own, *times[codec]]


def _cell(entry: dict[str, Any]) -> str:
    if entry["ssim"] is None:
        return f"({entry['bytes']:.0f})"
    size = round(entry["bytes"])
    return f"{entry['ssim']:.3f}" + (f" [{size}]" if size != entry["budget"] else "")


def _photos_table(result: Result) -> Iterator[list[str]]:
    times = _times(result)
    rivals = list(dict.fromkeys(rival for entry in result["summary"] for rival in entry["bd_rate_ms_ssim"]))
    camera = [f"a frame, an hour at MS-SSIM {at['ms_ssim']}" for at in result["summary"][0].get("camera", [])]
    head = ["codec", *(f"BD-rate MS-SSIM, PSNR to {rival}" for rival in rivals), *camera, "encode", "decode"]
    yield from (head, ["---"] * len(head))
    for entry in result["summary"]:
        rates = []
        for rival in rivals:
            both = [entry[f"bd_rate_{key}"].get(rival) for key in ("ms_ssim", "psnr")]
            rates.append(", ".join("-" if rate is None else f"{rate:+.1f} %" for rate in both))
        yield [entry["codec"], *rates, *map(_of_camera, entry.get("camera", [])), *times[entry["codec"]]]


def _of_camera(at: dict[str, Any]) -> str:
    if at["bytes_per_frame"] is None:
        return "-"
    paid = f", file paid off after {at['paid_off']} frames" if at.get("paid_off") else ""
    return f"{at['bytes_per_frame']:.0f} B, {at['bytes_per_hour'] / 1e6:.2f} MB{paid}"


def _times(result: Result) -> dict[str, tuple[str, str]]:
    """Of each codec: medians of encoding and decoding, in milliseconds and as ratios to the first rival."""
    medians = {
        codec: [statistics.median(times) for times in zip(*((r["encode_s"], r["decode_s"]) for r in rows), strict=True)]
        for codec, rows in by(result["rows"], "codec").items()
    }
    against = medians[result["rivals"][0]] if result["rivals"] else None

    def said(codec: str, way: int) -> str:
        seconds = medians[codec][way]
        ratio = f" (x{seconds / against[way]:.1f})" if against else ""
        return f"{1000 * seconds:.2f} ms{ratio}"

    return {codec: (said(codec, 0), said(codec, 1)) for codec in medians}


def figure(suffix: str, size: tuple[float, float] = (11, 6)) -> Any:
    """An empty matplotlib figure of a size in inches, for a file of this suffix (".png").

    Raises NeurocodecError when matplotlib is not here or cannot write such files.
    """
    empty = extra("matplotlib.figure").Figure(figsize=size)
    if suffix.removeprefix(".") not in empty.canvas.get_supported_filetypes():
        raise NeurocodecError(f"plots cannot be written as {suffix!r}")
    return empty


def plot(result: Result, suffix: str) -> bytes:
    """A file of the format that a suffix names: quality against rate. Raises NeurocodecError as `figure` does."""
    thumbs = result["protocol"] == "thumbs"
    drawn = figure(suffix, (11, 6) if thumbs else (15, 11))
    (_plot_thumbs if thumbs else _plot_photos)(result, drawn)
    drawn.tight_layout()
    buffer = io.BytesIO()
    drawn.savefig(buffer, format=suffix.removeprefix("."), dpi=120)
    return buffer.getvalue()


def _style(codec: str, result: Result) -> dict[str, Any]:
    """Ours solid, with a search dotted, rivals dashed, and those that have no curve as a marker."""
    if codec in result["fixed"]:
        return {"linestyle": "", "marker": "*", "markersize": 11}
    if codec in result["rivals"]:
        return {"linestyle": "--", "marker": ".", "linewidth": 1.2}
    if "@" in codec:
        return {"linestyle": ":", "marker": "o", "markersize": 4, "linewidth": 2.4}
    return {"linestyle": "-", "marker": "o", "markersize": 4, "linewidth": 2.4}


def _plot_thumbs(result: Result, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=extra("matplotlib").colormaps["tab20"].colors)
    ticks = sorted({e["budget"] for e in result["summary"] if e["codec"] not in result["fixed"]})
    for codec in by(result["rows"], "codec"):
        points = [e for e in result["summary"] if e["codec"] == codec and e["ssim"] is not None]
        if points:
            style = _style(codec, result)
            axes.plot([p["bytes"] for p in points], [p["ssim"] for p in points], label=codec, **style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    title = f"Thumbnails: {result['pictures']}, headers not counted"
    axes.set(xlabel="payload bytes, mean", ylabel="SSIM, mean", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _plot_photos(result: Result, figure: Any) -> None:
    kodak = all("kodim" in row["image"] for row in result["rows"])
    names = {"ms_ssim": "MS-SSIM in dB", "ssim": "SSIM", "psnr": "PSNR in dB", "ssimulacra2": "SSIMULACRA 2"}
    for place, (key, name) in enumerate(names.items(), 1):
        axes = figure.add_subplot(2, 2, place)
        if key == "ms_ssim" and kodak:
            for source, points in KODAK_MS_SSIM.items():
                shown = [decibels(quality) for quality in points.values()]
                axes.plot(points.keys(), shown, "--", color="grey", linewidth=0.8)
                axes.annotate(source, (max(points), shown[-1]), fontsize=6, color="grey")
        for entry in result["summary"]:
            seen = [point for point in entry["points"] if point["bpp"] >= LEAST or not point["setting"].startswith(OF_PASSES)]
            rates, qualities = zip(*((point["bpp"], point[key]) for point in seen or entry["points"]), strict=True)
            shown = [decibels(quality) for quality in qualities] if key == "ms_ssim" else qualities
            axes.plot(rates, shown, label=entry["codec"], **_style(entry["codec"], result))
        axes.set_xscale("log", base=2)
        axes.set_xticks((0.0625, 0.125, 0.25, 0.5, 1, 2), ("1/16", "1/8", "1/4", "1/2", "1", "2"))
        axes.set(xlabel="bits per pixel, mean", ylabel=name, title=f"Photos: {result['pictures']}, whole files")
        axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


class Sheet:
    """A contact sheet: a line for each of some pictures, the original first, then each codec at about the same size.

    Of a codec's files, that of the highest SSIM within the limit on a measure is shown, or else the smallest.
    cell: pixels of a side of what is shown.
    """

    def __init__(self, names: Sequence[str], measure: Measure, limit: float, cell: int):
        self._names, self._measure, self._limit, self._cell = names, measure, limit, cell
        self._originals: dict[str, Image.Image] = {}
        self._best: dict[tuple[str, str], tuple[Row, Image.Image]] = {}

    def offer(self, row: Row, original: Image.Image, shown: Image.Image) -> None:
        """Take note of a row and its pictures."""
        if row["image"] not in self._names:
            return
        self._originals[row["image"]] = original
        key = row["image"], row["codec"]
        if key not in self._best or self._rank(row) > self._rank(self._best[key][0]):
            self._best[key] = row, shown

    def _rank(self, row: Row) -> tuple[bool, float]:
        within = row[self._measure] <= self._limit
        return within, row["ssim"] if within else -row["bytes"]

    def draw(self) -> Image.Image:
        """The sheet, RGB. Thumbnails are enlarged pixel by pixel; of larger pictures the middle is shown."""
        codecs = list(dict.fromkeys(codec for _, codec in self._best))
        across, down = self._cell + GAP, self._cell + CAPTION + GAP
        head = 2 * CAPTION + 2 * GAP
        width, height = GAP + (len(codecs) + 1) * across, head + len(self._names) * down
        sheet = Image.new("RGB", (width, height), "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
        for column, title in enumerate(["original", *codecs]):
            pen.text((GAP + column * across, GAP), "\n".join(wrap(title, self._cell // 8)), "black", font)
        for line, name in enumerate(self._names):
            top = head + line * down
            cells = [(self._originals[name], name[-18:])]
            for codec in codecs:
                row, shown = self._best[name, codec]
                cells.append((shown, f"{row['bytes']:,} B  {row['ssim']:.3f}"))
            for column, (picture, caption) in enumerate(cells):
                left = GAP + column * across
                sheet.paste(self._in_cell(picture), (left, top))
                pen.text((left, top + self._cell + 1), caption, "black", font)
        return sheet

    def _in_cell(self, picture: Image.Image) -> Image.Image:
        width, height = (min(n, self._cell) for n in picture.size)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        scale = max(1, self._cell // max(picture.size))
        middle = picture.crop((left, top, left + width, top + height))
        return middle.resize((scale * width, scale * height), Image.Resampling.NEAREST)
