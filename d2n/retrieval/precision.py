"""In which precision a network computes."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bfloat16 for "bf16", and for "auto" where it is the faster one: CUDA, and CPUs with bf16 units."""
    if precision == "bf16" or (precision == "auto" and _is_fast_in_bf16(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _is_fast_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
