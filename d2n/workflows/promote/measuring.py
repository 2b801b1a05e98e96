"""Generators on the test images: features kept, scores of the whole split, draws of a part of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from d2n.core import Score, ScoreProtocol
from d2n.errors import ConfigError
from d2n.promotion import Metric
from d2n.scores import SCORES, ScoreKind, paired
from d2n.scores.features import FeatureCache, extract
from d2n.scores.kinds import Beside, Inputs, Settings
from d2n.scores.protocol import score_name
from d2n.tracking import registry
from d2n.workflows import evaluation as held
from d2n.workflows import generators
from d2n.workflows.promote import scoring

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Measured:
    """One generator's outputs on the test images; images only where a score needs them."""

    features: np.ndarray  # (N, D)
    images: np.ndarray | None = None  # (N, S, S, 3)
    paired: tuple[np.ndarray, np.ndarray] | None = None
    paired_features: tuple[np.ndarray, np.ndarray] | None = None  # of paired, (M, D) each
    probabilities: np.ndarray | None = None


class Gauge:
    """Measures generators on one test split, all of them under one protocol."""

    def __init__(self, store: Store, record: RunRecord, metrics: Sequence[Metric], resamples: int) -> None:
        rows = {metric.name: row_of(metric.name) for metric in metrics}
        further = tuple(dict.fromkeys(row.name for row in rows.values()))
        self.store, self.resamples = store, resamples
        self.evaluator = scoring.test_evaluator(store, record, further)
        self.logged = {name: self._logged(name, row) for name, row in rows.items()}
        self.bases = {name: _base(name) for name in rows}
        needs = {need for row in rows.values() for need in row.needs}
        self._by_pairs = "answers" in needs and not self.evaluator.has_answering_scenes
        self._needs_images = (
            bool({"images", "pairs", "probabilities", "day", "maps"} & needs) or self._by_pairs
        )
        self._cache = FeatureCache(store.work_root / "features")
        self._day = hashlib.sha256(self.evaluator.images.day.tobytes()).hexdigest()
        self._known: dict[str, Measured] = {}
        self._records: dict[str, RunRecord] = {}  # as they are since they were measured

    @property
    def protocol(self) -> ScoreProtocol:
        """Of the whole test split."""
        return self.evaluator.protocol

    @property
    def keys(self) -> list[str]:
        """What tells the test images apart: the k-th day and the k-th night are in one part."""
        return list(self.evaluator.images.night_sha256s)

    def published(self, record: RunRecord, metric: str) -> Score:
        """The score on the whole test split; what was measured before under the same protocol is read."""
        record = self._records.get(record.run_id, record)
        known = scoring.known_score(record, self.logged[metric], self.evaluator)
        if known is not None:
            return known
        self._measure(record, log=True)
        record = self._records[record.run_id] = self.store.get(record.run_id)
        again = scoring.known_score(record, self.logged[metric], self.evaluator)
        if again is None:
            raise ConfigError(
                f"{metric} was not measured on the test split of run {record.run_id}: {len(self.keys)} images a side "
                "may be too few for it; decide by another metric"
            )
        return again

    def part_protocol(self, rows: Rows) -> ScoreProtocol:
        """The protocol of scores on some of the images."""
        chosen = [self.keys[i] for i in rows]
        side = self.evaluator.images.night.shape[1]
        digest = hashlib.sha256("\n".join([*sorted(chosen), f"{side} px"]).encode()).hexdigest()
        return replace(self.evaluator.protocol, num_images=len(rows), reference_digest=digest)

    def values(self, records: Sequence[RunRecord], metric: str, rows: Rows) -> list[float]:
        """A score of each generator on some of the images."""
        return [self._value(self.measured(record), metric, rows) for record in records]

    def draws(self, records: Sequence[RunRecord], metric: str, rows: Rows) -> paired.Draws:
        """A score of each generator on some of the images, and on resamples of these."""
        found = [self.measured(record) for record in records]
        base = self.bases[metric]
        if base in paired.PAIRED:
            return paired.resampled(
                base,
                np.asarray(self.evaluator.real[rows], dtype=np.float64),
                [np.asarray(one.features[rows], dtype=np.float64) for one in found],
                self.resamples,
                num_clusters=self.evaluator.evaluation.num_clusters,
            )
        return paired.jackknifed(
            lambda kept: [self._value(one, metric, rows[kept]) for one in found], len(rows), self.resamples
        )

    def lost(self, record: RunRecord) -> str:
        """What a run's generator lacks to be loaded, whatever was measured of it before."""
        return lost(self.store, record)

    def measured(self, record: RunRecord) -> Measured:
        """A generator's outputs, made once; their features are read from the cache where they are there."""
        if record.run_id not in self._known:
            features = None if self._needs_images else self._cache.get(*self._cache_key(record))
            if features is None:
                self._measure(record, log=False)
            else:
                self._known[record.run_id] = Measured(features)
        return self._known[record.run_id]

    def _measure(self, record: RunRecord, *, log: bool) -> None:
        generator = generators.load(record.run_id, self.store)
        evaluator = self.evaluator
        if log:
            scored = evaluator(generator.translate)
            scoring.log_test_scores(self.store, record, scored)
            images, features = scored.fake_night, scored.features
        else:
            images = held.to_night(generator.translate, evaluator.images.day, evaluator.batch_size)
            features = None
        if features is None:
            features = extract(evaluator.extractor, list(images))
        self._cache.put(*self._cache_key(record), features)
        if not self._needs_images:
            self._known[record.run_id] = Measured(features)
            return
        pairs = evaluator.images.pairs
        made = (
            held.to_night(generator.translate, pairs[0], evaluator.batch_size) if pairs is not None else None
        )
        paired = (made, pairs[1]) if pairs is not None and made is not None else None
        self._known[record.run_id] = Measured(
            features, images, paired, self._paired_features(paired), evaluator.probabilities(images)
        )

    def _paired_features(
        self, paired: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Where pairs, and no scenes, tell which output a real night should find."""
        if paired is None or not self._by_pairs:
            return None
        fake, target = (extract(self.evaluator.extractor, list(side)) for side in paired)
        return fake, target

    def _cache_key(self, record: RunRecord) -> tuple[dict[str, str], list[str]]:
        model = record.logged_model or record.run_id
        count = len(self.evaluator.images.day)
        return dict(self.evaluator.extractor.identity), [f"{model}-{self._day}-{i}" for i in range(count)]

    def _value(self, found: Measured, metric: str, rows: Rows) -> float:
        real = np.asarray(self.evaluator.real[rows], dtype=np.float64)
        fake = np.asarray(found.features[rows], dtype=np.float64)
        settings = Settings(num_clusters=self.evaluator.evaluation.num_clusters, num_bootstrap=0)
        beside = self._beside(found, rows)
        inputs = Inputs(real, fake, real, self.part_protocol(rows), beside, settings)
        scores = {score.name: score.value for score in row_of(metric).compute(inputs)}
        return float(scores[self.logged[metric]])

    def _beside(self, found: Measured, rows: Rows) -> Beside:
        """What scores take besides the features, of some of the images."""
        held_out, day = self.evaluator.images, self.evaluator.day
        pairs = held_out.pairs
        num_pairs = len(pairs[0]) if pairs is not None else 0
        some = rows[rows < num_pairs]
        return Beside(
            fake_images=found.images[rows] if found.images is not None else None,
            paired_images=_both(found.paired, some),
            probabilities=found.probabilities[rows] if found.probabilities is not None else None,
            scenes=_chosen(held_out.day_scenes, rows),
            night_scenes=_chosen(held_out.night_scenes, rows),
            real_images=held_out.night[rows] if self._needs_images else None,
            day_images=held_out.day[rows] if self._needs_images else None,
            day_features=day[rows] if day is not None else None,
            paired_features=_both(found.paired_features, some),
            paired_days=pairs[0][some] if pairs is not None and self._needs_images else None,
            maps=self._maps(found, rows),
            queries_digest=held_out.queries_digest,
        )

    def _maps(
        self, found: Measured, rows: Rows
    ) -> Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]] | None:
        if found.images is None:
            return None
        images = found.images[rows]
        return lambda: self.evaluator.maps(self.evaluator.images.day[rows], images)

    def _logged(self, name: str, row: ScoreKind) -> str:
        spaced = bool({"features", "probabilities", "maps"} & {*row.needs})
        logged = score_name(_base(name), self.evaluator.protocol) if spaced else _base(name)
        if name not in (logged, _base(name)):
            raise ConfigError(
                f"metric {name}: the runs are scored as {logged}; expected {_base(name)}, or that name"
            )
        return logged


def _both(sides: tuple[np.ndarray, np.ndarray] | None, rows: Rows) -> tuple[np.ndarray, np.ndarray] | None:
    return (sides[0][rows], sides[1][rows]) if sides is not None else None


def _chosen(scenes: Sequence[str], rows: Rows) -> list[str] | None:
    """None where no scene is known."""
    return [scenes[i] for i in rows] if any(scenes) else None


def lost(store: Store, record: RunRecord) -> str:
    """What a run's generator lacks to be loaded; '' if nothing."""
    model_id = record.logged_model
    return registry.missing_files(store, registry.RegisteredVersion("", "", (), record.run_id, model_id))


def row_of(metric: str) -> ScoreKind:
    """The row that computes a score; ConfigError where it is of another kind."""
    base = _base(metric)
    kind = SCORES.get(base) or next((kind for kind in SCORES.values() if base in kind.bases), None)
    if kind is None or base not in kind.bases:
        known = ", ".join(sorted({name for kind in SCORES.values() for name in kind.bases}))
        raise ConfigError(
            f"metric {metric!r} is no score of images; expected one of {known}, map/<benchmark>"
        )
    return kind


def _base(metric: str) -> str:
    return metric.split(".")[0]
