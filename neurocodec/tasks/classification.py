"""Classification of 32x32 thumbnails in 10 classes, judged by the share that is right."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from neurocodec.tasks import Example, Pair, Task
from neurocodec.tasks.networks import load
from neurocodec.tasks.networks.classifier import Classifier
from neurocodec.train.data import load_mosaics

CLASSES = 10
NETWORKS = {"residual": lambda: Classifier(CLASSES)}


def task(network: str = "residual") -> Task:
    """The task, by the network of that name."""
    return Task(lambda: load(f"classification.{network}", NETWORKS[network]()), loss, measure, examples)


def examples(folder: Path, part: str) -> list[Example]:
    """Thumbnails of folder/part, a mosaic per class; labels: the mosaics' numbers in name order, int64 ()."""
    found = []
    for number, path in enumerate(sorted((folder / part).iterdir())):
        found += [Example(thumb, np.int64(number)) for thumb in load_mosaics([path])]
    return found


def loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of scores (N, K)."""
    return F.cross_entropy(scores.float(), labels)


def measure(pairs: Iterable[Pair]) -> dict[str, float]:
    """The share of pictures whose highest score is that of their class."""
    return {"accuracy": float(np.mean([int(scores[0].argmax()) == int(label) for scores, label in pairs]))}
