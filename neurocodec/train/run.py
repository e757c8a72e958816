"""`neurocodec train`: a configuration file and data in; a checkpoint, a log, weights and their model card out."""

import json
import tomllib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, fields
from datetime import date
from itertools import product
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from neurocodec import tasks, weights
from neurocodec.errors import NeurocodecError
from neurocodec.models import ARCHITECTURES
from neurocodec.payload import RawPasses
from neurocodec.train import contexts, parallel, task_network
from neurocodec.train.grow import grow
from neurocodec.train.loop import CHECKPOINT, Objective, Pictures, Schedule, to_unit, train
from neurocodec.train.rate_distortion import RateDistortion
from neurocodec.train.shrink import NARROWS, shrink
from neurocodec.train.task_loss import LabelledPictures, TaskLoss
from neurocodec.train.unroll import Unroll

_THUMBS = "thumbs:"
_TABLE_THUMBS, _TABLE_CROPS, _TABLE_CROP, _TABLE_STEPS = 24_000, 600, 256, 3_000


def run(
    config: Path, data: list[str], out: Path, minutes: float, device: str, resume: bool, report: Callable[[dict], None]
) -> None:
    """Train what `config` describes (TOML: architecture, terms, int8, weights, task, sides, [network], [schedule],
    [objective]).

    terms: under which the data may be used, for the model card. int8: whether large weights are written in 8 bits.
    weights: a model to start from, by its name or a file beside the configuration, made larger or narrower as the [network]
    settings ask, instead of the architecture's own start with those settings. [schedule]: settings of `Schedule`. [objective]:
    settings of `Unroll` for networks of raw passes, of `RateDistortion` for those of coded ones.
    task: for a variant of the model in `weights` that is trained for a task (`TaskLoss`); then data is that of the task, a folder,
    unless the objective has no share of the task's own loss. A network of the task's that learns, too, is written to
    NAME.network.pt, a state dictionary.
    sides: "encoder", so that the model itself decodes what the variant encodes, or "both".
    task_network: instead of all but the schedule, to train a task's own network of that name (`task_network.py`).
    data: folders, tar archives or files of photos; "thumbs:PATH" for mosaics. device: "auto", "cpu" or "cuda".
    Raises NeurocodecError for a bad configuration or for data that is not there.
    """
    settings = _settings(config)
    for path in data:
        if not Path(path.removeprefix(_THUMBS)).exists():
            raise NeurocodecError(f"no data at {path}")
    if "task_network" in settings:
        if parallel.started():
            raise NeurocodecError("a task's own network is trained by one process")
        return task_network.run(config.stem, settings, Path(data[0]), out, minutes, report)
    if device == "cuda" and not torch.cuda.is_available():
        raise NeurocodecError("no CUDA device is here")
    chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    parallel.join(chosen)
    schedule = Schedule(**settings.get("schedule", {}))
    of_task = {"task": settings["task"]} if "task" in settings else {}
    objective = _objective(settings)(**settings.get("objective", {}), **of_task)
    photos = [Path(p) for p in data if not p.startswith(_THUMBS)]
    thumbs = [Path(p.removeprefix(_THUMBS)) for p in data if p.startswith(_THUMBS)]
    pictures: Pictures
    if isinstance(objective, TaskLoss) and objective.share:
        pictures = LabelledPictures(objective.judge.examples(photos[0], "train"), schedule)
    else:
        pictures = Pictures(photos, thumbs, schedule)
    torch.manual_seed(schedule.seed)
    network = ARCHITECTURES[settings["architecture"]].network()
    state, encoder_only = None, bool(of_task) and settings.get("sides", "encoder") == "encoder"
    if resume and (out / CHECKPOINT).exists():
        state = torch.load(out / CHECKPOINT, map_location=chosen)
        net = network(**state["config"])
    elif "weights" in settings:
        net = deepcopy(weights.network(_start(config, settings).path)).requires_grad_(True)
        wanted = network(**net.config | settings.get("network", {})).config
        if wanted != net.config:
            narrower = any(wanted.get(name) != net.config.get(name) for name in NARROWS)
            net = (shrink if narrower else grow)(net, wanted, pictures.samples())
    else:
        net = network.start(pictures.samples(), **settings.get("network", {}))
    if encoder_only:
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name.startswith(net.encoder_parts))
    trained, figures = train(net, objective, pictures, schedule, out, minutes, chosen, state, report)
    if parallel.rank():
        return
    if objective.learned:
        torch.save(objective.learned[0].state_dict(), out / f"{config.stem}.network.pt")
    target = out / f"{config.stem}.safetensors"
    if encoder_only:
        weights.save_encoder(trained, _start(config, settings), target)
    else:
        tables = _tables(trained, pictures, chosen) if isinstance(objective, RateDistortion) else None
        weights.save(trained, settings["architecture"], target, tables, settings.get("int8", False))
    target.with_suffix(".toml").write_text(
        _card(config.stem, settings, trained, objective, pictures, schedule, chosen, figures)
    )


