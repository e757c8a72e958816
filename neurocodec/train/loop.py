"""The training loop: a time budget, a schedule over it, checkpoints, validation while it runs, export at its end."""

import json
import os
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neurocodec.binarizer import keep_prefix
from neurocodec.train import data, losses


@dataclass(frozen=True)
class Schedule:
    """Everything about a run that is not the network; the defaults are what `models/TRAINING.md` argues for."""

    learning_rate: float = 1.5e-3  # peak; warmed up over 2 % of the time, then a cosine to 1 % of it
    batch_pixels: int = 65536  # per step
    crop: int = 128  # pixels, each way
    thumbs: float = 0.33  # share of steps that train on 32x32 thumbnails
    window: int = 4  # passes through which the gradient flows
    late: float = 0.3  # share of steps (second half of the run) whose window starts at a later pass
    partial: float = 0.3  # share of pictures whose last pass lacks bits
    noise: float = 1.0  # width of stochastic rounding; falls to 0 over the last 30 % of the run
    ema: float = 0.998  # decay of the averaged weights per step
    seed: int = 1


class Pictures:
    """Training and validation pictures, disjoint: one photo in 128 and one thumbnail in 64 are held out."""

    def __init__(self, photos: list[Path], thumbs: list[Path], cuts: int, seed: int):
        rng = np.random.default_rng(seed)
        loaded = data.load_photos(photos)
        held = {i for i in range(0, len(loaded), 128)}
        self.photos = [p for i, p in enumerate(loaded) if i not in held]
        mosaics = data.load_mosaics(thumbs)
        own = [mosaics[np.arange(len(mosaics)) % 64 != 0]]
        if self.photos and cuts:
            own.append(data.cut_thumbs(self.photos, cuts, rng))
        self.thumbs = np.concatenate(own)
        self.held_photos = [p for p in (_centre(loaded[i], 256) for i in sorted(held)) if p is not None]
        self.held_thumbs = mosaics[::64]


def _centre(p: np.ndarray, size: int) -> np.ndarray | None:
    top, left = (p.shape[0] - size) // 2, (p.shape[1] - size) // 2
    return p[top : top + size, left : left + size] if min(top, left) >= 0 else None


def to_unit(x: Tensor, device: torch.device) -> Tensor:
    """uint8 (N, 3, H, W) to float32 in [0, 1], channels last, on the device."""
    return x.to(device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)


def unroll_loss(net: nn.Module, x: Tensor, start: int, window: int, partial: float, noise: float) -> Tensor:
    """Mean distortion over passes start+1 .. start+window, a scalar; passes before that run without gradient.

    x: (N, 3, H, W) in [0, 1]. For a share `partial` of the pictures the last pass is cut at a random bit.
    """
    encoder, decoder, y = net.initial(x)
    with torch.no_grad():
        for t in range(start):
            codes, encoder = net.encoder_step(x, y, t, encoder, decoder[0])
            decoder = net.decoder_step(codes, t, decoder)
            y = net.synthesis(decoder)
    total = 0.0
    for t in range(start, start + window):
        codes, encoder = net.encoder_step(x, y, t, encoder, decoder[0], noise)
        if t == start + window - 1 and partial:
            size = codes[0].numel()
            counts = torch.randint(1, size, (len(x),), device=x.device)
            whole = torch.rand(len(x), device=x.device) >= partial
            codes = keep_prefix(codes, torch.where(whole, size, counts))
        decoder = net.decoder_step(codes, t, decoder)
        y = net.synthesis(decoder)
        total = total + losses.distortion(x, y)
    return total / window


@torch.no_grad()
def validate(net: nn.Module, pictures: np.ndarray, passes: int, device: torch.device) -> list[tuple[float, float]]:
    """Mean (SSIM, MS-SSIM) after each pass; pictures: uint8 (N, H, W, 3). On 32x32 both are SSIM."""
    sums = np.zeros((passes, 2))
    batches = [pictures[i : i + max(1, 65536 // pictures[0].size * 3)] for i in range(0, len(pictures), max(1, 65536 // pictures[0].size * 3))]
    for batch in batches:
        x = to_unit(torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2), device)
        encoder, decoder, y = net.initial(x)
        for t in range(passes):
            codes, encoder = net.encoder_step(x, y, t, encoder, decoder[0])
            decoder = net.decoder_step(codes, t, decoder)
            y = net.synthesis(decoder)
            shown = y.clamp(0, 1).mul(255).round().div(255)
            sums[t] += [float(v) * len(batch) for v in losses.ms_ssim(x, shown)]
    return [(float(a), float(b)) for a, b in sums / len(pictures)]


def train(net: nn.Module, pictures: Pictures, schedule: Schedule, out: Path, minutes: float, device: torch.device, resume: bool, report=print) -> nn.Module:
    """Train for `minutes` (earlier minutes of a resumed run included) and return the averaged network.

    Writes `checkpoint.pt` every three minutes and a line of figures to `log.jsonl` every five.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    net = net.to(device, memory_format=torch.channels_last)
    average = deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    step, before = 0, 0.0
    if resume and (out / "checkpoint.pt").exists():
        saved = torch.load(out / "checkpoint.pt", map_location=device)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, before = saved["step"], saved["seconds"]
    amp = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" or torch.cpu._is_amx_tile_supported())
    begin = time.monotonic()
    last_save = last_log = before
    running, count = 0.0, 0
    while True:
        seconds = before + time.monotonic() - begin
        progress = min(seconds / (60 * minutes), 1.0)
        done = progress >= 1.0
        if done or seconds - last_save > 180:
            _save(out / "checkpoint.pt", {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds})
            last_save = seconds
        if done or seconds - last_log > 300:
            last_log = seconds
            line = {"step": step, "minutes": round(seconds / 60, 1), "loss": round(running / max(count, 1), 4)}
            for name, held in (("photos", pictures.held_photos), ("thumbs", pictures.held_thumbs)):
                if len(held):
                    line[name] = [[round(v, 4) for v in p] for p in validate(average, np.stack(held), net.max_passes, device)]
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            report(line)
            running, count = 0.0, 0
        if done:
            return average
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * min(progress / 0.02 + 0.01, 0.505 + 0.495 * float(np.cos(np.pi * progress)))
        if rng.random() < schedule.thumbs and len(pictures.thumbs):
            batch = data.random_thumbs(pictures.thumbs, schedule.batch_pixels // data.THUMB**2, rng)
        else:
            batch = data.random_crops(pictures.photos, schedule.crop, max(1, schedule.batch_pixels // schedule.crop**2), rng)
        start = 0
        if progress > 0.5 and rng.random() < schedule.late:
            start = schedule.window * int(rng.integers(1, net.max_passes // schedule.window))
        noise = schedule.noise * min(1.0, max(0.0, (1 - progress) / 0.3))
        with amp:
            loss = unroll_loss(net, to_unit(batch, device), start, schedule.window, schedule.partial, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(schedule.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(average.parameters(), net.parameters()):
                a.lerp_(b, 1 - decay)
        if start == 0:
            running, count = running + float(loss.detach()), count + 1


def _save(path: Path, state: dict) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)
