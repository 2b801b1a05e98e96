"""What may stand in one comparison: arms of one data set, one setting, one protocol; and what goes with mAP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2n import plots, promotion
from d2n.errors import D2NError
from d2n.scores import columns
from d2n.workflows.report.reading import score_base
from d2n.workflows.report.rows import Arm, Generator
from d2n.workflows.report.studies import Study


@dataclass(frozen=True)
class Block:
    """Arms that may stand in one table: one data set, one setting, and generator scores of one protocol."""

    dataset: str
    settings: str  # digest
    group: str  # protocol identity of the generators' scores; "" where no generator has one
    arms: tuple[Arm, ...]  # baseline first
    protocol: str  # for people
    split: str

    @property
    def benchmarks(self) -> list[str]:
        """Every benchmark that some arm has."""
        return sorted({name for arm in self.arms for name in arm.maps})


@dataclass(frozen=True)
class Correlation:
    """How a generator's score goes with the mAP it leads to; positive: a better score, a better mAP."""

    score: str
    benchmark: str
    result: plots.RankCorrelation


def make_blocks(arms: Sequence[Arm]) -> list[Block]:
    """Arms by data set, settings and protocol of their generators' scores; baselines join every block of theirs."""
    keyed: dict[tuple[str, str], list[Arm]] = {}
    for arm in arms:
        keyed.setdefault((arm.dataset, _digest(arm.settings)), []).append(arm)
    blocks = []
    for (dataset, settings), members in sorted(keyed.items()):
        common = [arm for arm in members if arm.generator is None]
        common.sort(key=lambda arm: (not arm.is_baseline, arm.label))
        groups = sorted({arm.generator.group for arm in members if arm.generator}) or [""]
        for group in groups:
            own = [arm for arm in members if arm.generator and arm.generator.group == group]
            first = own[0].generator if own else None
            text = first.protocol.describe() if first and first.protocol else group
            split = first.split if first else ""
            blocks.append(Block(dataset, settings, group, (*common, *_by_map(own)), text, split))
    return blocks


def correlations(block: Block) -> list[Correlation]:
    """Every score of the block's generators against every benchmark; scores without a direction are left out."""
    augmented = [(arm, arm.generator) for arm in block.arms if arm.generator]
    found = []
    for name in sorted({name for _, generator in augmented for name in generator.scores}):
        turn = sign(name)
        for benchmark in block.benchmarks if turn else []:
            both = [(a, g) for a, g in augmented if name in g.scores and benchmark in a.maps]
            result = plots.rank_correlation(
                [turn * g.scores[name].value for _, g in both], [a.maps[benchmark].mean for a, _ in both]
            )
            found.append(Correlation(name, benchmark, result))
    return found


def main_names(generators: Sequence[Generator]) -> list[str]:
    """The names that the scores of the comparison have here: those with a column, FID first."""
    present = {name for g in generators for name in g.scores}
    return [name for base in columns() for name in sorted(present) if score_base(name) == base]


def by_main_score(generator: Generator) -> tuple[float, str]:
    """Best first by FID, else by the first score with a direction."""
    for name in (*main_names([generator]), *sorted(generator.scores)):
        if sign(name):
            return -sign(name) * generator.scores[name].value, generator.run_id
    return float("inf"), generator.run_id


def sign(score_name: str) -> int:
    """1: larger is better; -1: smaller is better; 0: not known."""
    try:
        return -1 if promotion.lower_is_better(score_name) else 1
    except D2NError:
        return 0


def direction(score_name: str) -> plots.Direction:
    """Which way a score gets better, as a figure names it."""
    return "maximize" if sign(score_name) > 0 else "minimize"


def best_trial(study: Study) -> plots.TrialPoint | None:
    """The complete trial with the best value; None where trials of several protocols would have to be compared."""
    complete = [trial for trial in study.trials if trial.state == "COMPLETE" and trial.values]
    if not complete or study.protocols > 1:
        return None
    turn = 1 if direction(study.score) == "minimize" else -1
    return min(complete, key=lambda trial: (turn * trial.values[0], trial.number))


def _by_map(arms: Sequence[Arm]) -> list[Arm]:
    """Best mean mAP first."""
    return sorted(arms, key=lambda a: (-sum(v.mean for v in a.maps.values()) / len(a.maps), a.run_id))


def _digest(settings: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:8]
