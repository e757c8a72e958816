"""The objective of a task's variant: rate and distortion, and what the task's network loses by the codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from neurocodec import tasks
from neurocodec.errors import NeurocodecError
from neurocodec.tasks import Example, Task
from neurocodec.train import parallel
from neurocodec.train.loop import Pictures, Schedule, centre
from neurocodec.train.rate_distortion import RateDistortion
from neurocodec.train.task_network import augmented


@dataclass(frozen=True)
class TaskLoss(RateDistortion):
    """Loss = that of `RateDistortion` + share * the task's + match * how far what its network says of decoded pictures is from what
    it says of the originals: the squared difference over the variance.

    The network is frozen, or learns, too, by the share. Without a share pictures need no labels. Matching what a network says is
    distillation (Hinton et al., arXiv 1503.02531). Raises NeurocodecError for a network that would learn what it is matched
    with, and for labelled pictures made shorter.
    """

    task: str = ""  # as `tasks.find` takes it
    share: float = 0.1
    match: float = 0.0
    joint: float = 0.0  # learning rate of the task's network; 0: it is frozen
    shorter: float = 0.0  # labels are of whole pictures

    def __post_init__(self) -> None:
        if self.joint and (self.match or not self.share):
            raise NeurocodecError("a task's network learns by a share of the task's loss, and with nothing to match")
        if self.shorter and self.share:
            raise NeurocodecError("pictures that have labels cannot be made shorter")

    @cached_property
    def judge(self) -> Task:
        """The task."""
        return tasks.find(self.task)

    @cached_property
    def _network(self) -> nn.Module:
        """In evaluation mode even if it learns: it normalises by what it was trained on."""
        return self.judge.network().eval().requires_grad_(self.joint > 0)

    @property
    def learned(self) -> tuple[nn.Module, float] | None:
        """The task's network, if it is not frozen, and its learning rate."""
        return (self._network, self.joint) if self.joint else None

    def trade(self, x: Tensor, y: Tensor, bits: Tensor | float, depth: Tensor | int, *labels: Tensor) -> Tensor:
        """That of `RateDistortion`, and what the network loses; without labels, as in a search, only by what is to match."""
        total, said = super().trade(x, y, bits, depth), self._said(y)
        if self.share and labels:
            total = total + self.share * self.judge.loss(said, labels[0].to(x.device))
        if self.match:
            truth = self._said(x)
            total = total + self.match * (said - truth).square().flatten(1).mean(1) / truth.var()
        return total

    def _said(self, x: Tensor) -> Tensor:
        return self._network.to(x.device)(x.clamp(0, 1)).float()


class LabelledPictures(Pictures):
    """A task's training pictures; one in 16 is held out."""

    def __init__(self, examples: Sequence[Example], schedule: Schedule):
        self._rng = np.random.default_rng([schedule.seed, parallel.rank()])
        self._schedule, self._examples = schedule, [e for i, e in enumerate(examples) if i % 16]
        held = [e.picture for i, e in enumerate(examples) if not i % 16]
        pixels = examples[0].label.ndim > 0
        everything = [e.picture for e in self._examples]
        side = min(256, *(n // 32 * 32 for n in examples[0].picture.shape[:2]))
        self.photos, self.held_photos = (everything, [centre(p, side) for p in held]) if pixels else ([], [])
        self.thumbs, self.held_thumbs = (np.empty(0, np.uint8), []) if pixels else (np.stack(everything), held)

    def batch(self, pixels: int) -> tuple[Tensor, ...]:
        """Random crops or thumbnails of about that many pixels, uint8 (N, 3, S, S), and their labels."""
        crop = self._schedule.crop if self.photos else self.thumbs.shape[1]
        chosen = self._rng.integers(len(self._examples), size=max(1, pixels // crop**2))
        some = [augmented(self._examples[i], crop, self._rng) for i in chosen]
        x, labels = (torch.from_numpy(np.stack(parts)) for parts in zip(*some, strict=True))
        return x.permute(0, 3, 1, 2), labels
