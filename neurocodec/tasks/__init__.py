"""What pictures are looked at for: networks, what they are trained for, and how right they are.

A task is found by its name, or as `package.module:function`, a function that returns a `Task`.
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError


class Example(NamedTuple):
    """picture: uint8 (H, W, 3). label: an array, (H, W, ...) if it says something of each pixel."""

    picture: np.ndarray
    label: np.ndarray


Pair = tuple[Tensor, np.ndarray]


@dataclass(frozen=True)
class Task:
    """network: makes one that is trained, (N, 3, H, W) in [0, 1] to what it says. loss: of that and labels (N, ...), a scalar.

    measure: figures of pairs of what was said of a picture, (1, ...), and its label, which are asked for one by one; by the first
    figure, of which more is better, the task is judged. examples: of a data folder, those of "train" or "test". show: what was said
    of a picture, (1, ...), as a picture, uint8 (H, W, 3).
    """

    network: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Iterable[Pair]], dict[str, float]]
    examples: Callable[[Path, str], list[Example]]
    show: Callable[[Tensor], np.ndarray] | None = None


TASKS = {
    "segmentation": "neurocodec.tasks.segmentation:task",
    "normals": "neurocodec.tasks.surface:task",
    "classification": "neurocodec.tasks.classification:task",
}


def to_input(pictures: np.ndarray) -> Tensor:
    """Pictures, uint8 (N, H, W, 3), as networks take them: float32 (N, 3, H, W) in [0, 1]."""
    return torch.tensor(pictures).permute(0, 3, 1, 2).float() / 255


def find(name: str) -> Task:
    """The task of a name. Raises NeurocodecError for one that is not there."""
    module, _, function = TASKS.get(name, name).partition(":")
    if not function:
        raise NeurocodecError(f"no task {name!r}; there are {', '.join(TASKS)}, and package.module:function")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise NeurocodecError(f"task {name}: {error}") from None
