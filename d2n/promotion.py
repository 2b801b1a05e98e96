"""Which generator becomes a data set's champion: a pure rule, candidates in, a decision with its reasons out.

The rule, and what it does not promise, is in docs/promotion.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from d2n.core import Score, ScoreProtocol, require_one_protocol
from d2n.errors import D2NError
from d2n.scores import directed_names, direction_of


@dataclass(frozen=True)
class Candidate:
    """A trained generator with its score on the test split."""

    run_id: str
    method: str  # pix2pix, cyclegan, cut
    score: Score  # with protocol, and where known interval (95 %), std and floor
    validation: Score | None = (
        None  # what the study minimised: breaks ties, and shows whether it pointed here
    )
    dataset_digest: str = ""  # of the data set it was trained on
    model_id: str = ""  # the LoggedModel
    study: str = ""
    name: str = ""  # the registered model and version of a champion, such as d2n-toycity/3

    @property
    def label(self) -> str:
        """How the reasons name it."""
        return f"{self.method} {self.name or self.run_id}"


@dataclass(frozen=True)
class LeftOut:
    """A candidate that could not take part, and why."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True)
class Decision:
    """The winner, whether it takes the alias, and why in words and values."""

    winner: Candidate
    promote: bool
    reasons: tuple[str, ...]
    ranking: tuple[Candidate, ...] = ()  # best first; without those left out
    left_out: tuple[LeftOut, ...] = ()
    champion: Candidate | None = None
    gain: float | None = None  # over the champion, positive is better; None without a scored champion
    clear: bool | None = None  # whether the gain exceeds its noise; None where the noise is not known


def decide(
    candidates: Sequence[Candidate],
    champion: Candidate | None = None,
    min_gain: float = 0.0,
    *,
    require_clear: bool = False,
    dataset: str = "",
) -> Decision:
    """The best candidate, and whether it replaces the champion.

    It is promoted when there is no champion, or when its score beats the champion's by more than ``min_gain``
    (in the score's own units; 0: any gain at all, a tie keeps the champion), and with ``require_clear`` only
    when the gain also exceeds its noise. Scores that are not finite or carry no protocol are left out; ties
    go to the better validation score, then to the smaller run id: the order of the candidates never matters.

    ``dataset`` only serves the messages. Raises ProtocolMismatchError when candidates or champion were scored
    under different protocols, and D2NError when scores of different names meet or nobody is left.
    """
    if not min_gain >= 0:
        raise D2NError(f"min_gain is {min_gain}, expected 0 or more, in the score's own units")
    usable, left_out = _usable(candidates)
    if not usable:
        raise D2NError(_nobody(left_out, dataset))
    scores = [c.score for c in (*usable, *([champion] if champion else []))]
    name = _one_name(scores)
    protocol = require_one_protocol([score.protocol for score in scores], "promote between")
    ranking = tuple(sorted(usable, key=lambda c: _rank(c, name)))
    return _against(ranking, champion, left_out, name, protocol, min_gain, require_clear)


def lower_is_better(score_name: str) -> bool:
    """Whether the smaller value wins, by the score's base name; D2NError where no direction is known."""
    direction = direction_of(score_name)
    if direction is None:
        known = ", ".join(directed_names())
        raise D2NError(f"score {score_name!r} has no known direction; one of these promotes: {known}")
    return direction == "minimize"


def exceeds_noise(a: Score, b: Score) -> bool | None:
    """Whether two scores differ by more than their noise; None where neither tells its noise.

    With intervals on both sides: they do not overlap (stricter than a test of the difference at that level).
    Else with deviations on both sides: the distance is over 2 sqrt(std_a^2 + std_b^2).
    """
    if a.interval is not None and b.interval is not None:
        return a.interval[1] < b.interval[0] or b.interval[1] < a.interval[0]
    if a.std is not None and b.std is not None:
        return abs(a.value - b.value) > 2 * math.hypot(a.std, b.std)
    return None


def _usable(candidates: Sequence[Candidate]) -> tuple[list[Candidate], tuple[LeftOut, ...]]:
    usable, left_out = [], []
    for candidate in sorted(candidates, key=lambda c: c.run_id):
        reason = _unusable(candidate.score)
        if reason:
            left_out.append(LeftOut(candidate, reason))
        else:
            usable.append(candidate)
    return usable, tuple(left_out)


def _unusable(score: Score) -> str:
    if not math.isfinite(score.value):
        return f"its {score.name} is {score.value}"
    if score.protocol is None:
        return f"its {score.name} carries no protocol, so nothing says what it compares with"
    return ""


def _nobody(left_out: Sequence[LeftOut], dataset: str) -> str:
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


def _one_name(scores: Sequence[Score]) -> str:
    names = sorted({score.name for score in scores})
    if len(names) > 1:
        raise D2NError(
            f"cannot promote between different scores: {' against '.join(names[:2])}; "
            "expected one score for all, score them again with `d2n score RUN_ID`"
        )
    return names[0]


def _rank(candidate: Candidate, name: str) -> tuple[float, float, str]:
    sign = 1.0 if lower_is_better(name) else -1.0
    validation = candidate.validation
    tie = sign * validation.value if validation is not None and math.isfinite(validation.value) else math.inf
    return sign * candidate.score.value, tie, candidate.run_id


