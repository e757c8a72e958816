"""What the networks of tasks are right about, on uncompressed test pictures, by their trained weights.

    python benchmarks/task_networks.py --camvid DIR --rgbd DIR --classify DIR --out benchmarks/results/0.1.0/task_networks.json

With the best segmentation networks, a fully connected field over their scores (+crf); beside the normals, what the mean normal of the
training frames would be right about.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch

from neurocodec.tasks import Example, Pair, Task, classification, segmentation, surface, to_input

FIELDS = ("fcn-32s", "deeplab", segmentation.BEST)  # networks that are measured with a field, too


@torch.no_grad()
def measured(task: Task, examples: list[Example]) -> dict[str, float]:
    """Figures, and the number of parameters."""
    network = task.network().eval()

    def pairs() -> Iterator[Pair]:
        for example in examples:
            yield network(to_input(example.picture[None])), example.label

    figures = {key: round(value, 4) for key, value in task.measure(pairs()).items()}
    return figures | {"parameters": sum(p.numel() for p in network.parameters())}


def mean_normal(train: list[Example], test: list[Example]) -> dict[str, float]:
    """Figures of the same normal everywhere."""
    labels = np.concatenate([e.label.reshape(-1, 4)[:, :3] for e in train])
    mean = torch.from_numpy(np.nanmean(labels, axis=0))[None, :, None, None]
    found = surface.measure((mean.expand(1, 3, *e.label.shape[:2]), e.label) for e in test)
    return {key: round(value, 4) for key, value in found.items()}


@click.command()
@click.option("--camvid", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--rgbd", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--classify", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(camvid: Path, rgbd: Path, classify: Path, out: Path) -> None:
    """Measure all of them."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for module, folder in ((segmentation, camvid), (surface, rgbd), (classification, classify)):
        title = module.__name__.rpartition(".")[2]
        examples, found = module.task().examples(folder, "test"), results.setdefault(title, {})
        fields = [f"{name}+crf" for name in FIELDS] if module is segmentation else []
        for name in [*module.NETWORKS, *fields]:
            found[name] = measured(module.task(name), examples)
            click.echo(f"{title}, {name}: {found[name]}")
        if module is surface:
            found["mean normal"] = mean_normal(surface.examples(folder, "train"), examples)
            click.echo(f"mean normal: {found['mean normal']}")
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
