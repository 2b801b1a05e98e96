"""Where torch computes: one reading of every device that an option, a knob or a caller names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from d2n.config import DEVICES_EXPECTED, is_device_name
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


def _own_cuda() -> str:
    """Under torchrun each process has a device of its own."""
    rank = os.environ.get("LOCAL_RANK", "0")
    return f"cuda:{rank}" if rank.isdigit() else "cuda:0"
