"""The knobs of a promotion, and their file: ``experiments/promotion.yaml``, found by name like any experiment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MaxLen

from d2n import shipped
from d2n.config.extending import read_extended
from d2n.config.overriding import parse_override, set_knob
from d2n.config.types import STRICT, Name
from d2n.config.validation import validated
from d2n.errors import ConfigError
from d2n.files.reading import brief

PROMOTION = "promotion"  # the block, and the name of the file that comes with d2n
Texts = Annotated[tuple[str, ...], MaxLen(100)]


@dataclass(frozen=True, kw_only=True)
class PromotionConfig:
    """What decides whether another generator becomes the champion; docs/promotion.md says why."""

    __pydantic_config__ = STRICT
    source: Name = "day"
    """The domain that the generators translate; other directions than day to night are registered by their own name."""
    target: Name = "night"
    """The domain that they translate it to."""
    metric: Texts = ()
    """Scores that decide, such as fid or map/toycity/night; several are weighted: [fid=2, kid]. []: the runs' first."""
    constraints: Texts = ()
    """Bounds that a candidate must keep, such as "map/toycity/day >= 80"; one whose value is not known is left out."""
    settings: Annotated[int, Ge(1), Le(1000)] = 3
    """The best settings by validation that are trained again and scored on test images."""
    seeds: Annotated[int, Ge(1), Le(100)] = 3
    """Generators of each setting, and of the champion's; those that are there count."""
    retrain: bool = True
    """Train the missing seeds; false: take what is there, and compare one seed without the noise of seeds."""
    level: Annotated[float, Gt(0), Lt(0.5)] = 0.025
    """How often, at most, an equal candidate may take the champion's place (one-sided)."""
    min_gain: Annotated[float, Ge(0), Le(1e12)] = 0.0
    """What a new champion must gain besides, in the score's own units."""
    accept_noise: bool = False
    """Let any gain over min_gain promote, within the noise too; the decision records it."""
    resamples: Annotated[int, Ge(1000), Le(1_000_000)] = 1000
    """Resamples of the test images."""
    parts: Annotated[int, Ge(2), Le(100)] = 2
    """Parts of the test images: one is kept for the comparison with the champion, the others rank; they take turns."""
    min_images: Annotated[int, Ge(8), Le(100_000_000)] = 40
    """Images a part has at least; in a smaller split validation alone ranks, and all its images compare."""
    refuse_alarms: Texts = ("inversion", "collapse")
    """Alarms that refuse a generator when they stand at its checkpoint."""


def load_promotion(path: str | Path = PROMOTION, overrides: Iterable[str] = ()) -> PromotionConfig:
    """The ``promotion:`` block of a YAML, with ``knob=value`` laid over it (``promotion.knob=value`` means the same).

    ``path`` may be a name, see ``d2n.shipped.find``. ConfigError in one line for whatever is wrong.
    """
    file = shipped.find("experiments", path)
    values = read_extended("experiments", file)
    block = values.get(PROMOTION)
    if not isinstance(block, dict):
        found = "no such block" if block is None else brief(block)
        raise ConfigError(f"{file}: {PROMOTION} is {found}, expected a mapping of knobs to values")
    stray = sorted(map(str, values.keys() - {PROMOTION}))
    if stray:
        raise ConfigError(
            f"{file}: unknown knob {brief(stray[0])}: a promotion's file holds {PROMOTION} alone"
        )
    return promotion_config(block, overrides, str(file))


def promotion_config(
    values: dict[str, Any], overrides: Iterable[str] = (), source: str = PROMOTION
) -> PromotionConfig:
    """A promotion's knobs from values; see load_promotion."""
    block = dict(values)
    for knob, value in map(parse_override, overrides):
        set_knob(block, knob.removeprefix(f"{PROMOTION}."), value)
    return validated(PromotionConfig, block, source)
