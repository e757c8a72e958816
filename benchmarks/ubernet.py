"""One trunk for several tasks (in the manner of UberNet, arXiv 1609.02132): what it learns, and the memory that training takes.

    python benchmarks/ubernet.py --camvid DIR --rgbd DIR --minutes 8 --out benchmarks/results/0.1.0/ubernet.json

Pictures carry labels of only some of the tasks: frames of a drive those of segmentation, rooms those of normals and depth. Memory is
how far the peak of a process of its own rises in one step, task by task (`frugal`) or all at once (`naive`).
"""

import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import torch

from neurocodec.tasks import segmentation, surface, to_input
from neurocodec.tasks.networks.uber import Uber, backward
from neurocodec.train.task_network import TaskSchedule, batch

OUTPUTS = {"segmentation": segmentation.CLASSES, "normals": surface.OUTPUTS[0], "depth": surface.OUTPUTS[1]}
LOSSES = {"segmentation": segmentation.loss, "normals": surface.loss, "depth": surface.loss}
MEASURES = {"segmentation": segmentation.measure, "normals": surface.measure, "depth": surface.measure}
SCHEDULE = TaskSchedule(crop=192)


def trained(camvid: list, rgbd: list, minutes: float) -> tuple[Uber, int]:
    """The network, and how many steps it took."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = Uber(OUTPUTS).train()
    optimizer = torch.optim.SGD(net.parameters(), SCHEDULE.learning_rate, 0.9, weight_decay=SCHEDULE.decay, nesterov=True)
    begin, step = time.monotonic(), 0
    while (progress := (time.monotonic() - begin) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = SCHEDULE.rate(progress)
        optimizer.zero_grad()
        for examples, names in ((camvid, ["segmentation"]), (rgbd, ["normals", "depth"])):
            x, labels = batch(examples, SCHEDULE, rng)
            backward(net, x, dict.fromkeys(names, labels), LOSSES)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
    return net.eval(), step


@torch.no_grad()
def figures(net: Uber, examples: list, name: str) -> dict[str, float]:
    """Of one task on test pictures."""
    pictures = ((to_input(e.picture[None]), e.label) for e in examples)
    return MEASURES[name]((net(x)[name], label) for x, label in pictures)


def risen(tasks: int, frugal: bool) -> float:
    """Megabytes by which a step with labels of so many tasks raises this process's peak."""
    torch.manual_seed(0)
    net = Uber({str(i): 8 for i in range(tasks)}).train()
    x = torch.rand(8, 3, 192, 192)
    labels = {str(i): torch.zeros(8, 192, 192, dtype=torch.long) for i in range(tasks)}
    losses = dict.fromkeys(labels, torch.nn.functional.cross_entropy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    backward(net, x, labels, losses, frugal)
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


@click.command()
@click.option("--camvid", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--rgbd", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--minutes", default=8.0)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(camvid: Path, rgbd: Path, minutes: float, out: Path) -> None:
    """Train, measure, and weigh."""
    memory = {}
    for tasks in (1, 2, 4, 8):
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            memory[tasks] = {name: pool.submit(risen, tasks, name == "frugal").result() for name in ("naive", "frugal")}
        click.echo(f"{tasks} tasks: {memory[tasks]} MB")
    net, steps = trained(segmentation.examples(camvid, "train"), surface.examples(rgbd, "train"), minutes)
    rooms = surface.examples(rgbd, "test")
    test = {"segmentation": segmentation.examples(camvid, "test"), "normals": rooms, "depth": rooms}
    found = {name: figures(net, examples, name) for name, examples in test.items()}
    click.echo(json.dumps(found))
    result = {"minutes": minutes, "steps": steps, "test": found, "peak_megabytes_by_tasks": memory}
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
