"""The test images as a budget: which of them compare, which rank, and what using them again may do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """The images of one decision."""

    compared: Rows  # those that the candidate meets the champion on
    ranking: Rows  # those that rank the settings; empty where validation alone does
    part: int  # from 0
    parts: int  # 1 where none is reserved

    @property
    def where(self) -> str:
        """In words."""
        if self.parts == 1:
            return f"all {len(self.compared)} images of the test split"
        return (
            f"part {self.part + 1} of {self.parts} of the test split ({len(self.compared)} images, which ranking "
            "did not see)"
        )


def split(keys: Sequence[str], turn: int, parts: int, min_images: int) -> Split:
    """The images called ``keys`` for the ``turn``-th comparison; the keys alone say which part an image is in.

    A part has ``min_images`` or more; where not even two such fit, all images compare and none ranks.
    """
    parts = min(parts, len(keys) // min_images)
    if parts < 2:
        return Split(np.arange(len(keys)), np.arange(0), 0, 1)
    part = turn % parts
    of = part_of(keys, parts)
    return Split(np.flatnonzero(of == part), np.flatnonzero(of != part), part, parts)


def part_of(keys: Sequence[str], parts: int) -> Rows:
    """(N,) part of each image, the parts of equal size: by the order of their keys' digests, not of the images."""
    digests = [hashlib.sha256(f"part {key}".encode()).hexdigest() for key in keys]
    order = sorted(range(len(keys)), key=lambda i: (digests[i], keys[i], i))
    of = np.empty(len(keys), dtype=np.intp)
    of[order] = np.arange(len(keys)) * parts // max(len(keys), 1)
    return of


def reuse_bias(
    uses: int,
    *,
    level: float = 0.025,
    parts: int = 2,
    settings: int = 3,
    num_repeats: int = 4000,
    seed: int = 0,
) -> tuple[float, float]:
    """Moves of the alias, and how much too good the champion's published score looks, in its own deviations.

    By simulation of ``uses`` decisions between equal generators, whose scores on the parts differ by their images
    alone: what the test split's repeated use does where nothing truly gets better.
    """
    from scipy import stats

    rng = np.random.default_rng(seed)
    critical = float(stats.norm.isf(level)) * np.sqrt(2 * parts)  # a part's deviation is sqrt(parts)
    champion = rng.normal(size=(num_repeats, parts)) * np.sqrt(parts)
    moves = np.zeros(num_repeats)
    for turn in range(min(uses, 1000)):
        found = rng.normal(size=(num_repeats, settings, parts)) * np.sqrt(parts)
        part = turn % parts
        ranked = (
            found.sum(axis=2) - found[:, :, part] if parts > 1 else rng.normal(size=(num_repeats, settings))
        )
        best = found[np.arange(num_repeats), ranked.argmax(axis=1)]
        better = best[:, part] - champion[:, part] > critical
        champion[better] = best[better]
        moves += better
    return float(moves.mean()), float(champion.mean(axis=1).mean())
