"""What a score needs to exist at all, told from counts and sizes, before an image is opened or a network trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from d2n.scores.ssim import SMALLEST_MS_SSIM_PX, SMALLEST_SSIM_PX

NEIGHBOURS = 5  # k of precision, recall, density and coverage: more images than that are needed
_PIXELS = frozenset({"ssim", "ms_ssim", "diversity"})
_PARTS: Mapping[str, tuple[str, ...]] = {
    "prd": ("prd/f8", "prd/f1_8"),
    "prdc": ("precision", "recall", "density", "coverage"),
}
_BY_NEIGHBOURS = frozenset({"prdc", *_PARTS["prdc"]})


@dataclass(frozen=True)
class Given:
    """What an evaluation has to score with."""

    num_images: int  # a side
    side_px: int  # of the images that are scored
    has_pairs: bool  # outputs with their aligned targets
    extractor: str
    num_clusters: int


def least_images(name: str, num_clusters: int) -> int:
    """How many images a side a score is defined from."""
    if name == "prd":
        return max(2, -(-num_clusters // 2))  # both sides together hold a point for each cluster
    return 3 if name == "kid" else NEIGHBOURS + 1 if name in _BY_NEIGHBOURS else 2


def unmet_need(name: str, given: Given) -> str:
    """Why a score can never be had of such images, whatever the generator does; "" where it can.

    How many images there are is least_images' matter.
    """
    if name in ("ssim", "ms_ssim") and not given.has_pairs:
        return "it compares outputs with their aligned targets, and there are no pairs"
    smallest = {"ssim": SMALLEST_SSIM_PX, "ms_ssim": SMALLEST_MS_SSIM_PX, "diversity": SMALLEST_MS_SSIM_PX}
    if given.side_px < smallest.get(name, 0):
        return f"it needs images of at least {smallest[name]} px a side, and these have {given.side_px}"
    if name == "is" and given.extractor.removeprefix("random-") != "inception":
        return (
            f"it needs class probabilities, which {given.extractor} has none of; the extractor inception has"
        )
    return ""


def logged_names(name: str, space: str) -> tuple[str, ...]:
    """The names that a score's values are logged under; ``space`` is the suffix of the extractor's, as ``.toy``."""
    return tuple(part if part in _PIXELS else f"{part}{space}" for part in _PARTS.get(name, (name,)))
