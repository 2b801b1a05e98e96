"""Every score of one generator at once, with its uncertainty, its protocol and its warnings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from d2n.config import nearest
from d2n.core import Score, ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores import SCORES
from d2n.scores.arrays import Array, as_array, feature_array, feature_pair
from d2n.scores.frechet import frechet_from_features
from d2n.scores.inception_score import inception_score
from d2n.scores.kid import kid, kid_standard_error
from d2n.scores.neighbours import precision_recall_density_coverage
from d2n.scores.prd import PrdCurve, prd
from d2n.scores.protocol import check_same_protocol, score_name
from d2n.scores.ssim import diversity, ms_ssim, ssim
from d2n.scores.uncertainty import frechet_floor, frechet_interval

__all__ = ["Evaluation", "check_same_protocol", "evaluate", "score_name"]

logger = logging.getLogger(__name__)

_NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
_BYTES = 255.0
_FEW_PRD_IMAGES = 10  # a cluster, on average and a side


@dataclass(frozen=True)
class Evaluation:
    """The scores in the order asked for, the PRD curve if asked for, and what to beware of."""

    scores: tuple[Score, ...]
    prd: PrdCurve | None
    warnings: tuple[str, ...]


def evaluate(
    real: Any,
    fake: Any,
    names: Sequence[str],
    protocol: ScoreProtocol,
    *,
    seed: int = 0,
    num_clusters: int = 20,
    num_bootstrap: int = 200,
    k: int = 5,
    reference_pool: Any = None,
    real_images: Any = None,
    fake_images: Any = None,
    paired_images: tuple[Any, Any] | None = None,
    probabilities: Any = None,
) -> Evaluation:
    """The scores called ``names`` (see scores.SCORES) of (N, D) fake against (N, D) real features.

    ``reference_pool`` (M, D), further features of the real distribution with the real ones among them, lets the
    FID's floor be measured at the same N from M >= 2N; without it the real ones alone are split, and the floor
    at N is extrapolated. ``fake_images`` (N, H, W, 3) uint8 are for diversity,
    ``paired_images`` = (fakes, their aligned targets) for ssim and ms_ssim, ``probabilities`` (N, K) for is.

    Unequal sizes are subsampled with the seed to the smaller one, and the warnings say so. ``num_bootstrap`` 0
    leaves out the FID's interval. ScoreError for unknown names, absent inputs, protocol.num_images other than N
    and whatever the scores themselves refuse.
    """
    _check_names(names)
    x, y = feature_pair(real, fake)
    warnings: list[str] = []
    x, y = _equal(x, y, seed, warnings)
    if protocol.num_images != len(x):
        raise ScoreError(
            f"the protocol says {protocol.num_images} images and {len(x)} a side were given, expected the same"
        )
    if bool(np.all(y == y[0])):
        warnings.append(
            f"collapse: all {len(y)} fake images give the same features; the generator ignores its input"
        )
    pool = x if reference_pool is None else feature_array(reference_pool, "reference pool")
    inputs = _Inputs(
        x,
        y,
        pool,
        protocol,
        seed,
        num_clusters,
        num_bootstrap,
        k,
        real_images,
        fake_images,
        paired_images,
        probabilities,
        warnings,
    )
    found: dict[str, Score] = {}
    for name in names:
        for score in _COMPUTE[name](inputs):
            found[score.name] = score
    return Evaluation(tuple(found.values()), inputs.curve, tuple(dict.fromkeys(warnings)))


@dataclass
class _Inputs:
    real: Array
    fake: Array
    pool: Array
    protocol: ScoreProtocol
    seed: int
    num_clusters: int
    num_bootstrap: int
    k: int
    real_images: Any
    fake_images: Any
    paired_images: tuple[Any, Any] | None
    probabilities: Any
    warnings: list[str]
    curve: PrdCurve | None = field(default=None)

    def score(self, base: str, value: float, **known: Any) -> Score:
        """A score in this feature space."""
        return Score(score_name(base, self.protocol), value, self.protocol, **known)


def _fid(inputs: _Inputs) -> list[Score]:
    value = frechet_from_features(inputs.real, inputs.fake)
    interval = None
    if inputs.num_bootstrap:
        interval = frechet_interval(inputs.real, inputs.fake, value, inputs.num_bootstrap, inputs.seed)
    floor = _floor(inputs, value)
    return [inputs.score("fid", value, interval=interval, floor=floor)]


def _floor(inputs: _Inputs, value: float) -> float | None:
    n = len(inputs.real)
    if len(inputs.pool) < 4:
        inputs.warnings.append(f"no FID floor: {len(inputs.pool)} real images have no two halves of 2")
        return None
    floor = frechet_floor(inputs.pool, n, seed=inputs.seed)
    if floor.extrapolated:
        inputs.warnings.append(
            f"the FID floor at {n} images a side is extrapolated from halves of {floor.num_images}: measuring it "
            f"needs {2 * n} real images"
        )
    if floor.value > value / 2:
        inputs.warnings.append(
            f"FID is mostly floor: {value:.4g}, and real against real gives {floor.value:.4g} at {n} images a "
            "side; rely on KID or add images"
        )
    return floor.value


def _kid(inputs: _Inputs) -> list[Score]:
    if len(inputs.real) < 3:
        raise ScoreError(f"KID with its deviation from {len(inputs.real)} images a side, expected at least 3")
    value, _ = kid(inputs.real, inputs.fake, seed=inputs.seed)
    error = kid_standard_error(inputs.real, inputs.fake)
    margin = _NORMAL_95 * error
    return [inputs.score("kid", value, std=error, interval=(value - margin, value + margin))]


def _prd(inputs: _Inputs) -> list[Score]:
    n = len(inputs.real)
    if n < _FEW_PRD_IMAGES * inputs.num_clusters:
        inputs.warnings.append(
            f"PRD puts {n} images a side into {inputs.num_clusters} clusters: fewer than {_FEW_PRD_IMAGES} each on "
            "average, so equal distributions too stay below 1"
        )
    curve = prd(inputs.real, inputs.fake, inputs.num_clusters, seed=inputs.seed, method="fast")
    inputs.curve = curve
    return [
        inputs.score(base, curve.f_beta(beta), std=curve.f_beta_std(beta))
        for base, beta in (("prd/f8", 8.0), ("prd/f1_8", 1 / 8))
    ]


def _prdc(*wanted: str) -> Callable[[_Inputs], list[Score]]:
    def compute(inputs: _Inputs) -> list[Score]:
        found = precision_recall_density_coverage(inputs.real, inputs.fake, inputs.k)
        return [inputs.score(name, getattr(found, name)) for name in wanted]

    return compute


def _paired(
    name: str, function: Callable[[Any, Any, float], float | Array]
) -> Callable[[_Inputs], list[Score]]:
    def compute(inputs: _Inputs) -> list[Score]:
        if inputs.paired_images is None:
            raise ScoreError(
                f"{name} compares outputs with aligned targets, and none were given: leave it out"
            )
        made, target = (_channels_first(images) for images in inputs.paired_images)
        if made.shape != target.shape or made.shape[0] == 0:
            raise ScoreError(
                f"{name} of images {made.shape} and targets {target.shape}, expected the same shape"
            )
        # One image at a time: a batch in float64 with its five moments would not fit for large sets.
        values = np.array(
            [np.ravel(function(a[None], b[None], _BYTES))[0] for a, b in zip(made, target, strict=True)]
        )
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        return [Score(name, float(values.mean()), _pixel_protocol(inputs.protocol, made), std=std)]

    return compute


def _diversity(inputs: _Inputs) -> list[Score]:
    if inputs.fake_images is None:
        raise ScoreError("diversity compares outputs with each other, and no images were given: leave it out")
    images = _channels_first(inputs.fake_images)
    value, error = diversity(images, _BYTES, seed=inputs.seed)
    return [Score("diversity", value, _pixel_protocol(inputs.protocol, images), std=error)]


def _inception_score(inputs: _Inputs) -> list[Score]:
    if inputs.probabilities is None:
        raise ScoreError("is needs class probabilities, and none were given: use the extractor inception")
    splits = 10 if len(inputs.probabilities) >= 500 else 1
    value, std = inception_score(inputs.probabilities, splits)
    return [inputs.score("is", value, std=std if splits > 1 else None)]


_COMPUTE: Mapping[str, Callable[[_Inputs], list[Score]]] = {
    "fid": _fid,
    "kid": _kid,
    "prd": _prd,
    "prdc": _prdc("precision", "recall", "density", "coverage"),
    "precision": _prdc("precision"),
    "recall": _prdc("recall"),
    "density": _prdc("density"),
    "coverage": _prdc("coverage"),
    "ssim": _paired("ssim", ssim),
    "ms_ssim": _paired("ms_ssim", ms_ssim),
    "diversity": _diversity,
    "is": _inception_score,
}


def _check_names(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in SCORES]
    if unknown or not names:
        hint = nearest(unknown[0], SCORES) if unknown else ""
        raise ScoreError(f"scores asked for are {list(names)}, expected some of {', '.join(SCORES)}{hint}")


def _equal(x: Array, y: Array, seed: int, warnings: list[str]) -> tuple[Array, Array]:
    n = min(len(x), len(y))
    if len(x) != len(y):
        warnings.append(
            f"{len(x)} real and {len(y)} fake images: {n} a side are scored, drawn with seed {seed}"
        )
    return _subsample(x, n, seed), _subsample(y, n, seed)


def _subsample(x: Array, n: int, seed: int) -> Array:
    return x if len(x) == n else x[np.sort(np.random.default_rng(seed).choice(len(x), n, replace=False))]


def _channels_first(images: Any) -> npt.NDArray[Any]:
    """(N, H, W, 3) to (N, 3, H, W)."""
    x = as_array(images)
    if x.ndim != 4 or x.shape[3] != 3 or x.dtype != np.uint8:
        raise ScoreError(f"images of shape {x.shape} and type {x.dtype}, expected (N, H, W, 3) uint8")
    return x.transpose(0, 3, 1, 2)


def _pixel_protocol(protocol: ScoreProtocol, images: npt.NDArray[Any]) -> ScoreProtocol:
    """Scores on pixels depend on no extractor, but on the size and number of images."""
    n, _, height, width = images.shape
    return dataclasses.replace(
        protocol, extractor="pixels", weights_sha256="", resize=f"none@{height}x{width}", num_images=n
    )
