"""The scores of a trial as plain values: which one a study means, means and noise, and what identical work is."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from typing import Any

from d2n import config
from d2n.config import MACHINE_KNOBS
from d2n.config.kinds import Experiment
from d2n.errors import StudyError
from d2n.studies.definition import Constraint


def pick(scores: Mapping[str, float], name: str) -> float:
    """A score by its name; ``fid`` also means ``fid.<extractor>`` when only one is there. StudyError else."""
    wanted = name.removeprefix("score/")
    if wanted in scores:
        return scores[wanted]
    close = [key for key in scores if key.startswith(f"{wanted}.")]
    if len(close) == 1:
        return scores[close[0]]
    raise StudyError(
        f"the study wants the score {name}, which is never logged; logged are {', '.join(sorted(scores)) or 'none'}: "
        "correct objective, or add the score to evaluation.scores"
    )


def bound(constraint: Constraint, scores: Mapping[str, float]) -> tuple[str, float]:
    """A constraint in words, and its value: it holds where that is 0 or less."""
    value = pick(scores, constraint.score)
    if constraint.at_most is not None:
        return f"{constraint.score} <= {constraint.at_most:g}", value - constraint.at_most
    least = constraint.at_least or 0.0
    return f"{constraint.score} >= {least:g}", least - value


def mean_and_std(each: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample deviation of each score over seeds."""
    keys = sorted(set.intersection(*(set(one) for one in each)))
    columns = {key: [one[key] for one in each] for key in keys}
    return {
        "score": {key: statistics.fmean(values) for key, values in columns.items()},
        "score_std": {
            k: statistics.stdev(v) for k, v in columns.items() if len(v) > 1 and all(map(math.isfinite, v))
        },
    }


def fingerprint(experiment: Experiment, data_digest: str, code: str) -> str:
    """sha256 of the resolved knobs (without the machine's and the name), the data and the code."""
    knobs = {
        k: v for k, v in config.flatten(experiment).items() if k not in (*MACHINE_KNOBS, "name", "preset")
    }
    return hashlib.sha256(json.dumps([knobs, data_digest, code], sort_keys=True).encode()).hexdigest()


def short(knob: str, space: Mapping[str, Any]) -> str:
    """A dimension's last word, or all of it where two dimensions share the last."""
    last = knob.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in space) == 1 else knob
