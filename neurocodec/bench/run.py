"""One run: pictures and codecs by name, rows and summary out, files written."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from neurocodec import images, weights
from neurocodec._batch import pictures_in
from neurocodec.bench import extra, report
from neurocodec.bench.measure import Codec, Row, measure, warm_up
from neurocodec.bench.protocols import PROTOCOLS, BenchProtocol, with_effort
from neurocodec.errors import ModelError, NeurocodecError
from neurocodec.models import ARCHITECTURES

SHEET_LINES = 12
SOFTWARE = ("neurocodec", "torch", "pillow", "imagecodecs", "blurhash", "scikit-image")


def run(
    paths: Sequence[Path],
    protocol: str,
    codecs: str | None,
    outputs: Mapping[str, Path | None],
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 1,
) -> report.Result:
    """Measure codecs on pictures, and write what is asked for: outputs named json, csv, plot and sheet; - is stdout.

    paths: picture files, and folders of them. codecs: CODEC or CODEC:SETTING, separated by commas, where a model is
    MODEL, MODEL@EFFORT or MODEL@EFFORT*; by default all rivals that are here and all shipped models that suit the protocol.
    progress is called with (pictures done, all).
    jobs: pictures at a time, each in a process of its own; times are then those of processes that share the machine.
    Raises NeurocodecError for pictures, codecs and settings that cannot be measured and for packages that are missing.
    """
    rules = PROTOCOLS[protocol]
    for package in rules.packages:
        extra(package)
    found, chosen = pictures(paths, rules), select(codecs, rules)
    files = {kind: path for kind, path in outputs.items() if path is not None}
    prepare(files)
    names = list(found)
    shown = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, SHEET_LINES).round().astype(int))]
    sheet = report.Sheet(shown, *rules.sheet)
    rows = []
    work = partial(_measured, codecs=codecs, protocol=protocol, first=found[names[0]], shown=frozenset(shown))
    with mapping(min(jobs, len(found))) as each:
        for number, measured in enumerate(each(work, names, found.values())):
            for row, original, decoded in measured:
                rows.append(row)
                if original is not None and decoded is not None:
                    sheet.offer(row, original, decoded)
            if progress:
                progress(number + 1, len(found))
    result = {
        "protocol": protocol,
        "pictures": len(found),
        "models": [codec.name for codec in chosen if codec.kind == "model"],
        "rivals": [codec.name for codec in chosen if codec.kind != "model"],
        "fixed": [codec.name for codec in chosen if codec.kind == "fixed"],
        "software": {name: its for name in SOFTWARE if (its := _version(name))},
        **rules.summary(rows, chosen),
        "rows": rows,
    }
    for kind, path in files.items():
        write(path, _contents(kind, path.suffix, result, sheet))
    return result


def _measured(
    name: str, path: Path, codecs: str | None, protocol: str, first: Path, shown: frozenset[str]
) -> list[tuple[Row, Image.Image | None, Image.Image | None]]:
    """A picture's rows, and what `report.Sheet` wants to see of it, if it is shown there."""
    image = _load(path)
    rows = measure(name, image, _ready(codecs, protocol, first))
    return [(row, image, decoded) if name in shown else (row, None, None) for row, decoded in rows]


@lru_cache(maxsize=1)
def _ready(codecs: str | None, protocol: str, first: Path) -> list[Codec]:
    """The codecs, warmed up on the first picture; a process does this once."""
    chosen = select(codecs, PROTOCOLS[protocol])
    warm_up(chosen, _load(first))
    return chosen


@contextmanager
def mapping(jobs: int) -> Iterator[Callable]:
    """`map`, done by so many processes: pictures at a time, as `run` says."""
    if jobs == 1:
        yield map
        return
    executor = ProcessPoolExecutor(jobs, get_context("spawn"), _share_processors, (jobs,))
    try:
        yield executor.map
    finally:
        executor.shutdown(cancel_futures=True)


def _share_processors(jobs: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def pictures(paths: Sequence[Path], protocol: BenchProtocol) -> dict[str, Path]:
    """Picture files by name: relative to the folder they lie in, which is named, too, if there are several paths.

    Raises NeurocodecError when there are none, two have one name, or one cannot be measured.
    """
    found: dict[str, Path] = {}
    for path in paths:
        inside = pictures_in(path) if path.is_dir() else [path]
        for file in inside:
            name = (file.relative_to(path) if path.is_dir() else Path(file.name)).as_posix()
            if path.is_dir() and len(paths) > 1:
                name = f"{path.resolve().name}/{name}"
            if name in found:
                raise NeurocodecError(f"two pictures are named {name}")
            found[name] = file
            try:
                with Image.open(file) as image:
                    protocol.check(image.size)
            except UnidentifiedImageError:
                raise NeurocodecError(f"{file}: not a picture that can be read") from None
            except NeurocodecError as error:
                raise NeurocodecError(f"{file}: {error}") from None
    if not found:
        raise NeurocodecError("no pictures there")
    return found


def select(codecs: str | None, protocol: BenchProtocol, settings_of_models: Sequence[str] | None = None) -> list[Codec]:
    """The codecs that CODEC or CODEC:SETTING, separated by commas, name; None for all that are here.

    settings_of_models: if not the protocol's.

    Raises NeurocodecError for a codec that is not known, ModelError for one without weights.
    """
    if codecs is None:
        codecs = ",".join([*(name for name, rival in protocol.rivals.items() if rival.here), *protocol.models()])
    asked: dict[str, list[str]] = {}
    for item in codecs.split(","):
        name, _, setting = item.strip().partition(":")
        asked.setdefault(name, []).extend([setting] if setting else [])
    for name in asked:
        if name not in protocol.rivals:
            _check_model(name, protocol)
    chosen = []
    for name, settings in asked.items():
        if name in protocol.rivals:
            protocol.rivals[name].require()
            chosen.append(protocol.rival(name, settings or protocol.rivals[name].settings))
        else:
            chosen.append(protocol.model(name, settings or settings_of_models or protocol.model_settings(name, asked)))
    return chosen


def _check_model(name: str, protocol: BenchProtocol) -> None:
    try:
        weights.find(with_effort(name)[0])
    except ModelError:
        if name.partition(".")[0] in ARCHITECTURES or name.endswith(".safetensors"):
            raise
        known = ", ".join([*protocol.rivals, *(model.name for model in weights.shipped())])
        raise NeurocodecError(f"no codec named {name!r}; there are {known}") from None


def _load(path: Path) -> Image.Image:
    try:
        return images.to_image(images.Picture(images.load(path).rgb))
    except NeurocodecError as error:
        raise NeurocodecError(f"{path}: {error}") from None


def prepare(files: Mapping[str, Path]) -> None:
    """Find out before the run what would keep its outputs from being written."""
    for kind, path in files.items():
        if kind == "plot":
            report.figure(path.suffix)
        elif kind == "sheet":
            images.encode_image(Image.new("RGB", (1, 1)), path.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)


def _contents(kind: str, suffix: str, result: report.Result, sheet: report.Sheet) -> bytes:
    match kind:
        case "json":
            return report.to_json(result)
        case "csv":
            return report.to_csv(result)
        case "plot":
            return report.plot(result, suffix)
        case _:
            return images.encode_image(sheet.draw(), suffix)


def write(path: Path, data: bytes) -> None:
    """A file, whole or not at all; - is stdout."""
    if path == Path("-"):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        images.write_atomically(path, data)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
