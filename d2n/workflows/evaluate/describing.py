"""Descriptors of a benchmark's images, kept under what they were made from and read where they were made before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2n.datasets.benchmarks import Benchmark
from d2n.devices import resolve_precision
from d2n.retrieval import network, search
from d2n.retrieval.images import Box
from d2n.scores.feature_cache import FeatureCache
from d2n.workflows.generators import Generator
from d2n.workflows.measures import reader

_MAX_MB = 8192
_NUMBERS = {"fp32": "fp32", "bf16": "bf16, its head in float32"}  # the head's were rounded once


@dataclass(frozen=True)
class Describer:
    """A network with its view of images; two that agree in all of it give the same descriptors."""

    net: network.RetrievalNetwork
    view: search.View
    folder: Path  # of the kept descriptors
    turn: bool | None = None  # by EXIF; None: as each benchmark has it
    query_generator: Generator | None = None
    progress: bool = False

    def database(self, benchmark: Benchmark) -> np.ndarray:
        """(N, D) float32 of the database."""
        return self._described(benchmark, benchmark.database, benchmark.database_sha256s, None, None)

    def queries(self, benchmark: Benchmark) -> np.ndarray:
        """(Q, D) float32 of the queries, cut to their boxes."""
        shas, boxes = benchmark.query_sha256s, benchmark.boxes
        return self._described(benchmark, benchmark.queries, shas, boxes, self.query_generator)

    def _described(
        self,
        benchmark: Benchmark,
        paths: Sequence[Path],
        sha256s: Sequence[str],
        boxes: Sequence[Box] | None,
        generator: Generator | None,
    ) -> np.ndarray:
        turn = benchmark.turn if self.turn is None else self.turn
        cache, identity = FeatureCache(self.folder, _MAX_MB), self.identity(turn, generator)
        keys = [f"{sha}{list(box)}" for sha, box in zip(sha256s, boxes, strict=True)] if boxes else sha256s
        known = cache.get(identity, keys)
        if known is not None:
            return known
        made = search.extract(
            self.net,
            list(paths),
            self.view,
            load_image=reader(benchmark, generator, turn),
            boxes=boxes,
            progress=self.progress,
        )
        cache.put(identity, keys, made)
        return made

    def identity(self, turn: bool, generator: Generator | None = None) -> dict[str, str]:
        """All that decides a descriptor but the image."""
        view = self.view
        numbers = _NUMBERS[
            resolve_precision(view.precision, self.net.mean.device)
        ]  # auto is not one thing everywhere
        return {
            "network": network.fingerprint(self.net),
            "view": json.dumps([view.image_size_px, list(view.scales), view.square, numbers]),
            "turn": str(turn),
            "translation": "" if generator is None else generator.sha256,
        }
