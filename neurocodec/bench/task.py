"""A task's figures against bytes: what its network makes of pictures that codecs have written, and that were read back."""

import csv
import io
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from neurocodec import images, tasks, weights
from neurocodec._api import DEFAULT_MODEL, PREVIEW_MODEL
from neurocodec.bench import report
from neurocodec.bench.measure import Codec
from neurocodec.bench.protocols import PROTOCOLS, SEARCHED, THUMB_SIDE
from neurocodec.bench.rivals import LARGE, SMALL
from neurocodec.bench.run import mapping, prepare, select, write
from neurocodec.errors import NeurocodecError
from neurocodec.tasks import Example, Pair, Task

RATES = ("0.02", "0.03", "0.045", "0.0625", "0.09", "0.125", "0.18", "0.25", "0.5")  # bits per pixel of large pictures
RIVALS = ("jpeg", "webp", "avif")  # unless codecs are named
SIZES = ("16", "24", "48", "96")  # bytes of thumbnails
SMALL_RIVALS = {  # settings for thumbnails, of which there may be many
    "jpeg": ("2", "5", "10", "20", "50", "80", "90"),
    "webp": ("0", "5", "20", "50", "80"),
    "avif": ("10-4:2:0", "40-4:2:0", "60-4:2:0"),
}
WITHIN = (0.02, 0.03, 0.05)  # of the figure for uncompressed pictures
SHOWN_BPP = 0.1  # of the sheet


