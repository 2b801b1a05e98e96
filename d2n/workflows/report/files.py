"""The report's numbers for other programs: CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from d2n.scores import columns
from d2n.workflows.report import rows
from d2n.workflows.report.comparison import Block, Correlation, best_trial, correlations
from d2n.workflows.report.rows import Arm, Generator
from d2n.workflows.report.studies import Study

_BEFORE = ("dataset", "settings", "protocol", "arm", "method", "generator")
_AFTER = (
    "benchmark", "map", "map_std", "num_seeds", "difference", "difference_se", "retrieval_run", "difference_low",
    "difference_high",
)  # fmt: skip
_STUDY_FIELDS = ("name", "dataset", "score", "trials", "complete", "pruned", "failed", "best", "trial")
_COST_FIELDS = ("hours", "images")


def as_csv(blocks: Sequence[Block]) -> str:
    """One line an arm, benchmark and block."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, (*_BEFORE, *columns().values(), *_AFTER), lineterminator="\n")
    writer.writeheader()
    for block in blocks:
        for arm in block.arms:
            writer.writerows(_flat(block, arm, name) for name in arm.maps)
    return buffer.getvalue()


def as_json(
    blocks: Sequence[Block], generators: Sequence[Generator], studies: Sequence[Study]
) -> dict[str, Any]:
    """Everything that the page shows as numbers, as JSON can hold it."""
    return {
        "tables": [_table(block) for block in blocks],
        "generators": [_generator_values(g) for g in generators],
        "studies": [_study(study) for study in studies],
    }


def lineage(arm: Arm) -> dict[str, str]:
    """From an arm back to its runs, its trial, its data and its commits; '' where there is none."""
    g = arm.generator
    commits = dict.fromkeys(c[:10] for c in (arm.commit, g.commit if g else "") if c)
    digests = [f"{arm.dataset} {arm.dataset_digest[:12]}"] + (
        [f"{g.dataset} {g.dataset_digest[:12]}"] if g else []
    )
    return {
        "arm": arm.label,
        "retrieval_run": arm.run_id,
        "generator": ", ".join(
            f"{arm.generator_name}/{version}"
            for version in arm.generator_versions or (arm.generator_version,)
        )
        if arm.generator_name
        else "",
        "translation_run": g.run_id if g else "",
        "trial": g.trial if g else "",
        "study": g.study if g else "",
        "data": ", ".join(dict.fromkeys(digests)),
        "commits": ", ".join(commits),
    }


def study_values(study: Study) -> list[Any]:
    """The cells of a study's row: its counts, and its best trial with its value."""
    best = best_trial(study)
    return [
        study.name,
        study.dataset,
        study.score,
        len(study.trials),
        study.count("COMPLETE"),
        study.count("PRUNED"),
        study.count("FAIL"),
        None if best is None else f"{best.values[0]:.4g}",
        None if best is None else best.number,
    ]


def _table(block: Block) -> dict[str, Any]:
    return {
        "dataset": block.dataset,
        "settings": block.settings,
        "protocol": block.group,
        "split": block.split,
        "arms": [_flat(block, arm, name) for arm in block.arms for name in arm.maps],
        "lineage": [lineage(arm) for arm in block.arms],
        "correlations": [_correlation(c) for c in correlations(block)],
    }


def _study(study: Study) -> dict[str, Any]:
    cost = dict(zip(_COST_FIELDS, (round(study.hours, 4), study.images), strict=True))
    return {**dict(zip(_STUDY_FIELDS, study_values(study), strict=True)), **cost}


def _correlation(c: Correlation) -> dict[str, Any]:
    rho = None if math.isnan(c.result.rho) else c.result.rho
    values = {"rho": rho, "interval": c.result.interval, "num_points": c.result.num_points}
    return {"score": c.score, "benchmark": c.benchmark, **values}


def _flat(block: Block, arm: Arm, benchmark: str) -> dict[str, Any]:
    g, value = arm.generator, arm.maps[benchmark]
    scores = {rows.score_base(name): score.value for name, score in g.scores.items()} if g else {}
    difference = rows.difference(arm, rows.baseline_of(arm, block.arms), benchmark)
    return {
        "dataset": block.dataset,
        "settings": block.settings,
        "protocol": block.group,
        "arm": arm.label,
        "method": g.method if g else "",
        "generator": lineage(arm)["generator"],
        **{column: scores.get(base) for base, column in columns().items()},
        "benchmark": benchmark,
        "map": value.mean,
        "map_std": value.std,
        "num_seeds": value.num_seeds,
        "difference": difference.value if difference else None,
        "difference_se": difference.standard_error if difference else None,
        "difference_low": difference.interval[0] if difference and difference.interval else None,
        "difference_high": difference.interval[1] if difference and difference.interval else None,
        "retrieval_run": arm.run_id,
    }


def _generator_values(g: Generator) -> dict[str, Any]:
    by_split = {
        split: {
            name: {"value": s.value, "std": s.std, "interval": s.interval, "floor": s.floor}
            for name, s in sorted(found.items())
        }
        for split, found in sorted(g.by_split.items())
    }
    return {
        "run": g.run_id,
        "method": g.method,
        "dataset": g.dataset,
        "split": g.split,
        "protocol": g.group,
        "scores": by_split.get(g.split, {}),
        "by_split": by_split,
    }
