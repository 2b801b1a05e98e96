"""A run that trained a translator: what it says of itself from its first step to its best generator."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from d2n.config import TranslationExperiment, flatten, telling_knobs, to_dict
from d2n.core import EpochResult, Score, ScoreProtocol
from d2n.tracking import names
from d2n.tracking.records import reading, scores
from d2n.tracking.records.entries import Entries

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord

PRUNED = Entries(tags={names.PRUNED: "true"})


@dataclass(frozen=True)
class TranslationRecord:
    """A translation run, read back; '' and None stand for what it does not say."""

    experiment: str = ""  # the name in the YAML
    method: str = ""
    preset: str = ""
    seed: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    protocol: ScoreProtocol | None = None
    test_protocol: ScoreProtocol | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # the last on the validation split, finite
    test_scores: Mapping[str, float] = field(default_factory=dict)
    best: reading.BestScore | None = None
    model_id: str = ""
    alarms: str = ""
    is_pruned: bool = False
    study: str = ""
    trial: str = ""
    commit: str = ""

    @classmethod
    def read(cls, record: RunRecord) -> TranslationRecord:
        """What the run says; UnreadableError where a protocol, the best score or its knobs were edited by hand."""
        reading.require_knobs(record)
        tags = record.tags
        return cls(
            experiment=tags.get(names.EXPERIMENT_NAME, ""),
            method=tags.get(names.METHOD, ""),
            preset=tags.get(names.PRESET, ""),
            seed=tags.get(names.SEED, ""),
            dataset=tags.get(names.DATASET, ""),
            dataset_digest=tags.get(names.DATASET_DIGEST, ""),
            protocol=reading.protocol(record),
            test_protocol=reading.protocol(record, names.TEST_PROTOCOL_TEXT),
            scores=_finite(scores.of_kind(record.metrics, "score")),
            test_scores=_finite(scores.of_kind(record.metrics, "test")),
            best=reading.best_score(record),
            model_id=tags.get(names.MODEL_ID, ""),
            alarms=tags.get(names.ALARMS, ""),
            is_pruned=tags.get(names.PRUNED) == "true",
            study=tags.get(names.STUDY, ""),
            trial=tags.get(names.TRIAL, ""),
            commit=tags.get(names.GIT_COMMIT, ""),
        )

    @staticmethod
    def values(record: RunRecord) -> dict[str, dict[str, float]]:
        """What a study compares: score, and score_std and score_floor, each by name."""
        return {"score": scores.of_kind(record.metrics, "score"), **scores.noise(record.metrics)}

    @staticmethod
    def begun(experiment: TranslationExperiment, protocol: ScoreProtocol) -> Entries:
        """What is known before the first step; the data set is logged by `log_dataset`."""
        return Entries(
            params={**flatten(experiment), "score_protocol": protocol.identity},
            tags={
                names.KIND: experiment.kind,
                names.METHOD: experiment.translator.method,
                names.PRESET: experiment.preset,
                names.SEED: str(experiment.seed),
                names.PROTOCOL: protocol.identity,
                names.PROTOCOL_TEXT: protocol.to_json(),
                names.EXPERIMENT_NAME: experiment.name,
            },
            texts={names.CONFIG_JSON: json.dumps(to_dict(experiment), indent=2)},
            shown=(*telling_knobs(experiment), "score_protocol"),
        )

    @staticmethod
    def losses(losses: Mapping[str, float]) -> Entries:
        """Means over a logging interval."""
        return Entries(metrics={names.loss(name): value for name, value in losses.items()})

    @staticmethod
    def epoch(epoch: EpochResult, raised: Sequence[str], skipped_images: int = 0) -> Entries:
        """Means over an epoch and its alarms; ``raised`` names those that sound."""
        metrics = {f"epoch_loss/{name}": value for name, value in epoch.losses.items()}
        metrics |= {names.alarm(name): value for name, value in _finite(epoch.alarms).items()}
        metrics |= {names.IMAGES_PER_S: epoch.images_per_s, "epoch": float(epoch.epoch)}
        if skipped_images:
            metrics["data/skipped_images"] = float(skipped_images)
        said = f"{', '.join(raised)} at step {epoch.step}"
        return Entries(metrics=metrics, tags={names.ALARMS: said} if raised else {})

    @staticmethod
    def evaluated(found: Sequence[Score], seconds: float) -> Entries:
        """The scores of an evaluation, and how long they took."""
        return Entries(metrics={**scores.metrics(found), names.TIME_SCORE: seconds})

    @staticmethod
    def ended(best: reading.BestScore, step: int, model_id: str, has_way_back: bool = False) -> Entries:
        """The best generator, which is a logged model; and whether the run left the weights of its way back."""
        saved = json.dumps({"name": best.name, "value": best.value, "step": step})
        way_back = {names.WAY_BACK_FILES: "true"} if has_way_back else {}
        return Entries(tags={names.MODEL_ID: model_id, names.BEST_SCORE: saved, **way_back})


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
