"""Scores of generated images and of ranked lists: pure functions on arrays, and feature networks."""

from collections.abc import Mapping

from d2n.scores import fid, inception_score, kid, neighbours, prd, ssim
from d2n.scores.kinds import Direction, ScoreKind

__all__ = ["SCORES", "Direction", "ScoreKind", "columns", "directed_names", "direction_of", "leading"]

# Every name that evaluate.evaluate computes, in the literature's words. "prd" and "prdc" give several scores.
SCORES: Mapping[str, ScoreKind] = {
    "fid": fid.KIND,
    "kid": kid.KIND,
    "prd": prd.KIND,
    "prdc": neighbours.PRDC_KIND,
    "precision": neighbours.PRECISION,
    "recall": neighbours.RECALL,
    "density": neighbours.DENSITY,
    "coverage": neighbours.COVERAGE,
    "ssim": ssim.SSIM,
    "ms_ssim": ssim.MS_SSIM,
    "diversity": ssim.DIVERSITY,
    "is": inception_score.KIND,
}


def direction_of(score_name: str) -> Direction | None:
    """Which way a score is better, by its base name (``fid.squeezenet1_0`` has the base ``fid``); None: not known."""
    base = score_name.split(".")[0]
    if base.startswith("map/"):
        return "maximize"
    return next((kind.direction for kind in SCORES.values() if base in kind.bases), None)


def directed_names() -> list[str]:
    """The base names of all scores, sorted: each has a direction."""
    return sorted({base for kind in SCORES.values() for base in kind.bases})


def columns() -> dict[str, str]:
    """The scores that the report's tables show, by base name, with their columns; the first one leads."""
    return {base: column for kind in SCORES.values() for base, column in kind.columns.items()}


def leading() -> str:
    """The base name of the report's first column: FID."""
    return next(iter(columns()))
