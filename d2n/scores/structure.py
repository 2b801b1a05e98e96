"""Structure distance: does the fake night keep the day's layout, whatever its colours?

Tumanyan et al., 2022, "Splicing ViT Features for Semantic Appearance Transfer", equations 2 and 3: structure is the
self-similarity of deep features, S_ij = cos(f_i, f_j) over places i, j of one image, and two images differ by the
Frobenius norm of S - S'. Theirs are keys of a vision transformer; here the extractor's last maps (SAMScore, Li et al.,
2023, takes a segmentation network's in the same way). The norm is divided by the number of places, so that it is the
root mean square difference of two cosines, in [0, 2], at every size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array
from d2n.scores.kinds import Inputs, ScoreKind
from d2n.scores.resampling import mean_interval

if TYPE_CHECKING:
    from d2n.core import Score


def self_similarity(maps: Any) -> Array:
    """(B, C, h, w) features to (B, hw, hw) cosines between the places of each image; 0 with a zero vector."""
    x = as_array(maps).astype(np.float64)
    if x.ndim != 4 or x.shape[2] * x.shape[3] < 2:
        raise ScoreError(
            f"structure of maps {x.shape}, expected (B, C, h, w) with at least two places: take a larger "
            "evaluation.resize_px"
        )
    flat = x.reshape(*x.shape[:2], -1)  # (B, C, L)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    similarity: Array = np.einsum("bcl,bcm->blm", unit, unit, optimize=True)
    return similarity


def structure_distances(day_maps: Any, fake_maps: Any) -> Array:
    """(B,) root mean square differences of the self-similarities of (B, C, h, w) maps; 0: the same layout."""
    day, fake = self_similarity(day_maps), self_similarity(fake_maps)
    if day.shape != fake.shape:
        raise ScoreError(
            f"structure of {day.shape} and {fake.shape} self-similarities, expected the same shape"
        )
    distances: Array = np.sqrt(((day - fake) ** 2).mean(axis=(1, 2)))
    return distances


def compute(inputs: Inputs) -> list[Score]:
    """The mean over the day images, its deviation from image to image, and a bootstrap interval over images."""
    maps, settings = inputs.beside.maps, inputs.settings
    if maps is None:
        raise ScoreError(
            "structure compares maps of day images with those of their outputs, and none were given"
        )
    found = [structure_distances(day, fake) for day, fake in maps()]
    values = np.concatenate(found) if found else np.empty(0)
    if len(values) < 2:
        raise ScoreError(f"structure of {len(values)} images, expected at least 2: add images")
    interval = mean_interval(values, settings.num_bootstrap, settings.seed)
    return [
        inputs.asked_score(
            "structure", float(values.mean()), std=float(values.std(ddof=1)), interval=interval
        )
    ]


KIND = ScoreKind(
    name="structure",
    meaning="difference of the self-similarity of features between day and its night",
    direction="minimize",
    compute=compute,
    needs=("day", "maps"),
    tells="whether the layout is kept; the untranslated day has 0",
)
