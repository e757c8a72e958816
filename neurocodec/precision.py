"""Mixed precision: bfloat16 where the machine multiplies it faster than float32."""

import torch


def mixed(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Autocast to bfloat16 on GPUs and on processors with AMX or AVX512-BF16; elsewhere, or if not wanted, nothing changes."""
    has_units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and (device.type == "cuda" or has_units))
