"""What pictures are looked at for: networks, what they are trained for, and how right they are.

A task is found by its name, or as `package.module:function`, a function that returns a `Task`.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from neurocodec.errors import NeurocodecError


class Example(NamedTuple):
    """picture: uint8 (H, W, 3). label: an array, (H, W, ...) if it says something of each pixel."""

    picture: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Task:
    """network: makes one that is trained, (N, 3, H, W) in [0, 1] to what it says. loss: of that and labels (N, ...), a scalar.

    measure: figures of what was said of pictures one by one, each (1, ...), and of their labels; by the first figure, of which more
    is better, the task is judged. examples: of a data folder, those of "train" or "test".
    """

    network: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Sequence[Tensor], Sequence[np.ndarray]], dict[str, float]]
    examples: Callable[[Path, str], list[Example]]


TASKS = {
    "segmentation": "neurocodec.tasks.segmentation:task",
    "normals": "neurocodec.tasks.surface:task",
    "classification": "neurocodec.tasks.classification:task",
}


def find(name: str) -> Task:
    """The task of a name. Raises NeurocodecError for one that is not there."""
    module, _, function = TASKS.get(name, name).partition(":")
    if not function:
        raise NeurocodecError(f"no task {name!r}; there are {', '.join(TASKS)}, and package.module:function")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise NeurocodecError(f"task {name}: {error}") from None