def run(
    folder: Path,
    name: str,
    codecs: str | None,
    outputs: Mapping[str, Path | None],
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 1,
) -> report.Result:
    """Measure codecs by a task's test pictures, so many at a time, and write what is asked for, as `bench.run.run` does.

    By default JPEG, WebP, AVIF, the variants for the task that came with the package, and the models that they are variants of.
    Raises NeurocodecError for a task or codecs that are not there.
    """
    task = tasks.find(name)
    try:
        examples = task.examples(folder, "test")
    except OSError as error:
        raise NeurocodecError(f"{folder} is not the data of task {name}: {error}") from None
    if not examples:
        raise NeurocodecError(f"{folder} has no test pictures for task {name}")
    small = max(examples[0].picture.shape[:2]) <= THUMB_SIDE
    codecs = codecs or ",".join([*_rivals(small), *_models(name, small)])
    chosen = _chosen(codecs, small)
    files = {kind: path for kind, path in outputs.items() if path is not None}
    prepare(files)
    network, sheet = task.network().eval(), _Sheet(task, examples[len(examples) // 2])
    uncompressed = task.measure(_pairs(network, (e.picture for e in examples), examples))
    sheet.add("uncompressed", 0.0, examples[len(examples) // 2].picture, network)
    entries, pictures = [], [e.picture for e in examples]
    with mapping(min(jobs, len(examples))) as each:
        for index, codec in enumerate(chosen):
            with tempfile.TemporaryDirectory() as scratch:
                sizes: dict[str, list[int]] = {}
                work = partial(_coded, codecs=codecs, small=small, index=index, folder=Path(scratch))
                for number, found in enumerate(each(work, range(len(pictures)), pictures)):
                    for setting, size in found.items():
                        sizes.setdefault(setting, []).append(size)
                    if progress:
                        progress(number + 1, len(examples))
                points: list[dict[str, Any]] = []
                for setting, these in sizes.items():
                    decoded = [Path(scratch) / f"{setting}-{i}.npy" for i in range(len(examples))]
                    bpp = float(np.mean([8 * size / p[..., 0].size for size, p in zip(these, pictures, strict=True)]))
                    figures = task.measure(_pairs(network, map(np.load, decoded), examples))
                    points.append(
                        {"setting": setting, "bytes": round(float(np.mean(these)), 2), "bpp": round(bpp, 5), **figures}
                    )
                    sheet.add(codec.name, bpp, np.load(decoded[len(examples) // 2]), network)
            points.sort(key=lambda point: point["bytes"])
            entries.append({"codec": codec.name, "points": points, "keeps": _keeps(points, uncompressed)})
    result = {
        "protocol": "task", "task": name, "pictures": len(examples), "uncompressed": uncompressed,
        "rivals": [codec.name for codec in chosen if codec.kind != "model"], "fixed": [], "summary": entries,
    }  # fmt: skip
    contents: dict[str, Callable[[str], bytes]] = {
        "json": lambda suffix: report.to_json(result),
        "csv": lambda suffix: _csv(entries),
        "plot": lambda suffix: _plot(result, suffix),
        "sheet": lambda suffix: images.encode_image(sheet.draw(), suffix),
    }
    for kind, path in files.items():
        write(path, contents[kind](path.suffix))
    return result


def _pairs(network: nn.Module, pictures: Iterator[np.ndarray], examples: Sequence[Example]) -> Iterator[Pair]:
    for picture, example in zip(pictures, examples, strict=True):
        yield _said(network, picture), example.label


@torch.no_grad()
def _said(network: nn.Module, picture: np.ndarray) -> torch.Tensor:
    """What the network says of a picture, uint8 (H, W, 3): (1, ...)."""
    return network(tasks.to_input(picture[None])).float()


def _rivals(small: bool) -> list[str]:
    """Those that are here, as `select` takes them."""
    if small:
        return [f"{name}:{setting}" for name in RIVALS if SMALL[name].here for setting in SMALL_RIVALS[name]]
    return [name for name in RIVALS if LARGE[name].here]


def _models(name: str, small: bool) -> list[str]:
    """Variants for the task and, first, what they are variants of; with a search, too, where they know one."""
    found = [PREVIEW_MODEL if small else DEFAULT_MODEL]
    for model in weights.shipped():
        if model.task == name and model.architecture.name == found[0]:
            found += [model.name, f"{model.name}@{SEARCHED}*"] if model.layout.search else [model.name]
    return found


@lru_cache(maxsize=1)
def _chosen(codecs: str, small: bool) -> list[Codec]:
    """The codecs, for thumbnails or for larger pictures."""
    return select(codecs, PROTOCOLS["thumbs"], SIZES) if small else select(codecs, PROTOCOLS["photos"], RATES)


def _coded(number: int, picture: np.ndarray, codecs: str, small: bool, index: int, folder: Path) -> dict[str, int]:
    """Bytes of a picture by setting of a codec; what it decodes to lies in SETTING-NUMBER.npy."""
    sizes, path = {}, folder / f"file-{number}"
    for file in _chosen(codecs, small)[index].files(Image.fromarray(picture)):
        path.write_bytes(file.data)
        shown = file.decode(path.read_bytes())
        np.save(folder / f"{file.setting}-{number}.npy", np.asarray(shown.convert("RGB")))
        sizes[file.setting] = file.size
    return sizes


def _keeps(points: Sequence[dict[str, Any]], uncompressed: Mapping[str, float]) -> dict[str, float | None]:
    """Bytes from which on the first figure stays within so much of that of uncompressed pictures.

    Interpolated in the logarithm of bytes; None where the last point falls short, or none does: then the codec was not measured there.
    """
    key = next(iter(uncompressed))
    found: dict[str, float | None] = {}
    for within in WITHIN:
        short = [i for i, point in enumerate(points) if point[key] < uncompressed[key] - within]
        found[str(within)] = None
        if short and short[-1] + 1 < len(points):
            low, high = points[short[-1]], points[short[-1] + 1]
            share = (uncompressed[key] - within - low[key]) / (high[key] - low[key])
            found[str(within)] = round(math.exp((1 - share) * math.log(low["bytes"]) + share * math.log(high["bytes"])), 1)
    return found


def table(result: report.Result) -> str:
    """In Markdown: bytes that keep the first figure within some distance of uncompressed pictures', and ratios to a rival's."""
    key = next(iter(result["uncompressed"]))
    head = ["codec", *(f"bytes within {within} of {key} {result['uncompressed'][key]:.3f}" for within in WITHIN)]
    lines = [head, ["---"] * len(head)]
    first = result["summary"][0]["keeps"]
    for entry in result["summary"]:
        cells = kept(entry, result["uncompressed"])
        for i, (within, size) in enumerate(entry["keeps"].items()):
            if size and first[within] and entry is not result["summary"][0]:
                cells[i] += f" (x{first[within] / size:.1f} fewer)"
        lines.append([entry["codec"], *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kept(entry: Mapping[str, Any], uncompressed: Mapping[str, float]) -> list[str]:
    """A codec's bytes for each of `WITHIN`, as a table says them: less than its smallest files where even they will do."""
    key, cells = next(iter(uncompressed)), []
    for within, size in entry["keeps"].items():
        enough = all(point[key] >= uncompressed[key] - float(within) for point in entry["points"])
        cells.append(f"< {entry['points'][0]['bytes']:,.0f}" if enough else "-" if size is None else f"{size:,.0f}")
    return cells


def _csv(entries: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    rows = [{"codec": entry["codec"], **point} for entry in entries for point in entry["points"]]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _plot(result: report.Result, suffix: str) -> bytes:
    drawn, key = report.figure(suffix, (9, 6)), next(iter(result["uncompressed"]))
    axes = drawn.add_subplot()
    axes.axhline(result["uncompressed"][key], color="grey", linewidth=0.8)
    for entry in result["summary"]:
        dashed = "--" if entry["codec"] in result["rivals"] else "-"
        axes.plot(*zip(*((p["bytes"], p[key]) for p in entry["points"]), strict=True), dashed, marker="o", label=entry["codec"])
    axes.set_xscale("log")
    axes.set(xlabel="bytes, mean", ylabel=key, title=f"{result['task']}: {result['pictures']} pictures")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    drawn.savefig(buffer, format=suffix.removeprefix("."), dpi=120)
    return buffer.getvalue()


class _Sheet:
    """One picture as the codecs show it at about one rate, and what the network says of it."""

    def __init__(self, task: Task, example: Example):
        self._task, self._example = task, example
        self._best: dict[str, tuple[float, list[Image.Image]]] = {}

    def add(self, codec: str, bpp: float, picture: np.ndarray, network: nn.Module) -> None:
        """Take note of a picture, of each codec the one that is nearest to the rate."""
        far = abs(math.log(max(bpp, 1e-9) / SHOWN_BPP))
        if codec not in self._best or far < self._best[codec][0]:
            said = [self._task.show(_said(network, picture))] if self._task.show else []
            self._best[codec] = far, [Image.fromarray(shown) for shown in (picture, *said)]
            self._best[codec][1][0].info["bpp"] = bpp

    def draw(self) -> Image.Image:
        """A line for each codec: name and rate, picture, what is said."""
        height, width = self._example.picture.shape[:2]
        line = height + report.CAPTION
        drawn = Image.new("RGB", (2 * width + report.GAP, line * len(self._best)), "white")
        for row, (codec, (_, shown)) in enumerate(self._best.items()):
            ImageDraw.Draw(drawn).text((2, row * line + 2), f"{codec}, {shown[0].info['bpp']:.3f} bpp", fill="black")
            for column, image in enumerate(shown):
                drawn.paste(image, (column * (width + report.GAP), row * line + report.CAPTION))
        return drawn
