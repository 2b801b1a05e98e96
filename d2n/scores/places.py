"""Is the place still there? Mean average precision of a fixed network between real nights, fakes and day images.

A generator that invents another house by night teaches a retrieval network nothing, however dark its house is.
These scores ask that directly, with nothing trained: descriptors of the extractor, cosine similarity, and the mAP of
Philbin et al., 2007 (scores.mean_ap). Places are scenes; the image that a query was made of never counts as found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_array
from d2n.scores.kinds import Inputs, ScoreKind
from d2n.scores.mean_ap import mean_average_precision
from d2n.scores.resampling import mean_interval

if TYPE_CHECKING:
    from d2n.core import Score

_CHUNK_QUERIES = 256


@dataclass(frozen=True)
class Question:
    """What is to be found where: rows of ``database`` of the same place as each query."""

    queries: Array  # (Q, D)
    database: Array  # (N, D)
    ground_truth: Sequence[dict[str, list[int]]]


def average_precisions(question: Question) -> Array:
    """(Q,) average precisions in [0, 1] by cosine similarity, equal ones by their row; NaN without a right answer."""
    queries, database = _normalised(question.queries), _normalised(question.database)
    found = np.full(len(queries), np.nan)
    answered = np.flatnonzero([bool(one["ok"]) for one in question.ground_truth])
    for start in range(0, len(answered), _CHUNK_QUERIES):
        chosen = answered[start : start + _CHUNK_QUERIES]
        ranks = np.argsort(-(queries[chosen] @ database.T), axis=1, kind="stable").T
        found[chosen] = mean_average_precision(ranks, [question.ground_truth[i] for i in chosen], ()).aps
    return found


def by_scene(
    query_scenes: Sequence[str], database_scenes: Sequence[str], same_images: bool = False
) -> list[dict[str, list[int]]]:
    """Images of the query's scene are right; with ``same_images`` query i is image i, which is left out.

    A query without a scene has no right answer; images without one are left out, as they may be of any place.
    """
    places: dict[str, list[int]] = {}
    for i, scene in enumerate(database_scenes):
        places.setdefault(scene, []).append(i)
    unknown = places.pop("", [])
    answers = []
    for i, scene in enumerate(query_scenes):
        own = [i] if same_images else []
        right = [j for j in places.get(scene, []) if j not in own]
        answers.append({"ok": right if scene else [], "junk": sorted({*unknown, *own})})
    return answers


def one_to_one(count: int) -> list[dict[str, list[int]]]:
    """Query i has image i as its only right answer."""
    return [{"ok": [i], "junk": []} for i in range(count)]


def night_to_fake(inputs: Inputs) -> list[Score]:
    """Real night queries against the database translated to night; by pairs where no scene is known."""
    beside = inputs.beside
    if _joined(beside.night_scenes, beside.scenes):
        day, night = _scenes(inputs, beside.scenes), _scenes(inputs, beside.night_scenes)
        asked = Question(inputs.real, inputs.fake, by_scene(night, day))
        return [_score(inputs, "place/night_to_fake", asked, _night_to_night(inputs))]
    if beside.paired_features is not None:
        fake, target = (feature_array(x, "paired", constant=True) for x in beside.paired_features)
        asked = Question(target, fake, one_to_one(len(target)))
        return [_score(inputs, "place/night_to_fake", asked, None)]
    raise ScoreError(
        "place/night_to_fake looks for the place of real nights among the outputs, and no scene or pair tells it: "
        "leave it out"
    )


def fake_to_day(inputs: Inputs) -> list[Score]:
    """Fake nights of the queries against the day database; the own day is right where no scene has a second image."""
    beside = inputs.beside
    if beside.day_features is None:
        raise ScoreError(
            "place/fake_to_day looks for outputs among day images, and none were given: leave it out"
        )
    day = feature_array(beside.day_features, "day", constant=True)
    if len(day) != len(inputs.fake):
        raise ScoreError(
            f"place/fake_to_day of {len(inputs.fake)} outputs and {len(day)} day images, expected one each"
        )
    if not _has_siblings(beside.scenes):
        asked = Question(inputs.fake, day, one_to_one(len(day)))
        return [_score(inputs, "place/fake_to_day", asked, None)]
    scenes = _scenes(inputs, beside.scenes)
    floor = None
    if _joined(beside.night_scenes, scenes):
        floor = Question(inputs.real, day, by_scene(_scenes(inputs, beside.night_scenes), scenes))
    asked = Question(inputs.fake, day, by_scene(scenes, scenes, same_images=True))
    return [_score(inputs, "place/fake_to_day", asked, floor)]


def fake_to_fake(inputs: Inputs) -> list[Score]:
    """Each fake night against the others: the places of the translated world."""
    scenes = inputs.beside.scenes
    if not _has_siblings(scenes):
        raise ScoreError(
            "place/fake_to_fake looks for other outputs of the same place, and no two have one scene: leave it out"
        )
    known = _scenes(inputs, scenes)
    asked = Question(inputs.fake, inputs.fake, by_scene(known, known, same_images=True))
    return [_score(inputs, "place/fake_to_fake", asked, _night_to_night(inputs))]


NIGHT_TO_FAKE = ScoreKind(
    name="place/night_to_fake",
    meaning="mAP of real night queries against the database translated to night",
    direction="maximize",
    compute=night_to_fake,
    needs=("features", "answers"),
    tells="whether a real night still finds its place among the fakes",
)
FAKE_TO_DAY = ScoreKind(
    name="place/fake_to_day",
    meaning="mAP of fake nights against the day database",
    direction="maximize",
    compute=fake_to_day,
    needs=("features", "day"),
    tells="whether the place is still there; the untranslated day would be best",
)
FAKE_TO_FAKE = ScoreKind(
    name="place/fake_to_fake",
    meaning="mAP of fake nights against each other",
    direction="maximize",
    compute=fake_to_fake,
    needs=("features", "siblings"),
    tells="whether places stay apart in the translated world; blind to how dark it is",
)


def _score(inputs: Inputs, base: str, asked: Question, floor: Question | None) -> Score:
    values = average_precisions(asked)
    values = values[~np.isnan(values)]
    if not len(values):
        raise ScoreError(
            f"{base}: none of {len(asked.queries)} queries has an image of its place: leave it out"
        )
    settings = inputs.settings
    return inputs.asked_score(
        base,
        float(values.mean()),
        interval=mean_interval(values, settings.num_bootstrap, settings.seed),
        floor=_mean(floor),
    )


def _mean(question: Question | None) -> float | None:
    values = average_precisions(question) if question is not None else np.empty(0)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _night_to_night(inputs: Inputs) -> Question | None:
    """Real nights in the fakes' place: what a true renderer would get; None where no two have one scene."""
    scenes = inputs.beside.night_scenes
    if not _has_siblings(scenes) or scenes is None or len(scenes) != len(inputs.real):
        return None
    return Question(inputs.real, inputs.real, by_scene(scenes, scenes, same_images=True))


def _scenes(inputs: Inputs, scenes: Sequence[str] | None) -> Sequence[str]:
    if scenes is None or len(scenes) != len(inputs.fake):
        raise ScoreError(
            f"{len(scenes or ())} scenes for {len(inputs.fake)} images a side, expected one each in their order"
        )
    return scenes


def _joined(night: Sequence[str] | None, day: Sequence[str] | None) -> bool:
    return has_answers(night or (), day or ())


def _has_siblings(scenes: Sequence[str] | None) -> bool:
    return has_siblings(scenes or ())


def has_answers(night_scenes: Sequence[str], day_scenes: Sequence[str]) -> bool:
    """Whether a night's scene is among those by day."""
    return bool({scene for scene in night_scenes if scene} & set(day_scenes))


def has_siblings(scenes: Sequence[str]) -> bool:
    """Whether two images have one scene."""
    known = [scene for scene in scenes if scene]
    return len(set(known)) < len(known)


def _normalised(x: Array) -> Array:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: Array = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return unit
