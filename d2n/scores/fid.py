"""Fréchet Inception distance with its interval and its floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from d2n.scores.kinds import Inputs, ScoreKind

if TYPE_CHECKING:
    from d2n.core import Score


def compute(inputs: Inputs) -> list[Score]:
    """One score, with a bootstrap interval and the distance of real against real at the same N."""
    from d2n.scores.frechet import frechet_from_features
    from d2n.scores.uncertainty import frechet_interval

    value = frechet_from_features(inputs.real, inputs.fake)
    interval, settings = None, inputs.settings
    if settings.num_bootstrap:
        interval = frechet_interval(inputs.real, inputs.fake, value, settings.num_bootstrap, settings.seed)
    return [inputs.score("fid", value, interval=interval, floor=_floor(inputs, value))]


KIND = ScoreKind(
    name="fid",
    meaning="Fréchet Inception distance",
    direction="minimize",
    compute=compute,
    needs=("features", "pool"),
    columns={"fid": "fid"},
    tells="distance of the two sets as Gaussians; blind to which image belongs to which",
)


def _floor(inputs: Inputs, value: float) -> float | None:
    from d2n.scores.uncertainty import frechet_floor

    n = len(inputs.real)
    if len(inputs.pool) < 4:
        inputs.warnings.append(f"no FID floor: {len(inputs.pool)} real images have no two halves of 2")
        return None
    floor = frechet_floor(inputs.pool, n, seed=inputs.settings.seed)
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
