"""Distortions for training: structural similarity and squared error, averaged over everything.

SSIM is Wang et al. 2004 with the Gaussian window (11 taps, sigma 1.5) and constants that scikit-image and
pytorch-msssim use, per RGB channel, valid positions only. The window is applied as two banded matrix products, which
are several times faster than a depthwise convolution on a processor and equal on a GPU.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_TAPS, _SIGMA = 11, 1.5
_MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli & Bovik 2003


@lru_cache(maxsize=64)
def _window(size: int, device: torch.device) -> Tensor:
    """Matrix (size, size - 10) whose columns are shifted Gaussian windows."""
    g = torch.exp(-((torch.arange(_TAPS) - _TAPS // 2) ** 2) / (2 * _SIGMA**2))
    m = torch.zeros(size, size - _TAPS + 1)
    for i in range(m.shape[1]):
        m[i : i + _TAPS, i] = g / g.sum()
    return m.to(device)


def _ssim_cs(x: Tensor, y: Tensor, every: int = 1) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term per picture and channel, each (N, 3); x, y: (N, 3, H, W) in [0, 1].

    every: of the windows, each way, that are looked at.
    """
    left, right = _window(x.shape[2], x.device)[:, ::every].T, _window(x.shape[3], x.device)[:, ::every]
    with torch.autocast(x.device.type, enabled=False):  # variances are differences of what is nearly equal
        mx, my, squares, xy = (left @ m @ right for m in (x, y, x * x + y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    product, powers = mx * my, mx * mx + my * my
    cs = (2 * (xy - product) + c2) / (squares - powers + c2)
    return ((2 * product + c1) / (powers + c1) * cs).mean((2, 3)), cs.mean((2, 3))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM, a scalar; x, y: float32 (N, 3, H, W) in [0, 1], H and W at least 11."""
    return _ssim_cs(x, y)[0].mean()


def ssim_each(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each picture, (N,); x, y: float32 (N, 3, H, W) in [0, 1], H and W at least 11."""
    return _ssim_cs(x, y)[0].mean(1)


def rounded(y: Tensor) -> Tensor:
    """Pictures in [0, 1] as 8 bits show them."""
    return y.clamp(0, 1).mul(255).round().div(255)


def ms_ssim(x: Tensor, y: Tensor, thinned: bool = False) -> tuple[Tensor, Tensor]:
    """(SSIM, MS-SSIM) of each picture, (N,), over as many of the five scales as the size allows, weights renormalised.

    thinned: at scales of at least 128 pixels look at every other window each way, in half of the time; away from the edges
    pixels count alike to one part in 10,000 even so, as windows overlap.
    """
    scales = 1
    while scales < len(_MS_WEIGHTS) and min(x.shape[2:]) >> scales >= _TAPS:
        scales += 1
    weights = _MS_WEIGHTS[:scales]
    x, y = x.contiguous(), y.contiguous()  # for the matrix products
    product, single = 1.0, None
    for i, weight in enumerate(weights):
        s, cs = _ssim_cs(x, y, 2 if thinned and min(x.shape[2:]) >= 128 else 1)
        single = s.mean(1) if single is None else single
        term = s if i == scales - 1 else cs
        product = product * term.clamp_min(1e-4) ** (weight / sum(weights))
        if i < scales - 1:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return single, product.mean(1)


def distortion(x: Tensor, y: Tensor) -> Tensor:
    """1.75 (1 - SSIM) + 0.25 (1 - MS-SSIM) + 10 MSE, a scalar; on pictures below 22 pixels both similarities are SSIM.

    x, y: (N, 3, H, W) in [0, 1]. The squared error keeps colours and flat areas right, which SSIM hardly sees.
    """
    x, y = x.float(), y.float()
    single, multi = ms_ssim(x, y)
    return 1.75 * (1 - single.mean()) + 0.25 * (1 - multi.mean()) + 10 * F.mse_loss(x, y)
