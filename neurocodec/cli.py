"""The command line: words only. Exit codes: 0 done, 1 some inputs failed, 2 usage, 3 not a valid stream, 4 no model."""

import base64
import binascii
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import neurocodec
from neurocodec import _api, _batch, images, weights
from neurocodec.errors import NeurocodecError, StreamError
from neurocodec.models import ARCHITECTURES


class Size(click.ParamType):
    """WIDTHxHEIGHT in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        width, x, height = str(value).partition("x")
        if not (x and width.isdecimal() and height.isdecimal() and len(value) < 20):
            self.fail(f"{value!r} is not a size such as 640x480", param, ctx)
        return int(width), int(height)


class Number(click.FloatRange):
    """A number in a range; click lets NaN through."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = super().convert(value, param, ctx)
        return self.fail(f"{value!r} is not a number", param, ctx) if math.isnan(number) else number


def _options(*options: Callable) -> Callable:
    def add(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_MAX_BPP = 1e6  # far above what any picture can use; keeps budgets finite
_files = _options(
    click.argument("inputs", nargs=-1, metavar="IN..."),
    click.option("-o", "--output", metavar="OUT", help="Output file, - for stdout, a folder for several inputs."),
    click.option("-r", "--recursive", metavar="DIR", help="Work on every file below a folder."),
    click.option("-f", "--force", is_flag=True, help="Overwrite existing files."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per input on stdout."),
)
_model = click.option("-m", "--model", help="A model's name or its .safetensors file.")
_size = click.option("--size", type=Size(), help="Size of the picture in a header-less stream.")
_passes = click.option("--passes", type=click.IntRange(min=1), help="Number of passes.")
_budget = click.IntRange(1, _batch.MAX_STREAM_BYTES)
_bytes = click.option("--bytes", "max_bytes", type=_budget, help="Hard limit in bytes, header included.")
_bpp = click.option("--bpp", type=Number(0, _MAX_BPP, min_open=True), help="The same in bits per pixel.")
_file = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
_base64 = click.option("--base64", "as_text", is_flag=True, help="The stream is base64 text.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(neurocodec.__version__)
def main() -> None:
    """Progressive neural image codec: every prefix of a stream is a picture.

    \b
    neurocodec encode photo.jpg                   writes photo.nci
    neurocodec encode photo.jpg --bytes 20000     at most 20,000 bytes, header included
    neurocodec decode photo.nci                   writes photo.png
    neurocodec truncate photo.nci -o small.nci --bytes 5000

    Exit codes: 0 done, 1 some inputs failed, 2 usage, 3 not a valid stream, 4 model or weights missing, 130 interrupted.
    """


@main.command()
@_files
@_options(_model, _passes, _bytes, _bpp, _base64)
@click.option("--fit", type=click.IntRange(min=1), metavar="N", help="First scale the picture down to a long side of N pixels.")
@click.option("--effort", type=click.IntRange(1, 9), default=1, help="Search ever longer for the best bits (preview).")
@click.option("--ssim", type=Number(0, 1, min_open=True), help="Stop at the first pass that reaches this SSIM.")
@click.option("--headerless", is_flag=True, help="Payload only; its size and model travel apart, alpha is lost.")
@click.option("--checksum", is_flag=True, help="Protect the payload by its length and CRC-32.")
def encode(
    inputs, output, recursive, force, as_json, model, passes, max_bytes, bpp, as_text, fit, effort, ssim, headerless, checksum
):
    """Encode pictures to streams (.nci).

    Without -m, pictures with sides up to 64 pixels are encoded by `preview`, by default to 64 bytes, others by `photo`, by
    default to 0.5 bpp. `-m preview` scales larger pictures down to 32 pixels.
    """
    _at_most_one(passes=passes, bytes=max_bytes, bpp=bpp, ssim=ssim)

    def work(source: str) -> tuple[bytes, dict[str, Any]]:
        picture, found = _api.prepare(sys.stdin.buffer if source == "-" else source, model, fit)
        begin = time.perf_counter()
        with _progress(source) as progress:
            stream = neurocodec.encode(
                picture,
                model=found.name,
                passes=passes,
                bytes=max_bytes,
                bpp=bpp,
                ssim=ssim,
                effort=effort,
                headerless=headerless,
                checksum=checksum,
                progress=progress,
            )
        facts = {"seconds": round(time.perf_counter() - begin, 4)}
        size = (picture.width, picture.height) if headerless else None
        facts |= _facts(neurocodec.info(stream, model=found.name, size=size))
        return base64.b64encode(stream) + b"\n" if as_text else stream, facts

    _batch.run(work, inputs, recursive, _batch.PICTURES, output, _suffix(as_text, headerless), force, as_json)


@main.command()
@_files
@_options(_model, _size, _passes, _base64)
@click.option("--bytes", "max_bytes", type=click.IntRange(min=1), help="Use only so many bytes of the stream.")
@click.option("--upscale", type=Size(), help="Enlarge the picture smoothly to this size.")
def decode(inputs, output, recursive, force, as_json, model, size, passes, as_text, max_bytes, upscale):
    """Decode streams to pictures (.png, or what the suffix of -o says)."""
    _at_most_one(passes=passes, bytes=max_bytes)
    suffix = Path(output).suffix if output and output != "-" and not (recursive or os.path.isdir(output)) else ""

    def work(source: str) -> tuple[bytes, dict[str, Any]]:
        data = _stream(source, as_text)[:max_bytes]
        begin = time.perf_counter()
        image, header, whole = _api.decoded(data, passes, model, size, upscale)
        facts = {"seconds": round(time.perf_counter() - begin, 4), "model": weights.architecture_of(header.model).name}
        facts |= {"width": header.width, "height": header.height, "passes": whole, "bytes": len(data)}
        if passes is not None:
            facts["bytes"] -= sum(neurocodec.info(data, model=model, size=size).pass_bytes[passes:])
        return images.encode_image(image, suffix or ".png"), facts

    streams = (_suffix(as_text, size is not None),)
    _batch.run(work, inputs, recursive, streams, output, suffix or ".png", force, as_json)


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per input on stdout.")
@_options(_model, _size, _base64)
def info(inputs, as_json, model, size, as_text):
    """Say what streams hold, without decoding them."""

    def work(source: str) -> tuple[None, dict[str, Any]]:
        return None, asdict(neurocodec.info(_stream(source, as_text), model=model, size=size))

    _batch.run(work, inputs, None, (), None, "", False, as_json)


@main.command()
@_files
@_options(_model, _passes, _bytes, _bpp, _base64)
def truncate(inputs, output, recursive, force, as_json, model, passes, max_bytes, bpp, as_text):
    """Cut streams to a prefix, without decoding them."""
    _at_most_one(passes=passes, bytes=max_bytes, bpp=bpp)
    if passes is max_bytes is bpp:
        raise click.UsageError("one of --passes, --bytes and --bpp is needed")
    if output is None:
        raise click.UsageError("-o is needed: nothing is cut in place")

    def work(source: str) -> tuple[bytes, dict[str, Any]]:
        stream = neurocodec.truncate(_stream(source, as_text), passes=passes, bytes=max_bytes, bpp=bpp, model=model)
        return base64.b64encode(stream) + b"\n" if as_text else stream, asdict(neurocodec.info(stream, model=model))

    suffix = _suffix(as_text)
    _batch.run(work, inputs, recursive, (suffix,), output, suffix, force, as_json)


@main.command()
@_files
@_model
@click.option("--size", type=Size(), required=True, help="Size of the picture.")
@click.option("--checksum", is_flag=True, help="Protect the payload by its length and CRC-32.")
def pack(inputs, output, recursive, force, as_json, model, size, checksum):
    """Put header-less payloads into containers."""

    def work(source: str) -> tuple[bytes, dict[str, Any]]:
        stream = neurocodec.pack(_stream(source), size=size, model=model, checksum=checksum)
        return stream, asdict(neurocodec.info(stream))

    _batch.run(work, inputs, recursive, (_batch.PAYLOAD,), output, _batch.CONTAINER, force, as_json)


@main.command()
@_files
def unpack(inputs, output, recursive, force, as_json):
    """Take the header-less payloads out of containers."""

    def work(source: str) -> tuple[bytes, dict[str, Any]]:
        data = _stream(source)
        facts = asdict(neurocodec.info(data))
        payload = neurocodec.unpack(data)
        size = (facts["width"], facts["height"])
        return payload, facts | {"bytes": len(payload), "bpp": 8 * len(payload) / (size[0] * size[1]), "container": False}

    _batch.run(work, inputs, recursive, (_batch.CONTAINER,), output, _batch.PAYLOAD, force, as_json)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model on stdout.")
def models(as_json):
    """List the models."""
    _batch.guard(lambda: _list_models(as_json))


def _list_models(as_json: bool) -> None:
    shipped = neurocodec.list_models()
    without = [a for a in ARCHITECTURES.values() if a.name not in {m.architecture.name for m in shipped}]
    for name, architecture, card, task in [
        *((m.name, m.architecture, m.card, m.task) for m in shipped),
        *((a.name, a, None, None) for a in without),
    ]:
        cost = (card or {}).get("cost", {})
        row = {
            "name": name,
            "id": architecture.number,
            "summary": architecture.summary,
            "task": task,
            "weights": card is not None,
            "parameters": cost.get("parameters"),
            "kmac_per_pixel": cost.get("kmac_per_pixel"),
        }
        more = f", for {task}" if task else "" if row["weights"] else " (no weights here)"
        click.echo(json.dumps(row) if as_json else f"{name:22} {architecture.number:3}  {architecture.summary}{more}")


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option("--protocol", type=click.Choice(["thumbs", "photos", "task"]), required=True, help="What is measured, and how.")
@click.option("--task", metavar="NAME", help="Or package.module:function; PATH is then the task's data.")
@click.option(
    "--codecs", metavar="A,B:Q,...", help="CODEC[:SETTING] or MODEL[@EFFORT[*]][:SETTING]; by default all that are here."
)
@_options(
    click.option("--json", metavar="FILE", type=_file, help="A row per codec, setting and picture, and a summary."),
    click.option("--csv", metavar="FILE", type=_file, help="The rows alone."),
    click.option("--plot", metavar="FILE", type=_file, help="Quality against rate (.png, .svg, .pdf)."),
    click.option("--sheet", metavar="FILE", type=_file, help="Some pictures beside what the codecs make of them."),
)
@click.option("--jobs", metavar="N", type=click.IntRange(1), default=1, help="Pictures at a time; times suffer.")
def bench(paths, protocol, task, codecs, jobs, **outputs):
    """Measure the models and other codecs on pictures: files, or folders of them.

    thumbs: at most 64 pixels a side, SSIM at 16 to 256 bytes, headers not counted. photos: whole files of at least 161
    pixels a side, at one quality or number of passes (p18) for all, and at 0.06 to 2 bpp each. task: how well a network does
    on what codecs leave of a task's test pictures. Needs `pip install neurocodec[bench]`.
    """
    if (protocol == "task") != (task is not None):
        raise click.UsageError("--protocol task and --task NAME go together")
    if task and len(paths) > 1:
        raise click.UsageError("a task's data is one folder")

    def work() -> None:
        with _progress(protocol) as progress:
            if task:
                from neurocodec.bench import task as of_task

                table = of_task.table(of_task.run(paths[0], task, codecs, outputs, progress, jobs))
            else:
                from neurocodec.bench import report
                from neurocodec.bench.run import run

                table = report.table(run(paths, protocol, codecs, outputs, progress, jobs))
        if Path("-") not in outputs.values():
            click.echo(table)

    _batch.guard(work)


@main.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Folder, tar archive or file of photos; thumbs:PATH for mosaics of 32x32 thumbnails. May be repeated.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Checkpoint, log, weights.")
@click.option("--minutes", type=Number(0, min_open=True), default=60.0, help="Time budget.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out; its minutes count.")
def train(config, data, out, minutes, device, resume):
    """Train a model as a configuration file says, and export weights with their card."""
    from neurocodec.train.run import run

    _batch.guard(lambda: run(config, list(data), out, minutes, device, resume, lambda line: click.echo(json.dumps(line))))


@main.command()
@click.argument("model")
@click.option("-o", "--output", "out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="FILE.safetensors.")
@click.option("--int8", is_flag=True, help="Large layers in 8 bits.")
@click.option(
    "--prune", type=Number(0, 1, max_open=True), default=0.0, metavar="SHARE", help="Outputs of large layers to leave out."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def export(model, out, int8, prune, force):
    """Write a model's weights, and its card, to a smaller file, which is a model of its own."""
    if out.suffix != ".safetensors":
        raise click.UsageError("weights are a .safetensors file")

    def work() -> None:
        if out.exists() and not force:
            raise NeurocodecError(f"{out} exists; -f overwrites it")
        weights.export(weights.find(model), out, int8, prune)

    _batch.guard(work)


@main.command()
@click.argument("frames", nargs=-1, required=True, metavar="FRAMES...", type=click.Path(exists=True, path_type=Path))
@click.option("-m", "--model", default="photo", help="The model to make a variant of.")
@click.option("--name", required=True, help="What the variant is called.")
@click.option("-o", "--output", "out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="FILE.safetensors.")
@click.option(
    "--moving/--still", default=None, help="The camera shakes or pans a little, or stands still.  [default: as frames say]"
)
@click.option(
    "--minutes", type=Number(0), default=0.0, help="To tune the network for: most useful where no two frames are alike."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def adapt(frames, model, name, out, moving, minutes, force):
    """Make a variant of a model for the camera that took these frames: files, or folders of them.

    A few dozen to a few hundred frames of one camera, taken over the time it will be used for. `encode -m FILE` and `decode -m FILE`
    use the variant.
    """

    if out.suffix != ".safetensors":
        raise click.UsageError("a variant is a .safetensors file")

    def work() -> None:
        from neurocodec.train import adapt

        if out.exists() and not force:
            raise NeurocodecError(f"{out} exists; -f overwrites it")
        found = [file for path in frames for file in (_batch.pictures_in(path) if path.is_dir() else [path])]
        with _progress(name) as progress:
            adapt.adapt(found, model, name, out, moving, minutes, progress)

    _batch.guard(work)


def _at_most_one(**options: Any) -> None:
    if sum(value is not None for value in options.values()) > 1:
        raise click.UsageError(f"at most one of {', '.join('--' + name for name in options)} can be given")


def _suffix(as_text: bool, headerless: bool = False) -> str:
    return _batch.TEXT if as_text else _batch.PAYLOAD if headerless else _batch.CONTAINER


def _facts(info: neurocodec.Info) -> dict[str, Any]:
    return {k: v for k, v in asdict(info).items() if k not in ("pass_bytes", "container")}


def _stream(source: str, as_text: bool = False) -> bytes:
    data = _batch.read(source)
    if not as_text:
        return data
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise StreamError("not base64 text") from None


@contextmanager
def _progress(source: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1000, label=source, file=sys.stderr) as bar:
        yield lambda done, expected: bar.update(1000 * done // expected - bar.pos)
