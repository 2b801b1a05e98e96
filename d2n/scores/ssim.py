"""Structural similarity, single and multi-scale, and the diversity of outputs by it.

Wang et al., 2004, "Image Quality Assessment"; Wang et al., 2003, "Multi-scale structural similarity"; thesis
equations 4.2 and 4.3. Windows lie inside the image: nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array
from d2n.scores.kinds import BYTES, Inputs, ScoreKind, channels_first

if TYPE_CHECKING:
    from torch import Tensor

    from d2n.core import Score

_K1, _K2 = 0.01, 0.03
_UNIFORM_PX, _GAUSSIAN_PX, _SIGMA_PX = 7, 11, 1.5
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales; Wang et al., 2003
SMALLEST_SSIM_PX = _UNIFORM_PX
SMALLEST_MS_SSIM_PX = (_GAUSSIAN_PX - 1) * 2 ** (
    len(_WEIGHTS) - 1
) + 1  # 161: the coarsest scale holds a window

Window = Literal["uniform", "gaussian"]


def ssim(x: Any, y: Any, data_range: float, window: Window = "uniform") -> float | Array:
    """Mean SSIM in [-1, 1] of (H, W, C) images, or (B,) values of (B, C, H, W) batches.

    ``data_range`` is the difference of the largest and the smallest value a pixel can take: 255 for bytes.
    De-normalise first: on values in [-1, 1] the luminance term means something else. ``uniform`` is the
    thesis's formula: 7 x 7 windows with the N-1 covariance. ``gaussian`` is Wang's: 11 x 11, sigma 1.5, the
    population covariance. Channels are averaged. ScoreError for differing shapes, images smaller than the
    window, NaN, inf or a data_range that is not above 0.
    """
    a, b, one = _image_pair(x, y, data_range, _window_px(window))
    luminance, contrast = _terms(a, b, data_range, window)
    values: Array = (luminance * contrast).mean(dim=(1, 2, 3)).numpy()
    return float(values[0]) if one else values


def ms_ssim(x: Any, y: Any, data_range: float) -> float | Array:
    """Five-scale SSIM in [0, 1] of (H, W, C) images, or (B,) values of (B, C, H, W) batches.

    Gaussian windows; 2 x 2 average pooling between scales (an odd last row or column is averaged alone);
    weights .0448 .2856 .3001 .2363 .1333. Negative mean contrast terms count as 0. Each channel's product is
    taken, then the channels' mean. Sides must be over 160 px, so that the coarsest scale holds a window.
    """
    import torch
    from torch.nn import functional

    a, b, one = _image_pair(x, y, data_range, SMALLEST_MS_SSIM_PX)
    product = torch.ones(a.shape[:2], dtype=torch.float64)
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            a, b = (functional.avg_pool2d(image, 2, ceil_mode=True) for image in (a, b))
        luminance, contrast = _terms(a, b, data_range, "gaussian")
        last = scale == len(_WEIGHTS) - 1
        term = (luminance * contrast if last else contrast).mean(dim=(2, 3))  # (B, C)
        product *= term.clamp(min=0) ** weight
    values: Array = product.mean(dim=1).numpy()
    return float(values[0]) if one else values


def diversity(images: Any, data_range: float, num_pairs: int = 100, seed: int = 0) -> tuple[float, float]:
    """Mean MS-SSIM between random pairs of different outputs (N, C, H, W), and its standard error over the pairs.

    Near 1 the outputs are all alike: collapse (Odena et al., 2017). Lower is more diverse; compare with the
    real images' value. Pairs are drawn with the seed, with replacement.
    """
    x = as_array(images)
    if x.ndim != 4 or len(x) < 2 or num_pairs < 2:
        raise ScoreError(
            f"{num_pairs} pairs of images {x.shape}, expected at least 2 of (N, C, H, W), N >= 2"
        )
    rng = np.random.default_rng(seed)
    first = rng.integers(len(x), size=num_pairs)
    second = (first + rng.integers(1, len(x), size=num_pairs)) % len(x)
    values = np.array(
        [float(np.ravel(ms_ssim(x[[i]], x[[j]], data_range))[0]) for i, j in zip(first, second, strict=True)]
    )
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(num_pairs))


def compute_paired(
    name: str, function: Callable[[Any, Any, float], float | Array], inputs: Inputs
) -> list[Score]:
    """The mean over the pairs, and the deviation from pair to pair."""
    if inputs.beside.paired_images is None:
        raise ScoreError(f"{name} compares outputs with aligned targets, and none were given: leave it out")
    made, target = (channels_first(images) for images in inputs.beside.paired_images)
    if made.shape != target.shape or made.shape[0] == 0:
        raise ScoreError(f"{name} of images {made.shape} and targets {target.shape}, expected the same shape")
    # One image at a time: a batch in float64 with its five moments would not fit for large sets.
    values = np.array(
        [np.ravel(function(a[None], b[None], BYTES))[0] for a, b in zip(made, target, strict=True)]
    )
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return [inputs.pixel_score(name, float(values.mean()), made, std=std)]


def compute_diversity(inputs: Inputs) -> list[Score]:
    """Of the outputs among themselves, with its standard error."""
    if inputs.beside.fake_images is None:
        raise ScoreError("diversity compares outputs with each other, and no images were given: leave it out")
    images = channels_first(inputs.beside.fake_images)
    value, error = diversity(images, BYTES, seed=inputs.settings.seed)
    return [inputs.pixel_score("diversity", value, images, std=error)]


def _paired_kind(
    name: str, meaning: str, function: Callable[[Any, Any, float], float | Array], smallest_px: int
) -> ScoreKind:
    return ScoreKind(
        name=name,
        meaning=meaning,
        direction="maximize",
        compute=partial(compute_paired, name, function),
        needs=("pairs",),
        smallest_px=smallest_px,
        tells="likeness to the one true night image",
        of_paired="yes, on aligned pairs",
        of_unpaired="no: it has no target image",
    )


SSIM = _paired_kind("ssim", "structural similarity to the aligned target", ssim, SMALLEST_SSIM_PX)
MS_SSIM = _paired_kind(
    "ms_ssim", "multi-scale structural similarity to the aligned target", ms_ssim, SMALLEST_MS_SSIM_PX
)
DIVERSITY = ScoreKind(
    name="diversity",
    meaning="mean MS-SSIM between random pairs of outputs",
    direction="minimize",
    compute=compute_diversity,
    needs=("images",),
    smallest_px=SMALLEST_MS_SSIM_PX,
    tells="MS-SSIM between outputs; near 1 means collapse",
)


def _terms(a: Tensor, b: Tensor, data_range: float, window: Window) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps (B, C, h, w) of thesis equation 4.2."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (
        _filtered(image, window) for image in (a, b, a * a, b * b, a * b)
    )
    count = _UNIFORM_PX**2
    unbias = count / (count - 1) if window == "uniform" else 1.0
    var_a, var_b = unbias * (mean_aa - mean_a**2), unbias * (mean_bb - mean_b**2)
    covariance = unbias * (mean_ab - mean_a * mean_b)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (var_a + var_b + c2)


def _filtered(image: Tensor, window: Window) -> Tensor:
    """Weighted mean under each window inside (B, C, H, W), one axis after the other."""
    import torch

    weights = _kernel(window)
    height, width = (side - len(weights) + 1 for side in image.shape[2:])
    rows = torch.zeros(*image.shape[:2], height, image.shape[3], dtype=image.dtype)
    for offset, weight in enumerate(weights):  # faster than a float64 convolution
        rows.add_(image[:, :, offset : offset + height], alpha=weight)
    both = torch.zeros(*image.shape[:2], height, width, dtype=image.dtype)
    for offset, weight in enumerate(weights):
        both.add_(rows[..., offset : offset + width], alpha=weight)
    return both


def _kernel(window: Window) -> list[float]:
    if window == "uniform":
        return [1 / _UNIFORM_PX] * _UNIFORM_PX
    offsets = np.arange(_GAUSSIAN_PX) - _GAUSSIAN_PX // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    return [float(weight) for weight in weights / weights.sum()]


def _window_px(window: str) -> int:
    sizes = {"uniform": _UNIFORM_PX, "gaussian": _GAUSSIAN_PX}
    if window not in sizes:
        raise ScoreError(f"window is {window!r}, expected uniform or gaussian")
    return sizes[window]


def _image_pair(x: Any, y: Any, data_range: float, smallest_px: int) -> tuple[Tensor, Tensor, bool]:
    """Both as (B, C, H, W) float64, and whether they were single images."""
    import torch

    a, b = as_array(x), as_array(y)
    if a.shape != b.shape or a.ndim not in (3, 4):
        raise ScoreError(
            f"images have shapes {a.shape} and {b.shape}, expected (H, W, C) or (B, C, H, W) twice"
        )
    if not (np.isfinite(data_range) and data_range > 0):
        raise ScoreError(f"data_range is {data_range}, expected the range of the pixel values, such as 255")
    one = a.ndim == 3
    a, b = (image.astype(np.float64) for image in (a, b))
    if one:
        a, b = (image.transpose(2, 0, 1)[None] for image in (a, b))
    if min(a.shape[2:]) < smallest_px or 0 in a.shape:
        raise ScoreError(
            f"images are {a.shape[2]} x {a.shape[3]} px, expected at least {smallest_px} px a side: "
            "score at a larger image size, or leave this score out"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ScoreError("images hold NaN or infinite values, expected finite pixels")
    return torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(b)), one
