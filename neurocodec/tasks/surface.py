"""Depth and surface normals of rooms, from frames with measured depth; judged by angles, as in arXiv 1604.03539, and relative depth."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import Tensor

from neurocodec.tasks import Example, Pair, Task
from neurocodec.tasks.networks import load
from neurocodec.tasks.networks.cross_stitch import CrossStitch, Split
from neurocodec.tasks.networks.unet import UNet

OUTPUTS = (3, 1)  # a normal, and the logarithm of a depth in metres
TRAINED = 0.7  # share of frames, in time order, to train on; the last quarter is the test
_INVALID, _FARTHEST = 65535, 10_000  # millimetres
_SMOOTH, _REACH = 2.0, 4  # pixels: of depth before normals are derived, and to each side
NETWORKS = {
    "cross-stitch": lambda: CrossStitch(OUTPUTS),
    "shared": lambda: Split(OUTPUTS),
    "split": lambda: Split(OUTPUTS, shared=3),
    "normals": lambda: UNet(OUTPUTS[0]),
    "depth": lambda: UNet(OUTPUTS[1]),
}
BEST = "cross-stitch"


def task(network: str = BEST) -> Task:
    """The task, by the network of that name."""
    return Task(lambda: load(f"surface.{network}", NETWORKS[network]()), loss, measure, examples, show)


def examples(folder: Path, part: str) -> list[Example]:
    """Frames at half of their size; labels, float32 (H, W, 4): normal towards the camera, logarithm of the depth; NaN where unknown."""
    intrinsics = np.loadtxt(folder / "camera-intrinsics.txt")
    paths = sorted(folder.glob("*.color.jpg"))
    ends = {"train": slice(0, int(TRAINED * len(paths))), "test": slice(-(len(paths) // 4), None)}
    found = []
    for path in paths[ends[part]]:
        image = Image.open(path).convert("RGB")
        depth = np.asarray(Image.open(str(path).replace(".color.jpg", ".depth.png"))).astype(np.float32)
        label = surface(depth, intrinsics)[::2, ::2]
        found.append(Example(np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)), label))
    return found


def surface(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Normals and logarithm of depth, float32 (H, W, 4), of depth in millimetres (H, W); intrinsics: of the camera, (3, 3)."""
    known = (depth > 0) & (depth < min(_INVALID, _FARTHEST))
    weight = ndimage.gaussian_filter(known.astype(np.float32), _SMOOTH)
    smooth = ndimage.gaussian_filter(np.where(known, depth, 0) / 1000, _SMOOTH) / weight.clip(1e-6)
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    (fx, _, cx), (_, fy, cy) = intrinsics[:2]
    points = np.stack([(columns - cx) / fx * smooth, (rows - cy) / fy * smooth, smooth], -1)
    across, down = (np.roll(points, -_REACH, axis) - np.roll(points, _REACH, axis) for axis in (1, 0))
    normal = np.cross(down, across)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-9)
    sure = ndimage.binary_erosion(known, iterations=_REACH, border_value=0)
    normal[~sure] = np.nan
    return np.concatenate([normal, np.where(known, np.log(smooth.clip(1e-3)), np.nan)[..., None]], -1).astype(np.float32)


def loss(said: Tensor, labels: Tensor) -> Tensor:
    """1 - cosine of normals, plus the error of the logarithm of depths; said: (N, 3, 1 or 4, H, W), labels: (N, H, W, 4)."""
    total, labels = said.new_zeros(()), labels.permute(0, 3, 1, 2)
    if said.shape[1] != OUTPUTS[1]:
        cosine, sure = (F.normalize(said[:, :3].float()) * labels[:, :3].nan_to_num()).sum(1), ~labels[:, 0].isnan()
        total = total + (1 - cosine)[sure].mean()
    if said.shape[1] != OUTPUTS[0]:
        off, sure = (said[:, -1].float() - labels[:, 3].nan_to_num()).abs(), ~labels[:, 3].isnan()
        total = total + off[sure].mean()
    return total


def measure(pairs: Iterable[Pair]) -> dict[str, float]:
    """Shares of normals within 22.5, 11.25 and 30 degrees, mean and median angle in degrees; mean relative error of depth."""
    angles, errors, figures = [], [], {}
    for said, label in pairs:
        outputs = said[0].permute(1, 2, 0).numpy()
        if outputs.shape[2] != OUTPUTS[1]:
            normals = outputs[..., :3] / np.linalg.norm(outputs[..., :3], axis=2, keepdims=True).clip(1e-9)
            cosine = (normals * label[..., :3]).sum(2)
            angles.append(np.degrees(np.arccos(cosine[~np.isnan(cosine)].clip(-1, 1))))
        if outputs.shape[2] != OUTPUTS[0]:
            off = np.abs(np.exp(outputs[..., -1] - label[..., 3]) - 1)
            errors.append(off[~np.isnan(off)])
    if angles:
        all_angles = np.concatenate(angles)
        figures = {f"within_{limit}": float((all_angles < limit).mean()) for limit in (22.5, 11.25, 30)}
        figures |= {"mean_angle": float(all_angles.mean()), "median_angle": float(np.median(all_angles))}
    return figures | ({"relative_depth_error": float(np.concatenate(errors).mean())} if errors else {})


def show(said: Tensor) -> np.ndarray:
    """Normals as colours, or depths as grey."""
    outputs = said[0].permute(1, 2, 0).numpy()
    if outputs.shape[2] == OUTPUTS[1]:
        return (255 * np.exp(-np.exp(outputs).clip(0) / 4)).astype(np.uint8).repeat(3, 2)
    normals = outputs[..., :3] / np.linalg.norm(outputs[..., :3], axis=2, keepdims=True).clip(1e-9)
    return (127.5 * (normals + 1)).astype(np.uint8)
