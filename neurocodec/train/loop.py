"""The training loop: a time budget, a schedule over it, checkpoints, and validation while it runs."""

import json
import math
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError
from neurocodec.precision import mixed
from neurocodec.train import data, parallel
from neurocodec.train.muon import Muon

CHECKPOINT = "checkpoint.pt"
_CHECKPOINT_SECONDS, _VALIDATION_SECONDS = 180, 600


@dataclass(frozen=True)
class Schedule:
    """Everything about a run that is not the network; `models/TRAINING.md` argues for the defaults."""

    learning_rate: float = 1e-3  # of Adam, peak; warmed up over 2 % of the time, then a cosine to 1 % of it
    linear_rate: float = 0.1  # share of it for the linear transforms, which start well
    muon_rate: float = 0.0  # of Muon, peak, which trains the matrices and kernels that do not start well; 0: Adam does
    batch_pixels: int = 32768  # per step, of each process
    crop: int = 128  # pixels, each way
    thumbs: float = 0.33  # share of steps that train on 32x32 thumbnails
    cuts: int = 16384  # thumbnails cut from the photos
    steps: int = 0  # to end after, if that is before the time is over; 0: none
    ema: float = 0.998  # decay of the averaged weights per step
    seed: int = 1


class Pictures:
    """Training and validation pictures, disjoint: of 16 or more, one photo in 64 and one thumbnail in 64 are held out."""

    def __init__(self, photos: list[Path], thumbs: list[Path], schedule: Schedule):
        self._rng = np.random.default_rng([schedule.seed, parallel.rank()])
        self._schedule = schedule
        everything = data.load_photos(photos)
        self.photos, self.held_photos = _hold_out(everything)
        self.held_photos = [centre(p, 256) for p in self.held_photos if min(p.shape[:2]) >= 256]
        thumbnails, self.held_thumbs = _hold_out(data.load_mosaics(thumbs))
        if self.photos:
            thumbnails = [*thumbnails, *data.cut_thumbs(self.photos, schedule.cuts, self._rng)]
        self.thumbs = np.array(thumbnails, np.uint8)
        self.share = schedule.thumbs if self.photos else 1.0
        if not self.thumbs.size and not self.photos:
            raise NeurocodecError("no pictures to train on")

    def batch(self, pixels: int) -> tuple[Tensor, ...]:
        """A random batch of crops or of thumbnails of about that many pixels, uint8 (N, 3, S, S), and what else a loss takes."""
        if self._rng.random() < self.share:
            return (data.random_thumbs(self.thumbs, max(1, pixels // data.THUMB**2), self._rng),)
        crop = self._schedule.crop
        return (data.random_crops(self.photos, crop, max(1, pixels // crop**2), self._rng),)

    def thumbnails(self, count: int) -> Tensor:
        """That many random thumbnails: uint8 (count, 3, 32, 32)."""
        return data.random_thumbs(self.thumbs, count, self._rng)

    def crops(self, size: int, count: int) -> Tensor:
        """That many random crops of photos: uint8 (count, 3, size, size)."""
        return data.random_crops(self.photos, size, count, self._rng)

    def samples(self) -> list[Tensor]:
        """Some of each kind for fitting a start: float32 (N, 3, S, S) in [0, 1]."""
        batches = [data.random_thumbs(self.thumbs, 3000, self._rng)]
        if self.photos:
            batches.append(data.random_crops(self.photos, 64, 1200, self._rng))
        return [to_unit(b, torch.device("cpu")) for b in batches]


def _hold_out(pictures: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    if len(pictures) < 16:
        return list(pictures), []
    return [p for i, p in enumerate(pictures) if i % 64], [p for i, p in enumerate(pictures) if not i % 64]


def centre(p: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a picture (H, W, 3)."""
    top, left = (p.shape[0] - size) // 2, (p.shape[1] - size) // 2
    return p[top : top + size, left : left + size]


def to_unit(x: Tensor, device: torch.device) -> Tensor:
    """uint8 (N, 3, H, W) to float32 in [0, 1], channels last, on the device."""
    return x.to(device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)


class Objective(Protocol):
    """What a kind of network is trained for and what its figures are.

    learned: what learns beside it, and at which rate, if anything.
    """

    @property
    def learned(self) -> tuple[nn.Module, float] | None: ...
    def loss(self, net: nn.Module, x: Tensor, progress: float, rng: np.random.Generator, *labels: Tensor) -> Tensor: ...
    def validate(self, net: nn.Module, batches: list[Tensor]) -> list[list[float]]: ...


@torch.no_grad()
def validate(net: nn.Module, objective: Objective, pictures: list[np.ndarray], device: torch.device) -> list[list[float]]:
    """The objective's figures for pictures, uint8 (H, W, 3), all of one size."""
    at_once = max(1, 65536 // pictures[0][..., 0].size)
    stacks = [np.stack(pictures[i : i + at_once]) for i in range(0, len(pictures), at_once)]
    return objective.validate(net, [to_unit(torch.from_numpy(s).permute(0, 3, 1, 2), device) for s in stacks])


def train(
    net: nn.Module,
    objective: Objective,
    pictures: Pictures,
    schedule: Schedule,
    out: Path,
    minutes: float,
    device: torch.device,
    state: dict[str, Any] | None,
    report: Callable[[dict], None],
) -> tuple[nn.Module, dict[str, Any]]:
    """Train for `minutes`; return the averaged network and its last figures.

    state: an earlier run's checkpoint to go on from, whose minutes count, or None. Writes CHECKPOINT every three
    minutes; every ten a line of figures goes to `log.jsonl` and to `report`. Of several processes (`parallel.py`) the first
    does so; others return no figures.
    """
    out.mkdir(parents=True, exist_ok=True)
    net = net.to(device, memory_format=torch.channels_last)
    average = deepcopy(net)
    optimizers, beside = _optimizers(net, schedule), {}
    if objective.learned:
        other, peak = objective.learned
        beside["learned"] = other.to(device)
        optimizers["adam_learned"] = torch.optim.Adam([{"params": list(other.parameters()), "peak": peak}], lr=peak)
    saved = {"net": net, "average": average} | beside | optimizers
    step, before = 0, 0.0
    if state:
        for name, part in saved.items():
            part.load_state_dict(state[name])
        step, before = state["step"], state["seconds"]
    learning = [p for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    parallel.share(learning)
    torch.manual_seed(schedule.seed + parallel.rank())
    rng = np.random.default_rng([schedule.seed, step, parallel.rank()])
    autocast = mixed(device)
    begin = time.monotonic()
    last_save = last_line = before
    running: list[float] = []
    line: dict[str, Any] = {}
    while True:
        seconds = before + time.monotonic() - begin
        progress = min(max(seconds / (60 * minutes), step / schedule.steps if schedule.steps else 0.0), 1.0)
        parallel.share([clock := torch.tensor(progress, device=device)])
        progress = float(clock)
        done = progress >= 1.0
        if parallel.rank() == 0 and (done or seconds - last_save > _CHECKPOINT_SECONDS):
            state = {name: part.state_dict() for name, part in saved.items()}
            _save(out / CHECKPOINT, state | {"config": net.config, "step": step, "seconds": seconds})
            last_save = seconds
        if parallel.rank() == 0 and (done or seconds - last_line > _VALIDATION_SECONDS):
            line = {"step": step, "minutes": round(seconds / 60, 1)}
            line["loss"] = round(float(np.mean(running)), 4) if running else None
            for name, held in (("photos", pictures.held_photos), ("thumbs", pictures.held_thumbs)):
                if held:
                    line[name] = validate(average, objective, held, device)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            report(line)
            last_line, running = seconds, []
        if done:
            return average, line
        rate = min(progress / 0.02 + 0.01, 0.505 + 0.495 * math.cos(math.pi * progress))
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
        x, *labels = pictures.batch(schedule.batch_pixels)
        with autocast:
            loss = objective.loss(net, to_unit(x, device), progress, rng, *labels)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        (loss / parallel.count()).backward()
        parallel.add_gradients(learning)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        step += 1
        decay = min(schedule.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)
        running.append(float(loss.detach()))


def _optimizers(net: nn.Module, schedule: Schedule) -> dict[str, torch.optim.Optimizer]:
    """By name; every parameter group has its `peak` rate."""
    kinds: dict[str, list[nn.Parameter]] = {"linear": [], "matrices": [], "others": []}
    for name, p in ((name, p) for name, p in net.named_parameters() if p.requires_grad):
        matrix = schedule.muon_rate and p.ndim > 1 and min(len(p), p[0].numel()) > 1
        kinds["linear" if name.startswith(net.linear_parts) else "matrices" if matrix else "others"].append(p)
    rates = {"others": schedule.learning_rate, "linear": schedule.learning_rate * schedule.linear_rate}
    groups = [{"params": kinds[kind], "peak": rate} for kind, rate in rates.items()]
    found = {"adam": torch.optim.Adam(groups, lr=schedule.learning_rate, betas=(0.9, 0.98))}
    if kinds["matrices"]:
        found["muon"] = Muon([{"params": kinds["matrices"], "peak": schedule.muon_rate}], lr=schedule.muon_rate)
    return found


def _save(path: Path, state: dict) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)
