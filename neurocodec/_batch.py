"""Many inputs, one at a time: where they come from and go to, and what is said when one of them fails."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from neurocodec import images
from neurocodec.errors import ModelError, NeurocodecError, StreamError

CONTAINER, PAYLOAD, TEXT = ".nci", ".bits", ".txt"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".ppm", ".pgm", ".jp2")
FAILED, INVALID_STREAM, NO_MODEL, INTERRUPTED = 1, 3, 4, 130
MAX_STREAM_BYTES = 1 << 28

Work = Callable[[str], tuple[bytes | None, dict[str, Any]]]


def run(
    work: Work,
    inputs: Sequence[str],
    recursive: str | None,
    suffixes: Sequence[str],
    output: str | None,
    suffix: str,
    force: bool,
    as_json: bool,
) -> None:
    """Do `work` on every input, write what it gives, and exit with the documented code.

    One input exits with the code of its failure; of several, any failure is exit code 1.
    """
    jobs = list(_jobs(inputs, recursive, suffixes, output, suffix))
    if as_json and any(target == "-" for _, target in jobs):
        raise click.UsageError("--json and the output cannot both go to stdout")
    code, written = 0, set()
    taken = {_identity(source) for source, _ in jobs}
    for source, target in jobs:

        def one(source: str = source, target: str | None = target) -> None:
            if target not in (None, "-"):
                _check_target(Path(target), force, written, taken)
            data, facts = work(source)
            if data is not None and target is not None:
                _write(target, data)
                written.add(target)
            if as_json:
                click.echo(json.dumps({"input": source, **({"output": target} if target else {}), **facts}))
            elif data is None:
                name = click.format_filename(source)
                click.echo("\n".join(f"{key}: {value}" for key, value in {"input": name, **facts}.items()))
            elif target != "-":
                bpp = 8 * facts["bytes"] / (facts["width"] * facts["height"])
                summary = f"{facts['passes']} passes, {facts['bytes']} bytes, {bpp:.3f} bpp"
                click.echo(f"{source} -> {target}: {facts['width']}x{facts['height']}, {summary}", err=True)

        failure = _attempt(one, source)
        if failure == INTERRUPTED:
            sys.exit(failure)
        if failure:
            code = failure if len(jobs) == 1 else FAILED
    sys.exit(code)


def pictures_in(folder: Path) -> list[Path]:
    """The picture files below a folder, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())


def guard(work: Callable[[], None]) -> NoReturn:
    """Do `work` once and exit with the documented code."""
    sys.exit(_attempt(work, None))


def read(source: str) -> bytes:
    """A stream from a file or stdin ("-"). Raises StreamError above the limit on encoded size."""
    if source == "-":
        data = sys.stdin.buffer.read(MAX_STREAM_BYTES + 1)
    else:
        with open(source, "rb") as file:
            data = file.read(MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise StreamError(f"longer than the limit of {MAX_STREAM_BYTES} bytes")
    return data


def _jobs(
    inputs: Sequence[str], recursive: str | None, suffixes: Sequence[str], output: str | None, suffix: str
) -> Iterator[tuple[str, str | None]]:
    """(input, output) pairs; the output is None where nothing is written."""
    if bool(inputs) == bool(recursive):
        raise click.UsageError("give either inputs or -r DIR")
    if recursive:
        root = Path(recursive)
        if not root.is_dir():
            raise click.UsageError(f"{recursive} is not a folder")
        if output is None or output == "-":
            raise click.UsageError("-r needs -o DIR")
        for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes and p.is_file()):
            yield str(path), str(Path(output) / path.relative_to(root).with_suffix(suffix))
        return
    folder = output is not None and output != "-" and os.path.isdir(output)
    if len(inputs) > 1 and output is not None and not folder:
        raise click.UsageError("several inputs need a folder as -o")
    for source in inputs:
        if not suffix:
            yield source, None
        elif folder:
            yield source, str(Path(output) / _renamed(Path("stdin" if source == "-" else source), suffix).name)
        else:
            yield source, output or ("-" if source == "-" else str(_renamed(Path(source), suffix)))


def _renamed(path: Path, suffix: str) -> Path:
    return path.with_suffix(suffix) if path.name else path / f"out{suffix}"  # "." and "/" fail when they are read


def _identity(source: str) -> tuple[int, int] | None:
    """What tells whether two paths are the same file; None where there is none."""
    try:
        status = os.stat(source)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _check_target(target: Path, force: bool, written: set[str], taken: set[tuple[int, int] | None]) -> None:
    """Raise NeurocodecError unless the target may be written; `taken` are the identities of all inputs."""
    if str(target) in written:
        raise NeurocodecError(f"{target} was already written from another input")
    if target.is_dir():
        raise NeurocodecError(f"{target} is a folder")
    if target.is_file():  # a device or a pipe is not overwritten
        if _identity(str(target)) in taken:
            raise NeurocodecError(f"{target} is an input and would be overwritten")
        if not force:
            raise NeurocodecError(f"{target} exists (-f overwrites it)")


def _write(target: str, data: bytes) -> None:
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        try:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            images.write_atomically(Path(target), data)
        except OSError as error:
            raise NeurocodecError(f"{target} cannot be written: {error.strerror or error}") from None


def _attempt(work: Callable[[], None], source: str | None) -> int:
    """The exit code of doing `work`; a failure is said in one line on stderr, and so is each warning."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = lambda message, *_, **__: _say(source, f"warning: {message}")
            work()
        return 0
    except StreamError as error:
        code, reason = INVALID_STREAM, str(error)
    except ModelError as error:
        code, reason = NO_MODEL, str(error)
    except NeurocodecError as error:
        code, reason = FAILED, str(error)
    except KeyboardInterrupt:
        code, reason = INTERRUPTED, "interrupted"
    except MemoryError:
        code, reason = FAILED, "not enough memory"
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        code, reason = FAILED, "not enough memory"  # as torch says it
    except OSError as error:
        code, reason = FAILED, error.strerror or str(error)
        if error.filename is not None and str(error.filename) != source:
            reason = f"{error.filename}: {reason}"
        try:
            sys.stdout.flush()
        except OSError:  # a full disk or a closed pipe: leave nothing that fails again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _say(source, reason)
    return code


def _say(source: str | None, message: str) -> None:
    name = "stdin" if source == "-" else source
    line = ": ".join(["neurocodec", *([name] if name else []), message])
    click.echo(" ".join(line.splitlines()), err=True)
