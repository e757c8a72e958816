"""`neurocodec train`: a configuration file and data in; a checkpoint, a log, weights and their model card out."""

import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from neurocodec import weights
from neurocodec.errors import NeurocodecError
from neurocodec.models import ARCHITECTURES
from neurocodec.train.loop import Pictures, Schedule, train

_THUMBS = "thumbs:"


def run(
    config: Path, data: list[str], out: Path, minutes: float, device: str, resume: bool, report: Callable[[dict], None]
) -> None:
    """Train what `config` (TOML: architecture, summary, [network], [schedule]) describes; see `train.loop`.

    data: folders, tar archives or files of photos; "thumbs:PATH" for mosaics. Raises NeurocodecError for a bad
    configuration or a path that is not there.
    """
    settings = _settings(config)
    for path in data:
        if not Path(path.removeprefix(_THUMBS)).exists():
            raise NeurocodecError(f"no data at {path}")
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    if chosen == "cuda" and not torch.cuda.is_available():
        raise NeurocodecError("no CUDA device is here")
    schedule = Schedule(**settings.get("schedule", {}))
    torch.manual_seed(schedule.seed)
    net = ARCHITECTURES[settings["architecture"]].build(**settings.get("network", {}))
    photos = [Path(p) for p in data if not p.startswith(_THUMBS)]
    thumbs = [Path(p.removeprefix(_THUMBS)) for p in data if p.startswith(_THUMBS)]
    pictures = Pictures(photos, thumbs, schedule.seed)
    average, figures = train(net, pictures, schedule, out, minutes, torch.device(chosen), resume, report)
    target = out / f"{config.stem}.safetensors"
    weights.save(average, settings["architecture"], target)
    target.with_suffix(".toml").write_text(_card(settings, average, pictures, data, minutes, chosen, figures))


def _settings(config: Path) -> dict:
    try:
        settings = tomllib.loads(config.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NeurocodecError(f"{config} is not TOML: {error}") from None
    if settings.get("architecture") not in ARCHITECTURES:
        raise NeurocodecError(f"{config}: architecture must be one of {', '.join(ARCHITECTURES)}")
    unknown = set(settings.get("schedule", {})) - {f.name for f in fields(Schedule)}
    if unknown:
        raise NeurocodecError(f"{config}: unknown schedule settings {', '.join(sorted(unknown))}")
    return settings
