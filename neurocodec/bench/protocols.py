"""What is measured, and how: `thumbs`, payloads at budgets in bytes, and `photos`, files at rates in bits per pixel.

A model of ours encodes a picture once; prefixes of that one stream are its files, and encode_s is that of the whole. With
MODEL@EFFORT* it encodes the picture anew for each of the budgets, as the search of more effort is best told what for.

Photos at one setting, a rival's quality or a model's passes, take more bytes where there is more to see: means over such
files are points of a codec's curve. Photos at one rate are another comparison, of files that are all of one size.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

import neurocodec
from neurocodec import weights
from neurocodec.bench import extra
from neurocodec.bench.measure import MS_SSIM_SIDE, Codec, File, Measure, Quality, Row, by, decibels
from neurocodec.bench.rivals import LARGE, SMALL, Rival
from neurocodec.errors import NeurocodecError

SEARCHED = 2  # effort of a model that can search, beside effort 1
THUMB_SIDE = 64  # pixels: up to here a picture is a thumbnail
MS_SSIM_WINDOW = (8.0, 20.0)  # dB: MS-SSIM of about 0.84 to 0.99, where the published comparisons are made
PSNR_WINDOW = (24.0, 38.0)  # dB: what those rates give on photos
CAMERA_WINDOW = (10.0, 20.0)  # dB of MS-SSIM, 0.90 to 0.99: what a camera's variant is compared in
CAMERA_QUALITIES = (0.9, 0.95, 0.98)  # of MS-SSIM: at which a camera's frames are counted in bytes
HOUR = 3600  # frames, one a second
CAMERA_SETTINGS = ("0.002", "0.004", "0.008", "0.016", "0.032")  # bits per pixel that frames of a camera may do with
SMALLEST = 16  # bytes of a file of those; frames of which it would be smaller are not measured there
QUALITIES: tuple[Quality, ...] = ("psnr", "ssim", "ms_ssim", "ssimulacra2")
TOLERANCE = 0.001  # of a rate: files end with a byte
OF_PASSES = "p"  # what a setting of a model in photos begins with that is a number of passes
Curve = list[tuple[float, float]]  # rate, quality; both strictly ascending


class Thumbs:
    """Pictures of at most 64 pixels a side at budgets in bytes; headers don't count."""

    rivals = SMALL
    settings = ("16", "20", "24", "32", "48", "64", "96", "128", "192", "256")
    searched = ("24", "64", "128")  # those for each of which pictures are encoded anew, which takes seconds
    sheet: tuple[Measure, float, int] = ("bytes", 64, 128)  # of `report.Sheet`: measure, limit, cell
    packages: tuple[str, ...] = ()

    def model_settings(self, name: str, among: Iterable[str]) -> Sequence[str]:
        """Those of a model, whatever codecs are measured."""
        return self.settings

    def check(self, size: tuple[int, int]) -> None:
        """Raise NeurocodecError unless a picture of this size (width, height) can be measured."""
        if max(size) > THUMB_SIDE:
            raise NeurocodecError(f"{size[0]}x{size[1]} pixels; a thumbnail has at most {THUMB_SIDE} a side")

    def models(self) -> list[str]:
        """The shipped models that are measured unless others are asked for, as `select` takes them; those that search do so, too."""
        found = []
        for model in (m for m in weights.shipped() if not m.task):
            found.append(model.name)
            if model.layout.search:
                found.append(f"{model.name}@{SEARCHED}")
                found += [f"{model.name}@{SEARCHED}*:{budget}" for budget in self.searched]
        return found

    def rival(self, name: str, settings: Sequence[str]) -> Codec:
        """A rival at these settings; a single one is no curve."""
        return _of_rival(name, self.rivals[name], settings, self.rivals[name].payload)

    def model(self, name: str, settings: Sequence[str]) -> Codec:
        """A model whose header-less stream is cut to these numbers of bytes."""
        budgets = _numbers(name, settings, int)
        model, effort, each = with_effort(name)
        passes = weights.find(model).layout.max_passes

        def files(image: Image.Image) -> Iterator[File]:
            def encode(limit: dict[str, int]) -> tuple[bytes, float]:
                begin = time.perf_counter()
                stream = neurocodec.encode(image, model=model, effort=effort, headerless=True, **limit)
                return stream, time.perf_counter() - begin

            whole = None if each else encode({"passes": passes})
            for setting, budget in zip(settings, budgets, strict=True):
                stream, seconds = whole or encode({"bytes": budget})
                cut = stream[:budget]
                yield File(setting, cut, len(cut), seconds, lambda data: neurocodec.decode(data, model=model, size=image.size))

        return Codec(name, files, "model")

    def summary(self, rows: Sequence[Row], codecs: Sequence[Codec]) -> dict[str, Any]:
        """Means over pictures: a list of {codec, budget, bytes, ssim, psnr}.

        Curves are read off at each budget, picture by picture (`at_budget`). Where a codec's lowest settings take more
        than the budget on average it has no figures, only the bytes of those. A fixed setting stands at its own size.
        """
        groups, entries = by(rows, "codec"), []
        for codec in codecs:
            mine = groups[codec.name]
            if codec.kind == "curve":
                curves = [frontier(of_picture) for of_picture in by(mine, "image").values()]
                floor = float(np.mean([curve[0]["bytes"] for curve in curves]))
                for budget in map(int, self.settings):
                    points = [at_budget(curve, budget) for curve in curves]
                    below = floor > budget
                    means = (floor, None, None) if below else np.mean(points, 0).tolist()
                    entries.append(_entry(codec.name, budget, *means))
            else:
                for setting, of_setting in by(mine, "setting").items():
                    size, ssim, psnr = (_mean(of_setting, key) for key in ("bytes", "ssim", "psnr"))
                    budget = int(setting) if codec.kind == "model" else math.ceil(size)
                    entries.append(_entry(codec.name, budget, size, ssim, psnr))
        return {"summary": entries}


