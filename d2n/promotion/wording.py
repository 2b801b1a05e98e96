"""The reasons of a decision, in words and values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from d2n.core import Score, ScoreProtocol
from d2n.promotion.comparing import detectable
from d2n.promotion.metrics import lower_is_better
from d2n.promotion.values import Candidate, Comparison, LeftOut


def nobody(left_out: Sequence[LeftOut], dataset: str) -> str:
    """What is said where there is no candidate."""
    where = f" of {dataset}" if dataset else ""
    if not left_out:
        return (
            f"no finished run{where} has a test score to promote by: train one with `d2n train "
            f"experiments/<method>_{dataset or '<dataset>'}.yaml`, or score one with `d2n score RUN_ID`"
        )
    first = left_out[0]
    more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
    return (
        f"none of {len(left_out)} candidates{where} can be promoted: {first.candidate.label}: {first.reason}"
        f"{more}; score it again with `d2n score RUN_ID`, or train another with `d2n train`"
    )


def considered(
    count: int,
    ranking: Sequence[Candidate],
    left_out: Sequence[LeftOut],
    name: str,
    protocol: ScoreProtocol | None,
) -> str:
    """How many took part, and what they are measured by."""
    methods = sorted({c.method for c in ranking})
    better = "smaller" if lower_is_better(name) else "larger"
    under = protocol.describe() if protocol else "no protocol"
    settings = f" of {len(ranking)} settings" if len(ranking) != count - len(left_out) else ""
    return (
        f"considered {count} candidates{settings} ({', '.join(methods)}), "
        f"left out {len(left_out)}, by {name} on the test split, {better} is better, protocol {under}"
    )


def challenger(ranking: Sequence[Candidate], name: str) -> list[str]:
    """The setting that meets the champion, and the one that it was ranked before by images that do not compare."""
    if not ranking:
        return []
    best = f"challenger: {ranking[0].label} with {name} {with_noise(ranking[0].score)}"
    if len(ranking) == 1:
        return [f"{best}, the only one"]
    return [f"{best}, ranked before {ranking[1].label} with {with_noise(ranking[1].score)}"]


def runner_up(
    ranking: Sequence[Candidate], name: str, exceeds_noise: Callable[[Score, Score], bool | None]
) -> list[str]:
    """The best, and by how much it leads the second."""
    best = f"best: {ranking[0].label} with {name} {with_noise(ranking[0].score)}"
    if len(ranking) == 1:
        return [f"{best}, the only one"]
    second = ranking[1]
    if second.score.value == ranking[0].score.value:
        return [
            f"{best}, tied with {second.label}: the better validation score, then the smaller run id, decides"
        ]
    margin = abs(second.score.value - ranking[0].score.value)
    verdict = {True: "more than noise", False: "within noise", None: "noise not known"}
    clear = exceeds_noise(ranking[0].score, second.score)
    return [
        f"{best}, ahead of {second.label} with {with_noise(second.score)} by {margin:.4g} ({verdict[clear]})"
    ]


def against(
    winner: Candidate,
    champion: Candidate | None,
    gain: float | None,
    clear: bool | None,
    comparison: Comparison | None,
) -> list[str]:
    """The champion, and the gain over it with its noise."""
    if champion is None or winner.run_id == champion.run_id or gain is None:
        return []
    score = champion.score
    lines = [f"champion: {champion.label} with {score.name} {with_noise(score)}; gain {gain:.4g}"]
    if comparison is not None:
        lines += compared(comparison)
    elif clear is None:
        lines.append(
            "neither score tells its noise on both sides: whether the gain would repeat is not known"
        )
    elif not clear:
        lines.append(f"the gain of {gain:.4g} is within the noise: with other images the order may turn")
    return lines


def compared(found: Comparison) -> list[str]:
    """A comparison on the same images, its noise, and what more images would tell."""
    seeds = f"{found.seeds[0]} against {found.seeds[1]} seeds"
    where = f" on {found.where}" if found.where else ""
    means = f"{found.metric} {found.candidate_value:.4g} against {found.champion_value:.4g}"
    lines = [f"compared{where}, {seeds}: {means}, gain {found.gain:.4g}"]
    if found.protocol is not None:
        lines.append(f"both measured anew under protocol {found.protocol.describe()}")
    if found.deviation and found.degrees is not None and found.low is not None:
        lines.append(
            f"deviation of the gain {found.deviation:.4g} (images {found.image_deviation:.4g}, seeds "
            f"{found.seed_deviation:.4g}; {found.degrees:.1f} degrees of freedom); over {found.low:.4g} at the "
            f"one-sided level {found.level:g}: {'clear' if found.clear else 'within the noise'}"
        )
        now, more = detectable(found), detectable(found, 4)
        if now is not None and more is not None and found.num_images:
            lines.append(
                f"a true gain of {now:.4g} is found nine times out of ten with these {found.num_images} images, of "
                f"{more:.4g} with four times as many"
            )
    elif found.clear is None:
        lines.append("nothing tells the noise of the gain: whether it would repeat is not known")
    return [*lines, *found.notes]


def doubts(
    ranking: Sequence[Candidate], winner: Candidate, champion: Candidate | None, name: str
) -> list[str]:
    """What speaks against trusting the scores."""
    said = []
    floor = winner.score.floor
    if floor is not None and lower_is_better(name) and floor > winner.score.value / 2:
        said.append(
            f"real against real at the same number of images scores {floor:.4g}, over half of the winner's "
            f"{winner.score.value:.4g}: most of this score is floor; more test images would tell more"
        )
    everyone = (*ranking, *([champion] if champion else []))
    digests = sorted({c.dataset_digest for c in everyone if c.dataset_digest})
    if len(digests) > 1:
        short = ", ".join(digest[:12] for digest in digests)
        said.append(f"they were trained on {len(digests)} states of the data set ({short}), scored on one")
    best = _best_by_validation(ranking)
    if best is not None and best.run_id != winner.run_id:
        said.append(f"the validation split would have picked {best.label}")
    return said


def _best_by_validation(ranking: Sequence[Candidate]) -> Candidate | None:
    known = [c.validation for c in ranking if c.validation is not None]
    if len(known) < len(ranking) or any(not math.isfinite(score.value) for score in known):
        return None
    if len({(score.name, score.protocol) for score in known}) != 1:
        return None  # not comparable among themselves
    sign = 1.0 if lower_is_better(known[0].name) else -1.0
    return min(ranking, key=lambda c: (sign * c.validation.value if c.validation else math.inf, c.run_id))


def with_noise(score: Score) -> str:
    """A value with what is known of its noise."""
    parts = [f"{score.value:.4g}"]
    if score.interval is not None:
        parts.append(f"95 % [{score.interval[0]:.4g}, {score.interval[1]:.4g}]")
    if score.std is not None:
        parts.append(f"deviation {score.std:.3g}")
    if score.floor is not None:
        parts.append(f"floor {score.floor:.4g}")
    return parts[0] + (f" ({', '.join(parts[1:])})" if len(parts) > 1 else "")
