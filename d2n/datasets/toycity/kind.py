"""The toy city's row."""

from __future__ import annotations

from pathlib import Path

from d2n.datasets.ground_truth import GroundTruth, read_ground_truth
from d2n.datasets.index import Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.toycity.making import make, make_oracle

_GROUND_TRUTH = "benchmark_{split}.json"


def ground_truths(index: Index, split: str) -> list[GroundTruth]:
    """Those that were written when the city was made: of val and of test."""
    return read_ground_truth(index.root / _GROUND_TRUTH.format(split=split), index.name)


def true_nights(index: Index) -> dict[Path, Path]:
    """The night photograph of the same view, rendered where it is not there yet, for each image to train on."""
    return {index.root / day: night for day, night in make_oracle(index.root).items()}


KIND = SetKind(
    name="toycity",
    title="toy city, rendered from a seed",
    ask_at="`d2n data make toycity`",
    make=make,
    knobs={"seed": 0, "scale": 1.0},
    paired=True,
    ground_truths=ground_truths,
    ground_truth_file=_GROUND_TRUTH,
    true_nights=true_nights,
)
