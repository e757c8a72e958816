"""Quality and rate: thin wrappers that name the library, the colour space and the averaging.

Pictures are uint8 (H, W, 3) sRGB arrays. Means over several pictures are taken by the caller, of these values.
"""

import io

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def bpp(size: int, width: int, height: int) -> float:
    """Bits per pixel of a file or payload of `size` bytes."""
    return 8 * size / (width * height)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio over RGB in dB (scikit-image); infinite for equal pictures."""
    return float("inf") if np.array_equal(a, b) else float(peak_signal_noise_ratio(a, b, data_range=255))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM over RGB channels (scikit-image, Gaussian window, sigma 1.5), at most 1.

    Pictures of fewer than 11 pixels a side are extended to 11 by repeating their borders.
    """
    short = [(0, max(0, 11 - n)) for n in a.shape[:2]] + [(0, 0)]
    a, b = (np.pad(p, short, mode="edge") for p in (a, b))
    return float(
        structural_similarity(
            a, b, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Five-scale MS-SSIM over RGB (pytorch-msssim, data range 255); needs sides of at least 161 pixels."""
    import torch
    from pytorch_msssim import ms_ssim as reference

    x, y = (torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() for p in (a, b))
    return float(reference(x, y, data_range=255, size_average=True))


def ssimulacra2(a: np.ndarray, b: np.ndarray) -> float:
    """SSIMULACRA 2 of b against the original a, at most 100 (package ssimulacra2); needs sides of at least 8 pixels."""
    from ssimulacra2 import compute_ssimulacra2

    files = [io.BytesIO() for _ in (a, b)]
    for file, picture in zip(files, (a, b), strict=True):
        Image.fromarray(picture).save(file, "PPM")
    return float(compute_ssimulacra2(*files))