class Photos:
    """Pictures of at least 161 pixels a side as whole files, at so many passes ("p18") and at rates in bits per pixel ("0.25")."""

    rivals = LARGE
    settings = ("0.0625", "0.125", "0.25", "0.5", "0.75", "1", "1.5", "2")
    counts = 40  # of passes that are measured, about, of a model that has more
    sheet: tuple[Measure, float, int] = ("bpp", 0.25, 256)
    packages: tuple[str, ...] = ("pytorch_msssim", "bjontegaard", "ssimulacra2")

    def model_settings(self, name: str, among: Iterable[str]) -> Sequence[str]:
        """Those of a model among codecs of these names: rates alone, and lower ones, too, where one is a camera's variant."""
        if any(name not in self.rivals and _variant(name) for name in among):
            return (*CAMERA_SETTINGS, *self.settings)
        most = weights.find(with_effort(name)[0]).layout.max_passes
        step = max(1, most // self.counts)
        return (*(f"{OF_PASSES}{count}" for count in range(step, most + 1, step)), *self.settings)

    def check(self, size: tuple[int, int]) -> None:
        """Raise NeurocodecError unless a picture of this size (width, height) can be measured."""
        if min(size) < MS_SSIM_SIDE:
            raise NeurocodecError(f"{size[0]}x{size[1]} pixels; MS-SSIM needs at least {MS_SSIM_SIDE} a side")

    def models(self) -> list[str]:
        """Names of the shipped models that are measured unless others are asked for: those that keep a photo's size."""
        return [model.name for model in weights.shipped() if model.layout.fit is None and not model.task]

    def rival(self, name: str, settings: Sequence[str]) -> Codec:
        """A rival at these settings."""
        return _of_rival(name, self.rivals[name], settings, len)

    def model(self, name: str, settings: Sequence[str]) -> Codec:
        """A model whose container is cut to these numbers of passes or of bits per pixel."""
        model, effort, each = with_effort(name)
        if each:
            raise NeurocodecError(f"{name}: pictures are encoded anew for each budget in thumbs only")
        counts = [setting for setting in settings if setting.startswith(OF_PASSES)]
        passes = dict(zip(counts, _numbers(name, counts, int, OF_PASSES), strict=True))
        others = [setting for setting in settings if setting not in passes]
        rates = dict(zip(others, _numbers(name, others, float), strict=True))
        whole = {"passes": weights.find(model).layout.max_passes} if passes else {"bpp": max(rates.values())}

        def files(image: Image.Image) -> Iterator[File]:
            begin = time.perf_counter()
            stream = neurocodec.encode(image, model=model, effort=effort, **whole)
            seconds = time.perf_counter() - begin
            for setting in settings:
                if setting in CAMERA_SETTINGS and rates[setting] * image.width * image.height < 8 * SMALLEST:
                    continue
                limit = {"passes": passes[setting]} if setting in passes else {"bpp": rates[setting]}
                cut = neurocodec.truncate(stream, model=model, **limit)
                yield File(setting, cut, len(cut), seconds, lambda data: neurocodec.decode(data, model=model))

        return Codec(name, files, "model")

    def summary(self, rows: Sequence[Row], codecs: Sequence[Codec]) -> dict[str, Any]:
        """A list of {codec, points, at_rates, bd_rate_ms_ssim, bd_rate_psnr}, and the windows in dB of the latter two.

        points: of each setting, means over pictures and medians of times; of a model that has settings of passes, of these.
        at_rates: means over pictures that all take the same rate (`at_rate`). bd_rate_*: of each rival, and of the model that a
        camera's variant is made of, by how many percent more or (negative) fewer bytes the codec takes for the same quality; None
        where their curves share too little. If a camera's variant is among the codecs: variant_bytes, those of its file, and camera,
        a list of {ms_ssim, bytes_per_frame, bytes_per_hour, paid_off}, the last of a variant: after how many frames its file has
        saved its own bytes beside the model it is made of; None where a codec's curve doesn't reach.
        """
        groups = by(rows, "codec")
        points = {codec.name: _points(groups[codec.name]) for codec in codecs}
        rivals = [codec.name for codec in codecs if codec.kind != "model"]
        variants = {codec.name: model for codec in codecs if codec.kind == "model" and (model := _variant(codec.name))}
        entries: list[dict[str, Any]] = [
            {"codec": codec, "points": points[codec], "at_rates": _at_rates(groups[codec], self.settings)} for codec in points
        ]
        for entry in entries:
            if entry["codec"] in variants:
                entry["variant_bytes"] = variants[entry["codec"]].path.stat().st_size
        windows: dict[str, Any] = {}
        for key, limits in (("ms_ssim", MS_SSIM_WINDOW), ("psnr", PSNR_WINDOW)):
            curves = {name: _rate_curve(points[name], key) for name in points}
            for entry in entries:
                rates, common = entry.setdefault(f"bd_rate_{key}", {}), windows.setdefault(f"bd_rate_{key}", {})
                variant = variants.get(entry["codec"])
                anchors = [*rivals, variant.base.name] if variant and variant.base.name in curves else rivals
                for rival in anchors:
                    if rival != entry["codec"]:
                        anchor, test = curves[rival], curves[entry["codec"]]
                        found = window(anchor, test, CAMERA_WINDOW if variant and key == "ms_ssim" else limits)
                        rates[rival] = bd_rate(anchor, test, found) if found else None
                        common.setdefault(entry["codec"], {})[rival] = found and [round(end, 2) for end in found]
        if variants:
            pixels = float(np.mean([8 * row["bytes"] / row["bpp"] for row in rows]))
            curves = {name: _rate_curve(points[name], "ms_ssim") for name in points}
            for entry in entries:
                model = variants.get(entry["codec"])
                base = curves.get(model.base.name) if model else None
                entry["camera"] = _camera(curves[entry["codec"]], pixels)
                if base:
                    for mine, other in zip(entry["camera"], _camera(base, pixels), strict=True):
                        both = mine["bytes_per_frame"] and other["bytes_per_frame"]
                        saved = other["bytes_per_frame"] - mine["bytes_per_frame"] if both else 0
                        mine["paid_off"] = math.ceil(entry["variant_bytes"] / saved) if saved > 0 else None
        return {"windows": windows, "summary": entries}


BenchProtocol = Thumbs | Photos
PROTOCOLS: dict[str, BenchProtocol] = {"thumbs": Thumbs(), "photos": Photos()}


def with_effort(name: str) -> tuple[str, int, bool]:
    """The model and the effort that MODEL, MODEL@EFFORT or MODEL@EFFORT* names, and whether each budget has it anew.

    Raises NeurocodecError for what is no effort.
    """
    model, at, effort = name.partition("@")
    each = effort.endswith("*")
    effort = effort.removesuffix("*")
    if at and effort not in set("123456789"):
        raise NeurocodecError(f"{name}: effort must be 1 to 9")
    return model, int(effort or 1), each


def frontier(rows: Sequence[Row]) -> list[Row]:
    """Of one picture's rows: those with a higher SSIM than all that take no more bytes, by ascending bytes."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (row["bytes"], -row["ssim"])):
        if not best or row["ssim"] > best[-1]["ssim"]:
            best.append(row)
    return best


def at_budget(curve: Sequence[Row], budget: float) -> tuple[float, float, float]:
    """(bytes, ssim, psnr) of a picture's frontier at so many bytes, linear in ln bytes between neighbouring rows.

    Outside of its range: those of its first or last row, at the bytes which that takes.
    """
    size = min(max(budget, curve[0]["bytes"]), curve[-1]["bytes"])
    at, sizes = math.log(size), [math.log(row["bytes"]) for row in curve]
    ssim, psnr = (float(np.interp(at, sizes, [row[key] for row in curve])) for key in ("ssim", "psnr"))
    return size, ssim, psnr


def at_rate(rows: Sequence[Row], rate: float) -> list[float] | None:
    """A picture's `QUALITIES` at so many bits per pixel, linear in ln bpp between its files; None beyond the smallest and largest."""
    files = sorted(rows, key=lambda row: row["bpp"])
    if not files[0]["bpp"] <= rate <= files[-1]["bpp"] * (1 + TOLERANCE):
        return None
    rates = [math.log(row["bpp"]) for row in files]
    return [float(np.interp(math.log(rate), rates, [row[key] for row in files])) for key in QUALITIES]


def window(anchor: Curve, test: Curve, limits: tuple[float, float]) -> tuple[float, float] | None:
    """The qualities within the limits that both curves have; None when these are less than a third of them."""
    low, high = max(limits[0], anchor[0][1], test[0][1]), min(limits[1], anchor[-1][1], test[-1][1])
    return (low, high) if high - low > (limits[1] - limits[0]) / 3 else None


def bd_rate(anchor: Curve, test: Curve, window: tuple[float, float]) -> float:
    """Bytes that `test` takes beyond `anchor` for the same quality, in percent: mean of ln rate over a window.

    By bjontegaard's monotone cubics (pchip). Raises NeurocodecError when the package is not here.
    """
    _, of_anchor, of_test = extra("bjontegaard").bd_rate(
        *zip(*anchor, strict=True),
        *zip(*test, strict=True),
        method="pchip",
        require_matching_points=False,
        interpolators=True,
        min_overlap=0,
    )
    mean: float = (of_test.integrate(*window) - of_anchor.integrate(*window)) / (window[1] - window[0])
    return round(100 * (10**mean - 1), 2)


def _of_rival(name: str, rival: Rival, settings: Sequence[str], size: Any) -> Codec:
    def files(image: Image.Image) -> Iterator[File]:
        for setting in settings:
            begin = time.perf_counter()
            try:
                data = rival.encode(image, setting)
            except ValueError:
                some = ", ".join(rival.settings[:4])
                raise NeurocodecError(f"{name} has no setting {setting!r}; it has {some} and others") from None
            seconds = time.perf_counter() - begin
            yield File(setting, data, size(data), seconds, lambda data: rival.decode(data, image.size))

    return Codec(name, files, "curve" if rival.curve and len(settings) > 1 else "fixed")


def _variant(name: str) -> weights.Model | None:
    """The camera's variant that a codec's name stands for."""
    model = weights.find(with_effort(name)[0])
    return model if model.base else None


def _numbers(name: str, settings: Sequence[str], kind: type[int] | type[float], prefix: str = "") -> list[float]:
    try:
        numbers = [kind(setting.removeprefix(prefix)) for setting in settings]
    except ValueError:
        numbers = [math.nan]
    if not all(0 < number < math.inf for number in numbers):
        raise NeurocodecError(f"settings of {name} are positive numbers, not {', '.join(settings)}")
    return numbers


def _at_rates(rows: Sequence[Row], rates: Sequence[str]) -> list[dict[str, float]]:
    """Means over pictures, at those rates that files of every picture reach."""
    found = []
    for rate in map(float, rates):
        each = [at_rate(of_picture, rate) for of_picture in by(rows, "image").values()]
        reached = [qualities for qualities in each if qualities]
        if len(reached) == len(each):
            means = np.mean(reached, 0).round(6).tolist()
            found.append({"bpp": rate, **dict(zip(QUALITIES, means, strict=True))})
    return found


def _points(rows: Sequence[Row]) -> list[dict[str, Any]]:
    rows = [row for row in rows if row["setting"].startswith(OF_PASSES)] or rows
    points = [
        {
            "setting": setting,
            "bpp": round(_mean(group, "bpp"), 6),
            "psnr": round(_mean(group, "psnr"), 4),
            "ssim": round(_mean(group, "ssim"), 6),
            "ms_ssim": round(_mean(group, "ms_ssim"), 6),
            "ssimulacra2": round(_mean(group, "ssimulacra2"), 4),
            "encode_s": round(median(row["encode_s"] for row in group), 6),
            "decode_s": round(median(row["decode_s"] for row in group), 6),
        }
        for setting, group in by(rows, "setting").items()
    ]
    return sorted(points, key=lambda point: point["bpp"])


def _rate_curve(points: Sequence[dict[str, Any]], key: str) -> Curve:
    """Rate against quality in dB, without points that another one of a lower rate reaches."""
    curve: Curve = []
    for point in points:
        quality = decibels(point[key]) if key == "ms_ssim" else point[key]
        if not curve or (quality > curve[-1][1] and point["bpp"] > curve[-1][0]):
            curve.append((point["bpp"], quality))
    return curve


def _camera(curve: Curve, pixels: float) -> list[dict[str, Any]]:
    """What a camera's frames take at some qualities, by their curve in bits per pixel."""
    rates, qualities = zip(*curve, strict=True)
    found = []
    for quality in CAMERA_QUALITIES:
        at = decibels(quality)
        reached = qualities[0] <= at <= qualities[-1]
        size = pixels / 8 * math.exp(np.interp(at, qualities, np.log(rates))) if reached else None
        found.append(
            {"ms_ssim": quality, "bytes_per_frame": size and round(size, 1), "bytes_per_hour": size and round(HOUR * size)}
        )
    return found


def _mean(rows: Sequence[Row], key: Measure | Quality) -> float:
    return float(np.mean([row[key] for row in rows]))


def _entry(codec: str, budget: int, size: float, ssim: float | None, psnr: float | None) -> dict[str, Any]:
    return {
        "codec": codec,
        "budget": budget,
        "bytes": round(size, 2),
        "ssim": None if ssim is None else round(ssim, 6),
        "psnr": None if psnr is None else round(psnr, 4),
    }
