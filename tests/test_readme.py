"""What the README shows can be typed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

README = (Path(__file__).parent.parent / "README.md").read_text()
COMMANDS = re.search(r"```console\n(.*?)```", README, re.S)[1].splitlines()
PYTHON = re.search(r"```python\n(.*?)```", README, re.S)[1]


@pytest.fixture
def folder(tmp_path, photos, monkeypatch):
    Image.fromarray(photos[0]).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(folder):
    from click.testing import CliRunner

    from neurocodec.cli import main

    for command in filter(None, COMMANDS):
        words = command.partition("#")[0].split()
        result = CliRunner().invoke(main, words[1:])
        assert words[0] == "neurocodec" and result.exit_code == 0, (command, result.output)
    assert (folder / "small.nci").stat().st_size <= 5000
    for name in ("photo.png", "again.png"):
        with Image.open(name) as picture:
            assert picture.size == (192, 160)


def test_python(folder):
    subprocess.run([sys.executable, "-c", PYTHON], check=True, cwd=folder)


def test_the_program_is_installed_and_starts_without_torch():
    code = "import sys; from neurocodec.cli import main; main(['--help'], standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    program = Path(sys.executable).with_name("neurocodec")
    assert "progressive" in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout.lower()


def test_tables_are_those_of_the_committed_results():
    script = Path(__file__).parent.parent / "benchmarks" / "readme_tables.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