def _start(config: Path, settings: dict) -> weights.Model:
    """The model that the configuration names."""
    name = settings["weights"]
    return weights.find(config.parent / name if name.endswith(".safetensors") else name)


def _tables(net: nn.Module, pictures: Pictures, device: torch.device) -> dict[str, torch.Tensor]:
    """The entropy coder's, of training pictures."""
    photos = net.of_photos and pictures.photos
    some = pictures.crops(_TABLE_CROP, _TABLE_CROPS) if photos else pictures.thumbnails(_TABLE_THUMBS)
    stacks = [to_unit(b, device) for b in some.split(16 if photos else 512)]
    corners = torch.tensor(list(product((0.0, 1.0), repeat=3)), device=device)  # of all colours, which no photo has at large
    flat = corners[:, :, None, None].repeat(1, 1, _TABLE_CROP, _TABLE_CROP)
    z, extremes = (contexts.latents(net, some) for some in (stacks, [flat]))
    return contexts.fit(net.prior, z, _TABLE_STEPS, contexts.planes_needed(z, extremes))


def cost(net: nn.Module) -> dict[str, int | float]:
    """Parameters, and kMAC per pixel, by the steps that the network has."""

    def kmac(step: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            step()
        return round(counter.get_total_flops() / 2 / x[0, 0].numel() / 1000, 1)

    x = torch.zeros(1, 3, 256, 256)
    parameters = sum(p.numel() for p in net.parameters())
    if hasattr(net, "analysis_transform"):
        latent = net.analysis_transform(x)
        analysis = kmac(lambda: net.analysis_transform(x))
        synthesis = kmac(lambda: net.synthesis_transform(latent))
        return {
            "parameters": parameters,
            "kmac_per_pixel": round(analysis + synthesis, 1),
            "kmac_per_pixel_synthesis": synthesis,
        }
    encoder, decoder, y = net.initial(x)
    codes, _ = net.encoder_step(x, y, 0, encoder, decoder[0])
    analysis = kmac(lambda: net.encoder_step(x, y, 0, encoder, decoder[0]))
    update = kmac(lambda: net.decoder_step(codes, 0, decoder))
    synthesis = kmac(lambda: net.synthesis(decoder))
    return {
        "parameters": parameters,
        "kmac_per_pixel": round(analysis + update + synthesis, 1),
        "kmac_per_pixel_decoder_pass": update,
        "kmac_per_pixel_synthesis": synthesis,
    }


def _settings(config: Path) -> dict:
    try:
        settings = tomllib.loads(config.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NeurocodecError(f"{config} is not TOML: {error}") from None
    kinds: dict[str, type] = {"schedule": task_network.TaskSchedule}
    if "task_network" not in settings:
        if settings.get("architecture") not in ARCHITECTURES:
            raise NeurocodecError(f"{config}: architecture must be one of {', '.join(ARCHITECTURES)}")
        kinds = {"schedule": Schedule, "objective": _objective(settings)}
        if "task" in settings and kinds["objective"] is Unroll:
            raise NeurocodecError(f"{config}: variants for tasks are made of models of coded passes")
        if "task" in settings and "weights" not in settings:
            raise NeurocodecError(f"{config}: a task's variant is one of a model whose weights are named")
    elif settings.get("task") not in tasks.TASKS:
        raise NeurocodecError(f"{config}: task must be one of {', '.join(tasks.TASKS)}")
    for table, kind in kinds.items():
        unknown = set(settings.get(table, {})) - {f.name for f in fields(kind)}
        if unknown:
            raise NeurocodecError(f"{config}: unknown {table} settings {', '.join(sorted(unknown))}")
    return settings


def _objective(settings: dict) -> type[Unroll] | type[RateDistortion]:
    if isinstance(ARCHITECTURES[settings["architecture"]].layout, RawPasses):
        return Unroll
    return TaskLoss if "task" in settings else RateDistortion


def _card(
    name: str,
    settings: dict,
    net: nn.Module,
    objective: Objective,
    pictures: Pictures,
    schedule: Schedule,
    device: torch.device,
    figures: dict,
) -> str:
    tables = {
        "model": {"name": name, "architecture": settings["architecture"], "made": date.today().isoformat()},
        "cost": cost(net),
        "data": {
            "photos": len(pictures.photos),
            "thumbnails": len(pictures.thumbs),
            "terms": settings.get("terms", "not stated"),
        },
        "training": {"device": device.type, **{k: v for k, v in figures.items() if not isinstance(v, list)}},
        "schedule": asdict(schedule),
        "objective": asdict(objective),
        "validation": {f"{k}_{objective.figures}": v for k, v in figures.items() if isinstance(v, list)},
    }
    lines = []
    for title, table in tables.items():
        lines += [f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)
