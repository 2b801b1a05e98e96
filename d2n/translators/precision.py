"""In which number format the networks run."""

from __future__ import annotations

from typing import Literal

import torch

from d2n.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]


def resolve_precision(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """``auto`` is bf16 where the hardware multiplies it faster than float32, else fp32.

    Those are GPUs with bf16 units and CPUs with avx512_bf16 or AMX; elsewhere bf16 on a CPU is emulated,
    slower than float32 (benchmarks/test_translators.py prints the ratio). Losses and weights stay float32
    throughout.
    """
    if precision == "bf16":
        return "bf16"
    if precision == "fp32":
        return "fp32"
    if precision != "auto":
        raise ConfigError(f"training.precision is {precision!r}, expected auto, fp32 or bf16")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
