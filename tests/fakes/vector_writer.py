"""A process that writes rows into a vector store, at the same moments as others do."""

from __future__ import annotations

from threading import Barrier

import numpy as np

from d2n.retrieval.vectors import Row, VectorStore


def write(url: str, chunks: int, rows: int, dim: int, barrier: Barrier) -> None:
    """So many chunks of rows, each begun together with the other writers."""
    table = VectorStore(url).table("t")
    rng = np.random.default_rng(0)
    for chunk in range(chunks):
        made = rng.standard_normal((rows, dim)).astype(np.float32)
        names = [f"{chunk}-{row}" for row in range(rows)]
        barrier.wait(60)
        table.put([Row(name, name, "") for name in names], made)
