"""Trains the network of a task, by itself: SGD with momentum, a rate in steps, pictures scaled, cropped, mirrored and lit at random."""

import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn

from neurocodec import images, tasks
from neurocodec.errors import NeurocodecError
from neurocodec.precision import mixed
from neurocodec.tasks import Example, Task
from neurocodec.tasks.networks import stored

_STEPS = (0.6, 0.85)  # shares of the training after which the learning rate falls to a tenth
_SCALES, _LIGHT = (0.75, 1.5), 0.25


@dataclass(frozen=True)
class TaskSchedule:
    """learning_rate: at first. crop: pixels each way, where labels say something of pixels. batch: pictures. decay: of weights.

    steps: after which training ends, too; 0: by time alone.
    """

    learning_rate: float = 0.05
    crop: int = 224
    batch: int = 8
    decay: float = 5e-4
    steps: int = 0
    seed: int = 0

    def rate(self, progress: float) -> float:
        """The learning rate after a share of the training."""
        return self.learning_rate * 0.1 ** sum(progress > share for share in _STEPS)


def run(name: str, settings: dict, data: Path, out: Path, minutes: float, report: Callable[[dict], None]) -> None:
    """Train what a configuration describes (task; task_network: its name in the task's NETWORKS; start: a trained one whose weights
    it starts with, where they fit, or, if it is made of several, one for each; terms; [schedule]: settings of `TaskSchedule`),
    measure it, and write weights and a card.

    Raises NeurocodecError for names and settings that are not there.
    """
    module = importlib.import_module(tasks.TASKS[settings["task"]].partition(":")[0])
    if settings["task_network"] not in module.NETWORKS:
        raise NeurocodecError(f"no network {settings['task_network']!r}; there are {', '.join(module.NETWORKS)}")
    task, schedule = module.task(settings["task_network"]), TaskSchedule(**settings.get("schedule", {}))
    torch.manual_seed(schedule.seed)
    net = module.NETWORKS[settings["task_network"]]()
    if "start" in settings:
        known, mine = _start(settings["start"]), net.state_dict()
        net.load_state_dict({k: v for k, v in known.items() if k in mine and mine[k].shape == v.shape}, strict=False)
    examples = task.examples(data, "train")
    begin = time.monotonic()
    net = train_network(net, task, examples, schedule, minutes, report)
    spent = round((time.monotonic() - begin) / 60, 1)
    with torch.no_grad():
        figures = task.measure((net(tasks.to_input(e.picture[None])), e.label) for e in task.examples(data, "test"))
    report({"test": figures})
    out.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    images.write_atomically(out / f"{name}.safetensors", serialize(tensors))
    said = {
        "task": settings["task"],
        "network": settings["task_network"],
        "minutes": spent,
        "start": settings.get("start", ""),
    }
    tables = {
        "network": {**said, "parameters": sum(p.numel() for p in net.parameters()), "made": date.today().isoformat()},
        "data": {"pictures": len(examples), "terms": settings.get("terms", "not stated")},
        "schedule": asdict(schedule),
        "test": figures,
    }
    text = "\n".join(
        f"[{title}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items()) for title, table in tables.items()
    )
    (out / f"{name}.toml").write_text(text)


def _start(names: str | list[str]) -> dict[str, Tensor]:
    """Weights of a trained network, or of the several parts of one: what is PART.X in the one of number I is PARTs.I.X here."""
    if isinstance(names, str):
        return stored(names)
    found = {}
    for i, name in enumerate(names):
        for key, value in stored(name).items():
            part, _, rest = key.partition(".")
            found[f"{part}s.{i}.{rest}"] = value
    return found


def train_network(
    net: nn.Module,
    task: Task,
    examples: Sequence[Example],
    schedule: TaskSchedule,
    minutes: float,
    report: Callable[[dict], None],
) -> nn.Module:
    """Train for `minutes`, or for the schedule's steps if they are done earlier; the network, in evaluation mode."""
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    optimizer = torch.optim.SGD(net.parameters(), schedule.learning_rate, 0.9, weight_decay=schedule.decay, nesterov=True)
    net = net.train().to(memory_format=torch.channels_last)
    autocast = mixed(torch.device("cpu"))
    begin, step, running = time.monotonic(), 0, []
    while (progress := max((time.monotonic() - begin) / (60 * minutes), step / schedule.steps if schedule.steps else 0)) < 1:
        optimizer.param_groups[0]["lr"] = schedule.rate(progress)
        x, labels = batch(examples, schedule, rng)
        with autocast:
            loss = task.loss(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
        running.append(loss.item())
        if step % 100 == 0:
            spent = round((time.monotonic() - begin) / 60, 1)
            report({"step": step, "minutes": spent, "loss": round(float(np.mean(running[-100:])), 4)})
    return net.eval()


def batch(examples: Sequence[Example], schedule: TaskSchedule, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random pictures (N, 3, S, S) in [0, 1], and their labels, (N, ...)."""
    some = [augmented(examples[i], schedule.crop, rng, _SCALES) for i in rng.integers(len(examples), size=schedule.batch)]
    pictures, labels = (np.stack(parts) for parts in zip(*some, strict=True))
    x = tasks.to_input(pictures) * torch.from_numpy(rng.uniform(1 - _LIGHT, 1 + _LIGHT, (len(pictures), 3, 1, 1))).float()
    return x.clamp_(0, 1).contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


def augmented(example: Example, crop: int, rng: np.random.Generator, scales: tuple[float, float] = (1, 1)) -> Example:
    """A crop of a picture and of what its label says of these pixels, at a random scale, mirrored or not.

    One whose label says nothing of pixels is whole, shifted by a few of them.
    """
    picture, label = example
    if label.ndim:
        # Of a larger or smaller window, rows and columns are left out or repeated, the same for picture and label.
        side = min(round(crop / rng.uniform(*scales)), *picture.shape[:2])
        top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
        at = ((np.arange(crop) + 0.5) * side / crop).astype(int)
        picture, label = picture[(top + at)[:, None], left + at], label[(top + at)[:, None], left + at]
    else:
        picture = np.roll(picture, rng.integers(-4, 5, 2), (0, 1))
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        label = _mirrored(label) if label.ndim else label
    return Example(np.ascontiguousarray(picture), np.ascontiguousarray(label) if label.ndim else label)


def _mirrored(label: np.ndarray) -> np.ndarray:
    """A label's pixels the other way round; of vectors, the first component too."""
    label = label[:, ::-1]
    return label * np.array([-1, *[1] * (label.shape[2] - 1)], label.dtype) if label.ndim == 3 else label
