"""Where and in which number format torch computes: one reading of every device and precision that is named."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from d2n.config import DEVICES_EXPECTED, RetrievalTrainingConfig, TrainingConfig, is_device_name
from d2n.core import Compute
from d2n.errors import ConfigError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str | torch.device) -> torch.device:
    """``auto`` is this process's CUDA device where there is one, else the CPU; others as torch names them.

    Raises ConfigError for a name that is none and for a device that this machine does not have.
    """
    import torch

    if isinstance(name, torch.device):
        return name
    if not is_device_name(name):
        raise ConfigError(f"device is {name!r}, expected {DEVICES_EXPECTED}")
    if name == "auto":
        return torch.device(_own_cuda() if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    present = _num_present(device.type)
    if (device.index or 0) >= present:
        found = f"{present} of this kind" if present else "none of this kind"
        raise ConfigError(f"device is {name!r}, but torch sees {found} here; set it to auto or cpu")
    return device


def require_device(name: str) -> None:
    """ConfigError as of resolve_device, to be asked before work; torch is imported only for an accelerator."""
    if name not in ("auto", "cpu"):
        resolve_device(name)


def visible_gpus() -> tuple[str, ...]:
    """CUDA devices that a process started here may see, in the words of CUDA_VISIBLE_DEVICES: 0, GPU-… or MIG-….

    The variable is believed where it is set, as a cluster sets it for its jobs; else the driver is asked.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        listed = [name.strip() for name in named.split(",")]
        end = next((i for i, name in enumerate(listed) if name in ("", "-1", "NoDevFiles")), len(listed))
        return tuple(listed[:end])  # CUDA itself reads up to the first that is none
    import torch

    return tuple(map(str, range(torch.cuda.device_count())))


def resolve_precision(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """``auto`` is bf16 where the hardware multiplies it faster than float32, else fp32.

    Those are GPUs with bf16 units and CPUs with avx512_bf16 or AMX; elsewhere bf16 on a CPU is emulated,
    slower than float32 (benchmarks/test_translators.py prints the ratio). Losses and weights stay float32
    throughout.
    """
    import torch

    if precision == "bf16":
        return "bf16"
    if precision == "fp32":
        return "fp32"
    if precision != "auto":
        raise ConfigError(f"training.precision is {precision!r}, expected auto, fp32 or bf16")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def compute_of(training: TrainingConfig | RetrievalTrainingConfig) -> Compute:
    """What a training's knobs come to on this machine: no ``auto`` is left. Raises as resolve_device does."""
    device = resolve_device(training.device)
    return Compute(
        str(device),
        resolve_precision(training.precision, device),
        channels_last=getattr(training, "channels_last", True),  # retrieval networks always are
        compile=getattr(training, "compile", False),  # they are not
        cuda_graphs=getattr(training, "cuda_graphs", False),
        threads=training.num_threads,
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Networks inside run in bfloat16 where resolve_precision says so."""
    import torch

    if resolve_precision(precision, device) == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def taken_for_training(device: torch.device) -> torch.device:
    """The device; a CUDA device is this process's present one from now on, and cuDNN adds up in a fixed order.

    So a seed gives the same numbers each time, but for what torch has in no fixed order on CUDA at all: the gradients
    of bilinear enlarging (``antialias``, HED's edges) and, without channels_last, of padding by reflection.
    """
    import torch

    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        if device.index is not None:
            torch.cuda.set_device(device)
    return device


def use_threads(count: int) -> None:
    """At most this many threads in torch; 0 leaves it as it is."""
    if count:
        import torch

        torch.set_num_threads(count)


def _num_present(kind: str) -> int:
    import torch

    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    if kind == "xpu":
        return torch.xpu.device_count() if torch.xpu.is_available() else 0
    return 1  # the CPU


def _cpu_has_bf16() -> bool:
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _own_cuda() -> str:
    """Under torchrun each process has a device of its own."""
    rank = os.environ.get("LOCAL_RANK", "0")
    return f"cuda:{rank}" if rank.isdigit() else "cuda:0"
