"""Running the command line in this process, and what its tests share."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from neurocodec.cli import main

SIZE = (72, 33)  # 3 x 2 tiles of 32 pixels: 96 bytes a pass; too wide for `preview`
PASS = 96


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def done(*arguments: object, stdin: bytes | None = None) -> Result:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


def rows(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def fails(code: int, reason: str, *arguments: object, name: str | None = None, stdin: bytes | None = None) -> None:
    """The command exits with `code`, says the reason (and the input's name) in one line, and changes no file."""
    before = snapshot(Path.cwd())
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), "an error that nobody expected"
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("neurocodec: "), result.stderr
    assert reason in result.stderr and (name or str(arguments[1])) in result.stderr
    assert snapshot(Path.cwd()) == before


def usage(reason: str, *arguments: object) -> None:
    before = snapshot(Path.cwd())
    result = run(*arguments)
    assert result.exit_code == 2 and reason in result.stderr, result.output
    assert snapshot(Path.cwd()) == before
