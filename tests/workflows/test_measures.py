"""How a benchmark's images are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from d2n.core import DatasetInfo
from d2n.datasets.benchmarks import Benchmark
from d2n.workflows.generators import Generator
from d2n.workflows.measures import reader


class Invert(torch.nn.Module):
    """A translation that can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -images * self.weight


def test_queries_by_night_or_of_unknown_light_are_translated_and_those_by_day_are_not(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{name}.png" for name in ("day", "night", "unknown"))
    for path in paths:
        Image.new("RGB", (8, 8), (40, 40, 40)).save(path)
    info: Any = DatasetInfo("b", "0" * 64, str(tmp_path), "", {})
    benchmark = Benchmark(
        "b", "standard", (), paths, None, [], False, info, query_conditions=("day", "night", "")
    )
    load = reader(benchmark, Generator(Invert(), 1, {}, "here"))
    assert [int(load(path)[0, 0, 0]) for path in paths] == [40, 215, 215]
    assert np.array_equal(reader(benchmark)(paths[1]), np.full((8, 8, 3), 40, np.uint8))