def _against(
    ranking: tuple[Candidate, ...],
    champion: Candidate | None,
    left_out: tuple[LeftOut, ...],
    name: str,
    protocol: ScoreProtocol | None,
    min_gain: float,
    require_clear: bool,
) -> Decision:
    winner = ranking[0]
    gain = _gain(winner.score, champion.score, name) if champion else None
    clear = exceeds_noise(winner.score, champion.score) if champion and gain is not None else None
    promote, verdict = _verdict(winner, champion, gain, clear, min_gain, require_clear)
    reasons = (
        _considered(ranking, left_out, name, protocol),
        *(f"left out: {item.candidate.label}: {item.reason}" for item in left_out),
        *_runner_up(ranking, name),
        *_noise(winner, champion, gain, clear),
        *_doubts(ranking, champion, name),
        verdict,
    )
    return Decision(winner, promote, reasons, ranking, left_out, champion, gain, clear)


def _gain(winner: Score, champion: Score, name: str) -> float | None:
    if not math.isfinite(champion.value):
        return None
    difference = champion.value - winner.value
    return difference if lower_is_better(name) else -difference


def _verdict(
    winner: Candidate,
    champion: Candidate | None,
    gain: float | None,
    clear: bool | None,
    min_gain: float,
    require_clear: bool,
) -> tuple[bool, str]:
    if champion is None:
        return True, f"promoted: {winner.label}; there was no champion"
    if winner.run_id == champion.run_id:
        return False, f"kept: {champion.label} is the champion already and still the best"
    if gain is None:
        return True, f"promoted: {winner.label}; the champion's score is {champion.score.value}"
    if gain <= min_gain:
        return False, f"kept: {champion.label}; the gain of {gain:.6g} is not over min_gain {min_gain:.6g}"
    if require_clear and not clear:
        known = "is within the noise" if clear is False else "has no known noise"
        return False, f"kept: {champion.label}; the gain of {gain:.6g} {known}, and require_clear is set"
    return (
        True,
        f"promoted: {winner.label}; it beats {champion.label} by {gain:.6g}, over min_gain {min_gain:.6g}",
    )


def _considered(
    ranking: Sequence[Candidate], left_out: Sequence[LeftOut], name: str, protocol: ScoreProtocol | None
) -> str:
    methods = sorted({c.method for c in ranking})
    better = "smaller" if lower_is_better(name) else "larger"
    under = protocol.describe() if protocol else "no protocol"
    return (
        f"considered {len(ranking) + len(left_out)} candidates ({', '.join(methods)}), "
        f"left out {len(left_out)}, by {name} on the test split, {better} is better, protocol {under}"
    )


def _runner_up(ranking: Sequence[Candidate], name: str) -> list[str]:
    best = f"best: {ranking[0].label} with {name} {_with_noise(ranking[0].score)}"
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
        f"{best}, ahead of {second.label} with {_with_noise(second.score)} by {margin:.6g} ({verdict[clear]})"
    ]


def _noise(
    winner: Candidate, champion: Candidate | None, gain: float | None, clear: bool | None
) -> list[str]:
    if champion is None or winner.run_id == champion.run_id or gain is None:
        return []
    score = champion.score
    lines = [f"champion: {champion.label} with {score.name} {_with_noise(score)}; gain {gain:.6g}"]
    if clear is None:
        lines.append(
            "neither score tells its noise on both sides: whether the gain would repeat is not known"
        )
    elif not clear:
        lines.append(f"the gain of {gain:.6g} is within the noise: with other images the order may turn")
    return lines


def _doubts(ranking: Sequence[Candidate], champion: Candidate | None, name: str) -> list[str]:
    winner, doubts = ranking[0], []
    floor = winner.score.floor
    if floor is not None and lower_is_better(name) and floor > winner.score.value / 2:
        doubts.append(
            f"real against real at the same number of images scores {floor:.6g}, over half of the winner's "
            f"{winner.score.value:.6g}: most of this score is floor; more test images would tell more"
        )
    digests = sorted(
        {c.dataset_digest for c in (*ranking, *([champion] if champion else [])) if c.dataset_digest}
    )
    if len(digests) > 1:
        short = ", ".join(digest[:12] for digest in digests)
        doubts.append(f"they were trained on {len(digests)} states of the data set ({short}), scored on one")
    by_validation = _best_by_validation(ranking, name)
    if by_validation is not None and by_validation.run_id != winner.run_id:
        doubts.append(f"the validation split would have picked {by_validation.label}")
    return doubts


def _best_by_validation(ranking: Sequence[Candidate], name: str) -> Candidate | None:
    if any(c.validation is None or not math.isfinite(c.validation.value) for c in ranking):
        return None
    if len({(c.validation.name, c.validation.protocol) for c in ranking if c.validation}) != 1:
        return None  # not comparable among themselves
    sign = 1.0 if lower_is_better(name) else -1.0
    return min(ranking, key=lambda c: (sign * c.validation.value if c.validation else math.inf, c.run_id))


def _with_noise(score: Score) -> str:
    parts = [f"{score.value:.6g}"]
    if score.interval is not None:
        parts.append(f"95 % [{score.interval[0]:.6g}, {score.interval[1]:.6g}]")
    if score.std is not None:
        parts.append(f"deviation {score.std:.3g}")
    if score.floor is not None:
        parts.append(f"floor {score.floor:.6g}")
    return parts[0] + (f" ({', '.join(parts[1:])})" if len(parts) > 1 else "")
