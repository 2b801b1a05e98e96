"""What a data set is: one row that answers all that the rest of the house asks about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from d2n.config import nearest
from d2n.datasets.tuples import RetrievalSet, scene_tuples
from d2n.errors import ConfigError

if TYPE_CHECKING:
    from d2n.datasets.ground_truth import GroundTruth
    from d2n.datasets.index import Index
    from d2n.datasets.listing import Listing

SHARED_KNOBS: Mapping[str, Any] = {
    "val_share": 0.1,  # of the scenes, or of the images where scenes are unknown
    "test_share": 0.1,
    "split_seed": 0,
}


@dataclass(frozen=True, kw_only=True)
class SetKind:
    """A data set, or a layout that many have. Its file is ``datasets/<name>.py``, its line is in ``SETS``."""

    name: str
    title: str  # what it is, for people
    ask_at: str  # where it is downloaded or asked for, or the command that makes it
    listing: Callable[[Path, Mapping[str, Any]], Listing] | None = None  # None: made, not read
    make: Callable[..., Index] | None = None  # (root, seed, scale, workers, progress, rebuild=) of a made one
    knobs: Mapping[str, Any] = field(default_factory=dict)  # the rule's own, with the thesis's values
    thesis: Mapping[str, int] = field(default_factory=dict)  # as Index.counts or "day" / "night" name them
    load: Literal["crop", "resize"] = "crop"  # how dataset.load: auto takes a training image
    paired: bool | None = False  # whether day and night are aligned; None: as the folder has it
    evaluation: bool = False  # a retrieval benchmark, all of split test: nothing to train on
    turn: bool = True  # by EXIF; published boxes are in unturned pixels, and published code turns nothing
    ground_truths: Callable[[Index, str], list[GroundTruth]] | None = None  # of a split; None: no benchmark
    ground_truth_file: str = ""  # below the root, with {split}: says what answers what, else the scenes do
    tuples: Callable[[Index], RetrievalSet] = scene_tuples  # what retrieval training reads
    true_nights: Callable[[Index], Mapping[Path, Path]] | None = (
        None  # of each image to train on; None: not known
    )

    def resolve(
        self, rule: Mapping[str, Any] | None, base: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The whole rule: what is given over ``base`` (or the defaults); unknown knobs are refused."""
        known = {**({} if self.evaluation else SHARED_KNOBS), **self.knobs}
        resolved = {**known, **(base or {})}
        for key, value in (rule or {}).items():
            if key not in known:
                raise ConfigError(
                    f"dataset.rule.{key}: no such knob of this set{nearest(key, known)} (known: {', '.join(known)})"
                )
            resolved[key] = _checked(key, value, known[key])
        return resolved

    def has_ground_truth_file(self, root: Path, split: str) -> bool:
        """Whether a file on disk, not the scenes of the index, says what answers what."""
        if self.evaluation:
            return split == "test"
        return bool(self.ground_truth_file) and (root / self.ground_truth_file.format(split=split)).is_file()


def missing(key: str, kind: SetKind) -> list[str]:
    """What the row of the set called ``key`` lacks, in words; empty for a whole one."""
    lacks = [name for name in ("name", "title", "ask_at") if not getattr(kind, name).strip()]
    if kind.name and kind.name != key:
        lacks.append(f"the name it is listed under (its own is {kind.name!r})")
    if (kind.listing is None) == (kind.make is None):
        lacks.append(
            "either listing or make" if kind.listing is None else "a choice: it has listing and make"
        )
    if kind.load not in ("crop", "resize"):
        lacks.append(f"a load of crop or resize (found {kind.load!r})")
    if kind.evaluation and kind.ground_truths is None:
        lacks.append("ground_truths, which a benchmark is")
    return lacks


def _checked(key: str, value: Any, default: Any) -> Any:
    wanted = type(default)
    if isinstance(default, bool) or default is None or isinstance(default, str | list):
        fits = default is None or isinstance(value, wanted) or (wanted is list and isinstance(value, str))
        fits = fits or (wanted is str and isinstance(value, list))
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise ConfigError(
            f"dataset.rule.{key}: {value!r} is a {type(value).__name__}, expected {wanted.__name__}"
        )
    if key.endswith("_share") and not 0 <= value < 1:
        raise ConfigError(f"dataset.rule.{key}: {value} is out of range, expected a share in [0, 1)")
    return value
