"""Several processes, one model: thin answers that also hold where torch.distributed is not started."""

from __future__ import annotations

import contextlib
import datetime
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from d2n.errors import ConfigError

# The others wait while the first scores, or trains a trial's retrieval network
_PATIENCE = datetime.timedelta(days=7)


def rank() -> int:
    """Number of this process among those that train together; 0 alone."""
    return distributed.get_rank() if _started() else 0


def world_size() -> int:
    """How many processes train together; 1 alone."""
    return distributed.get_world_size() if _started() else 1


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Inside, the processes that torchrun started know each other (NCCL on GPUs, gloo else); alone: nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _started():
        yield
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def highest(value: int) -> int:
    """The highest number that a process says; every process must call it."""
    if world_size() == 1:
        return value
    device = "cuda" if torch.cuda.is_available() else "cpu"
    votes = torch.tensor(float(value), device=device)
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return int(votes.item())


def data_parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """The module inside DistributedDataParallel where there are processes to share with; else itself.

    Buffers are not broadcast: batch norm's running statistics stay each process's own, rank 0's are saved.
    """
    if world_size() == 1 or not any(p.requires_grad for p in module.parameters()):
        return module
    ids = [device.index] if device.type == "cuda" else None
    with warnings.catch_warnings():
        # the option's successor would sync buffers at the start
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


def shard(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's equal share of a global batch."""
    n = world_size()
    for name, images in batch.items():
        if len(images) % n:
            raise ConfigError(
                f"{name}: batch of {len(images)} does not divide among {n} processes; "
                f"set training.batch_size to a multiple of {n}"
            )
    return {name: images[rank() * (len(images) // n) :][: len(images) // n] for name, images in batch.items()}


def mean_over_processes(values: Tensor) -> Tensor:
    """Elementwise mean; every process must call it."""
    if world_size() > 1:
        distributed.all_reduce(values)
        values = values / world_size()
    return values


def gather(value: Any) -> list[Any]:
    """Each process's value, by rank; every process must call it."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * world_size()
    distributed.all_gather_object(gathered, value)
    return gathered


def _started() -> bool:
    return bool(distributed.is_available() and distributed.is_initialized())
