"""Segmentation of street scenes: 11 classes of CamVid (Brostow et al., 2009), judged by mean intersection over union."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from neurocodec.tasks import Example, Pair, Task
from neurocodec.tasks.networks import load
from neurocodec.tasks.networks.crf import CRF
from neurocodec.tasks.networks.deeplab import DeepLab
from neurocodec.tasks.networks.fcn import FCN
from neurocodec.tasks.networks.halved import Halved
from neurocodec.tasks.networks.segnet import SegNet
from neurocodec.tasks.networks.unet import UNet

CLASSES, VOID = 11, 11
# Of classes in the loss: the root of the median class's share of the training labels over each one's own (arXiv 1411.4734).
WEIGHTS = (0.52, 0.45, 2.2, 0.39, 1.0, 0.7, 2.04, 1.97, 0.89, 2.7, 3.93)
COLOURS = np.random.default_rng(3).integers(40, 255, (CLASSES, 3), np.uint8)
NETWORKS = {
    "fcn-32s": lambda: Halved(FCN(CLASSES, 0)),
    "fcn-16s": lambda: Halved(FCN(CLASSES, 1)),
    "fcn-8s": lambda: Halved(FCN(CLASSES, 2)),
    "segnet": lambda: Halved(SegNet(CLASSES)),
    "unet": lambda: Halved(UNet(CLASSES)),
    "deeplab": lambda: Halved(DeepLab(CLASSES)),
}
BEST = "unet"


def task(network: str = BEST) -> Task:
    """The task, by the network of that name, or, with `+crf` after it, that network and a field over its scores."""
    name, field, _ = network.partition("+crf")

    def trained() -> nn.Module:
        net = load(f"segmentation.{name}", NETWORKS[name]())
        return CRF(net) if field else net

    return Task(trained, loss, measure, examples, show)


def examples(folder: Path, part: str) -> list[Example]:
    """Frames of folder/part, with labels, uint8 (H, W), 0 to 10, or 11 for void, from folder/part_labels."""
    found = []
    for path in sorted((folder / part).iterdir()):
        label = Image.open(folder / f"{part}_labels" / f"{path.stem}.png")
        found.append(Example(np.asarray(Image.open(path).convert("RGB")), np.asarray(label)))
    return found


def loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of scores (N, K, H, W), or of every other row and column of them, void left out."""
    labels = labels[:, :: -(-labels.shape[1] // scores.shape[2]), :: -(-labels.shape[2] // scores.shape[3])]
    return F.cross_entropy(scores.float(), labels.long(), weight=scores.new_tensor(WEIGHTS).float(), ignore_index=VOID)


def measure(pairs: Iterable[Pair]) -> dict[str, float]:
    """Mean over classes of intersection over union, and the share of pixels that are right; counted over all pictures."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for scores, label in pairs:
        found, known = scores[0].argmax(0).numpy().ravel(), label.ravel()
        both = (known.astype(int) * CLASSES + found)[known != VOID]
        confusion += np.bincount(both, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return {
        "mean_iou": float((right / union.clip(1))[union > 0].mean()),
        "accuracy": float(right.sum() / max(1, confusion.sum())),
    }


def show(scores: Tensor) -> np.ndarray:
    """The class of each pixel, as a colour."""
    return COLOURS[scores[0].argmax(0).numpy()]
