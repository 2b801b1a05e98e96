"""Every score by its name, and what follows from all of them."""

from collections.abc import Mapping

from d2n.scores import (
    cmmd,
    edges,
    fid,
    fid_infinity,
    inception_score,
    kid,
    luminance,
    neighbours,
    places,
    prd,
    ssim,
    structure,
)
from d2n.scores.kinds import Direction, ScoreKind

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
    "place/night_to_fake": places.NIGHT_TO_FAKE,
    "place/fake_to_day": places.FAKE_TO_DAY,
    "place/fake_to_fake": places.FAKE_TO_FAKE,
    "fid_infinity": fid_infinity.KIND,
    "cmmd": cmmd.KIND,
    "structure": structure.KIND,
    "edges": edges.KIND,
    "luminance": luminance.KIND,
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
