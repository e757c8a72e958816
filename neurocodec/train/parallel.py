"""Data parallelism: several processes train one network, each on batches of its own, if `torchrun` started them."""

import atexit
import os
import time
from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn


def started() -> bool:
    """Whether `torchrun` started this process."""
    return distributed.is_torchelastic_launched()


def join(device: torch.device) -> None:
    """Wait for the other processes, if there are any; each takes a GPU of its own, if not the processor."""
    if started() and not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        # Gloo's threads need the interpreter to let go of the last tensors; one that is ending would abort them, and torchrun
        # then stops whoever still writes weights.
        atexit.register(time.sleep, 0.2)


def count() -> int:
    """Of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@torch.no_grad()
def share(tensors: Sequence[Tensor]) -> None:
    """Replace float tensors by those of process 0."""
    add([t if rank() == 0 else t.zero_() for t in tensors])


@torch.no_grad()
def add(tensors: Sequence[Tensor]) -> None:
    """Replace float tensors by their sums over all processes."""
    if count() > 1:
        flat = torch.cat([t.flatten() for t in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their sums over all processes; a process that has none of a parameter, as of a pass it skipped, adds 0."""
    if count() > 1:
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        add([p.grad for p in parameters])
