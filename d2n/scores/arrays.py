"""Arrays as the scores take them: float64, finite, of the expected shape; else refused with their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from d2n.errors import ScoreError

Array = npt.NDArray[np.float64]


def as_array(values: Any) -> npt.NDArray[Any]:
    """A numpy array of a numpy array, a nested sequence or a tensor (detached, brought to the CPU)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if "bfloat16" in str(values.dtype):  # numpy has no bfloat16
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def feature_array(values: Any, side: str, min_images: int = 2, constant: bool = False) -> Array:
    """(N, D) features as float64.

    ScoreError for fewer than ``min_images`` rows, a wrong shape, values that are not finite and, unless
    ``constant``, N vectors that are all the same: the extractor or the generator ignores its input.
    """
    x = as_array(values)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ScoreError(f"{side} features have shape {x.shape}, expected (N, D): one row an image")
    if len(x) < min_images:
        raise ScoreError(
            f"{side} features hold {len(x)} image(s), expected at least {min_images}: add images"
        )
    x = _finite(x, f"{side} features")
    if not constant and bool(np.all(x == x[0])):
        raise ScoreError(
            f"all {len(x)} {side} feature vectors are the same: the images, the generator's output or the "
            "extractor's weights are constant; look at a few images before scoring"
        )
    return x


def feature_pair(real: Any, fake: Any, min_images: int = 2) -> tuple[Array, Array]:
    """Real and fake features of the same dimension, each as in feature_array.

    Fakes may be all the same, as those of a collapsed generator are: every score is defined for them.
    """
    x, y = feature_array(real, "real", min_images), feature_array(fake, "fake", min_images, constant=True)
    if x.shape[1] != y.shape[1]:
        raise ScoreError(
            f"real features have {x.shape[1]} dimensions and fake features {y.shape[1]}, expected the same: "
            "extract both with one extractor"
        )
    return x, y


def _finite(x: npt.NDArray[Any], what: str) -> Array:
    if x.dtype.kind not in "fiub":
        raise ScoreError(f"{what} are of type {x.dtype}, expected numbers")
    x = np.ascontiguousarray(x, dtype=np.float64)
    bad = int(x.size - np.isfinite(x).sum())
    if bad:
        row = int(np.argwhere(~np.isfinite(x))[0][0])
        raise ScoreError(
            f"{what} hold {bad} NaN or infinite value(s), first in row {row}, expected finite numbers"
        )
    return x
