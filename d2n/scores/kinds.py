"""What a score is: one row that answers all that the rest of the house asks about it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from d2n.core import Score, ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array
from d2n.scores.protocol import score_name

if TYPE_CHECKING:
    import numpy.typing as npt

    from d2n.scores.prd import PrdCurve

Direction = Literal["minimize", "maximize"]
Need = Literal[
    "features", "pool", "images", "pairs", "probabilities", "scenes", "day", "maps", "answers", "siblings"
]
"""Features of both sides; further real features (of use, not a must); outputs and real images; outputs with their
aligned targets; class probabilities of the outputs; the scene of each output; the day images that the outputs were
made of, and their features; the extractor's maps of these and of the outputs; real nights whose place is among the
outputs; outputs of one place."""
BYTES = 255.0  # the range of the pixels that are scored


@dataclass(frozen=True)
class Beside:
    """What some scores take besides the features; None where there is none."""

    reference_pool: Any = None  # (M, D) further features of the real distribution, the real ones among them
    fake_images: Any = None  # (N, H, W, 3) uint8
    paired_images: tuple[Any, Any] | None = None  # (fakes, their aligned targets), each as fake_images
    probabilities: Any = None  # (N, K)
    scenes: Sequence[str] | None = None  # of each fake image, "" where it is not known
    night_scenes: Sequence[str] | None = None  # of each real image
    real_images: Any = None  # (N, H, W, 3) uint8
    day_images: Any = None  # (N, H, W, 3) uint8: what the fakes were made of, in their order
    day_features: Any = None  # (N, D), of these
    paired_features: tuple[Any, Any] | None = None  # of paired_images: (M, D) each
    paired_days: Any = None  # (M, H, W, 3) uint8: what the paired fakes were made of
    maps: Callable[[], Iterable[tuple[Any, Any]]] | None = None  # batches of (B, C, h, w): day, and its fake
    queries_digest: str = ""  # of the day images, the scenes and the pairs, as a protocol holds it


@dataclass(frozen=True)
class Settings:
    """The numbers that scores are computed with."""

    seed: int = 0
    num_clusters: int = 20  # of PRD's histograms
    num_bootstrap: int = 200  # resamples of FID's interval; 0 leaves it out
    k: int = 5  # neighbours of precision, recall, density and coverage


@dataclass
class Inputs:
    """What a row's ``compute`` is handed; it may add warnings and leave the PRD curve here."""

    real: Array  # (N, D)
    fake: Array  # (N, D)
    pool: Array  # (M, D), the real ones alone where no more are known
    protocol: ScoreProtocol
    beside: Beside
    settings: Settings
    warnings: list[str] = field(default_factory=list)
    curve: PrdCurve | None = None

    def score(self, base: str, value: float, **known: Any) -> Score:
        """A score in this feature space."""
        return Score(score_name(base, self.protocol), value, self.protocol, **known)

    def asked_score(self, base: str, value: float, **known: Any) -> Score:
        """A score in this feature space that depends on more than the reference: on queries, or on the day images."""
        protocol = dataclasses.replace(self.protocol, queries_digest=self._asked())
        return Score(score_name(base, self.protocol), value, protocol, **known)

    def pixel_score(
        self, base: str, value: float, images: npt.NDArray[Any], *, asks: bool = False, **known: Any
    ) -> Score:
        """A score of (N, C, H, W) pixels: it depends on no extractor, but on the size and number of images."""
        n, _, height, width = images.shape
        resize = f"none@{height}x{width}"
        protocol = dataclasses.replace(
            self.protocol, extractor="pixels", weights_sha256="", resize=resize, num_images=n
        )
        if asks:
            protocol = dataclasses.replace(protocol, queries_digest=self._asked())
        return Score(base, value, protocol, **known)

    def _asked(self) -> str:
        """The digest that was given, or one of the scenes where none was."""
        given = self.beside.queries_digest or self.protocol.queries_digest
        scenes = [list(side or ()) for side in (self.beside.scenes, self.beside.night_scenes)]
        return given or hashlib.sha256(json.dumps(scenes).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ScoreKind:
    """A score, or a family that is computed at once. Its line is in ``SCORES``."""

    name: str
    meaning: str  # what it is, for people
    direction: Direction
    compute: Callable[[Inputs], list[Score]]
    needs: tuple[Need, ...] = ("features",)
    least: int = 2  # images a side that it is defined from
    least_by_clusters: Callable[[int], int] | None = None  # where that depends on the number of clusters
    smallest_px: int = 0  # side of the images that it is defined from
    logs: tuple[str, ...] = ()  # base names of its values; (): its own name
    columns: Mapping[str, str] = field(default_factory=dict)  # of the report, by base name: {"fid": "fid"}
    tells: str = ""  # what it can tell of a translator; "": told by the members of its family
    of_paired: str = "yes"  # whether it tells something of a paired translator
    of_unpaired: str = "yes"

    @property
    def asks(self) -> bool:
        """Whether its protocol holds queries or day images beside the reference."""
        return not {"day", "answers", "siblings"}.isdisjoint(self.needs)

    @property
    def bases(self) -> tuple[str, ...]:
        """The base names of its values."""
        return self.logs or (self.name,)

    def least_images(self, num_clusters: int) -> int:
        """How many images a side it is defined from."""
        return self.least if self.least_by_clusters is None else self.least_by_clusters(num_clusters)

    def logged_names(self, space: str) -> tuple[str, ...]:
        """The names that its values are logged under; ``space`` is the suffix of the extractor's, as ``.toy``."""
        spaced = not {"features", "probabilities", "maps"}.isdisjoint(self.needs)
        return tuple(f"{base}{space}" for base in self.bases) if spaced else self.bases


def missing(key: str, kind: ScoreKind) -> list[str]:
    """What the row of the score called ``key`` lacks, in words; empty for a whole one."""
    lacks = [name for name in ("name", "meaning") if not getattr(kind, name).strip()]
    if kind.name and kind.name != key:
        lacks.append(f"the name it is listed under (its own is {kind.name!r})")
    if kind.direction not in get_args(Direction):
        lacks.append(f"a direction of minimize or maximize (found {kind.direction!r})")
    unknown = sorted(set(kind.needs) - set(get_args(Need)))
    if unknown or not kind.needs:
        lacks.append(f"needs of {', '.join(get_args(Need))} (found {', '.join(unknown) or 'none'})")
    if not callable(kind.compute):
        lacks.append("compute")
    if kind.least < 2:
        lacks.append(f"a least number of images from 2 (found {kind.least})")
    if not kind.tells.strip() and len(kind.bases) == 1:
        lacks.append("tells")
    strange = sorted(set(kind.columns) - set(kind.bases))
    if strange:
        lacks.append(f"columns of its own values alone (found {', '.join(strange)})")
    return lacks


def channels_first(images: Any) -> npt.NDArray[Any]:
    """(N, H, W, 3) to (N, 3, H, W)."""
    x = as_array(images)
    if x.ndim != 4 or x.shape[3] != 3 or x.dtype != np.uint8:
        raise ScoreError(f"images of shape {x.shape} and type {x.dtype}, expected (N, H, W, 3) uint8")
    return x.transpose(0, 3, 1, 2)
