"""Training pictures: folders, tar shards and thumbnail mosaics, held as uint8 in memory; random crops from them."""

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
THUMB = 32


def _files(paths: list[Path]) -> Iterator[bytes]:
    """The bytes of every picture in the given files, folders (recursively) and tar archives, in name order."""
    for path in paths:
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES):
                yield file.read_bytes()
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    if Path(member.name).suffix.lower() in _SUFFIXES:
                        yield tar.extractfile(member).read()
        else:
            yield path.read_bytes()


def _rgb(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def load_photos(paths: list[Path]) -> list[np.ndarray]:
    """All pictures as uint8 (H, W, 3)."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_rgb, _files(paths)))


def load_mosaics(paths: list[Path]) -> np.ndarray:
    """All 32x32 thumbnails of row-major mosaics, uint8 (N, 32, 32, 3)."""
    parts = [np.empty((0, THUMB, THUMB, 3), np.uint8)]
    for data in _files(paths):
        m = _rgb(data)
        rows, columns = m.shape[0] // THUMB, m.shape[1] // THUMB
        m = m[: rows * THUMB, : columns * THUMB].reshape(rows, THUMB, columns, THUMB, 3)
        parts.append(m.swapaxes(1, 2).reshape(-1, THUMB, THUMB, 3))
    return np.concatenate(parts)


def cut_thumbs(photos: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` thumbnails cut from photos, uint8 (count, 32, 32, 3): a random square of 35 to 100 % of the short side."""

    def cut(index: int, u: np.ndarray) -> np.ndarray:
        p = photos[index]
        side = int(min(p.shape[:2]) * (0.35 + 0.65 * u[0]))
        top, left = (np.array(p.shape[:2]) - side) * u[1:]
        square = Image.fromarray(p).crop((int(left), int(top), int(left) + side, int(top) + side))
        return np.asarray(square.resize((THUMB, THUMB), Image.Resampling.LANCZOS))

    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(cut, rng.integers(len(photos), size=count), rng.random((count, 3)))))


def random_crops(photos: list[np.ndarray], size: int, count: int, rng: np.random.Generator) -> Tensor:
    """`count` random crops, each flipped and transposed at random: uint8 (count, 3, size, size).

    A crop is of one to two times the size, as far as the photo goes, and scaled down: photos are seldom free of an earlier
    codec's artefacts, and those are of one scale.
    """
    crops = []
    while len(crops) < count:
        p = photos[rng.integers(len(photos))]
        short = [(0, max(0, size - n)) for n in p.shape[:2]] + [(0, 0)]
        p = np.pad(p, short, mode="edge") if np.any(short) else p
        side = int(rng.uniform(size, min(2 * size, *p.shape[:2])))
        top, left = rng.integers(p.shape[0] - side + 1), rng.integers(p.shape[1] - side + 1)
        p = p[top : top + side, left : left + side]
        p = p if side == size else np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.LANCZOS))
        crops.append(_flip(p, rng))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def random_thumbs(thumbs: np.ndarray, count: int, rng: np.random.Generator) -> Tensor:
    """`count` random thumbnails, mirrored at random: uint8 (count, 3, 32, 32)."""
    picked = thumbs[rng.integers(len(thumbs), size=count)]
    mirrored = rng.random(count) < 0.5
    picked[mirrored] = picked[mirrored, :, ::-1]
    return torch.from_numpy(picked).permute(0, 3, 1, 2)


def _flip(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flips = rng.integers(8)
    p = p[::-1] if flips & 1 else p
    p = p[:, ::-1] if flips & 2 else p
    return p.swapaxes(0, 1) if flips & 4 else p
