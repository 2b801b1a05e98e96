"""Batches brought to a GPU while it computes on the batch before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def brought_ahead(batches: Iterable[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Each batch on ``device``; on CUDA a stream of its own copies the next one before this one is given.

    A copy from pinned memory does not wait for what the GPU computes, nor is it waited for before it is needed.
    """
    if device.type != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    waiting: tuple[dict[str, Tensor], torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            brought = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        if waiting is not None:
            yield _taken(*waiting, device)
        waiting = brought, copies.record_event()
    if waiting is not None:
        yield _taken(*waiting, device)


def _taken(batch: dict[str, Tensor], copied: torch.cuda.Event, device: torch.device) -> dict[str, Tensor]:
    """The batch for the present stream, which waits for its copy; its memory stays until that stream is done."""
    here = torch.cuda.current_stream(device)
    here.wait_event(copied)
    for tensor in batch.values():
        tensor.record_stream(here)
    return batch
