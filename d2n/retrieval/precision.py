"""Where and in which precision a network computes."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from d2n.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU; anything else as torch names it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {name!r}, but torch sees no CUDA device here; set it to auto or cpu")
    return device


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
