"""What a score needs to exist at all, told from counts and sizes, before an image is opened or a network trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from d2n.scores.kinds import Need
from d2n.scores.rows import SCORES


@dataclass(frozen=True)
class Given:
    """What an evaluation has to score with."""

    num_images: int  # a side
    side_px: int  # of the images that are scored
    has_pairs: bool  # outputs with their aligned targets
    extractor: str
    num_clusters: int
    has_scenes: bool = False  # outputs whose scene is known
    has_day: bool = False  # the day images that outputs are made of
    has_answers: bool = False  # real nights whose place is among the outputs: by scene, or by pair
    has_siblings: bool = False  # outputs of one scene


def least_images(name: str, num_clusters: int) -> int:
    """How many images a side a score is defined from."""
    return SCORES[name].least_images(num_clusters)


def unmet_need(name: str, given: Given) -> str:
    """Why a score can never be had of such images, whatever the generator does; "" where it can.

    How many images there are is least_images' matter.
    """
    kind = SCORES[name]
    if "pairs" in kind.needs and not given.has_pairs:
        return "it compares outputs with their aligned targets, and there are no pairs"
    if "scenes" in kind.needs and not given.has_scenes:
        return "it tells scenes apart, and the images' scenes are not known"
    if "day" in kind.needs and not given.has_day:
        return "it compares outputs with the day images they were made of, and these are not given"
    if "answers" in kind.needs and not given.has_answers:
        return "it looks for the place of real nights among the outputs, and no scene or pair tells it"
    if "siblings" in kind.needs and not given.has_siblings:
        return "it looks for other outputs of the same place, and no two day images have one scene"
    if given.side_px < kind.smallest_px:
        return f"it needs images of at least {kind.smallest_px} px a side, and these have {given.side_px}"
    if "probabilities" in kind.needs and given.extractor.removeprefix("random-") != "inception":
        return (
            f"it needs class probabilities, which {given.extractor} has none of; the extractor inception has"
        )
    return ""


def logged_names(name: str, space: str) -> tuple[str, ...]:
    """The names that a score's values are logged under; ``space`` is the suffix of the extractor's, as ``.toy``."""
    return SCORES[name].logged_names(space)


def wanted(names: Sequence[str], need: Need) -> bool:
    """Whether any of these scores needs that."""
    return any(need in SCORES[name].needs for name in names)
