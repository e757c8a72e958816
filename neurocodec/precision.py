"""Mixed precision: bfloat16 where the machine multiplies it faster than float32."""

import torch


def has_bfloat16() -> bool:
    """Whether the processor has AMX or AVX512-BF16."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def mixed(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Autocast to bfloat16 on GPUs and on processors that have it; elsewhere, or if not wanted, nothing changes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and (device.type == "cuda" or has_bfloat16()))
