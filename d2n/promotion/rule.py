"""Which generator becomes a data set's champion: a pure rule, candidates in, a decision with its reasons out.

The rule, and what it does not promise, is in docs/promotion.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from d2n.core import Score, require_one_protocol
from d2n.errors import D2NError
from d2n.promotion import wording
from d2n.promotion.metrics import lower_is_better
from d2n.promotion.values import Candidate, Comparison, Decision, LeftOut


@dataclass(frozen=True)
class Found:
    """What was found out besides the candidates' own scores."""

    order: tuple[
        str, ...
    ] = ()  # keys of the settings, best first, by images that do not compare; (): by score
    comparison: Comparison | None = None  # of the best setting but the champion's with the champion's
    left_out: tuple[LeftOut, ...] = ()  # those that were refused before they were scored
    notes: tuple[str, ...] = ()  # for people: alarms on the way, the use of the test images


_NOTHING = Found()


def decide(
    candidates: Sequence[Candidate],
    champion: Candidate | None = None,
    min_gain: float = 0.0,
    *,
    accept_noise: bool = False,
    dataset: str = "",
    found: Found = _NOTHING,
) -> Decision:
    """The best candidate, and whether it replaces the champion.

    It is promoted when there is no champion, or when its gain over the champion is clear (beyond its noise) and over
    ``min_gain`` (in the score's own units). With ``accept_noise`` any gain over ``min_gain`` promotes, and the
    decision records it. A tie keeps the champion. The gain and its noise are those of ``found.comparison``; without
    one those of the two scores, with exceeds_noise. Candidates of one setting are its seeds; the winner is the
    best of them by validation. Scores that are not finite or carry no protocol are left out; ties go to the better
    validation score, then to the smaller run id: the order of the candidates never matters.

    ``dataset`` only serves the messages. Raises ProtocolMismatchError when candidates or champion were scored
    under different protocols, and D2NError when scores of different names meet or nobody is left.
    """
    if not min_gain >= 0:
        raise D2NError(f"min_gain is {min_gain}, expected 0 or more, in the score's own units")
    usable, left_out = _usable(candidates)
    left_out = (*found.left_out, *left_out)
    if not usable:
        raise D2NError(wording.nobody(left_out, dataset))
    scores = [c.score for c in (*usable, *([champion] if champion else []))]
    name = _one_name(scores)
    protocol = require_one_protocol([score.protocol for score in scores], "promote between")
    settings = _settings(usable, name, found.order)
    ranking = tuple(seeds[0] for seeds in settings)
    winner = _challenger(ranking, champion, found.comparison is not None)
    gain, clear = _gain_over(winner, champion, found.comparison, name)
    promote, verdict = _verdict(winner, champion, (gain, clear), min_gain, accept_noise)
    reasons = (
        wording.considered(len(usable) + len(left_out), ranking, left_out, name, protocol),
        *(f"left out: {item.candidate.label}: {item.reason}" for item in left_out),
        *(
            wording.challenger([c for c in ranking if not is_champions(c, champion)], name)
            if found.comparison
            else wording.runner_up(ranking, name, exceeds_noise)
        ),
        *wording.against(winner, champion, gain, clear, found.comparison),
        *wording.doubts(ranking, winner, champion, name),
        *found.notes,
        verdict,
    )
    seeds = next(seeds for seeds in settings if seeds[0] is winner)
    accepted = promote and champion is not None and gain is not None and clear is not True
    return Decision(
        winner, promote, reasons, ranking, left_out, champion, gain, clear, seeds, found.comparison, accepted
    )


def exceeds_noise(a: Score, b: Score) -> bool | None:
    """Whether two scores of different images differ by more than their noise; None where neither tells its noise.

    With intervals on both sides: they do not overlap (stricter than a test of the difference at that level).
    Else with deviations on both sides: the distance is over 2 sqrt(std_a^2 + std_b^2).
    """
    if a.interval is not None and b.interval is not None:
        return a.interval[1] < b.interval[0] or b.interval[1] < a.interval[0]
    if a.std is not None and b.std is not None:
        return abs(a.value - b.value) > 2 * math.hypot(a.std, b.std)
    return None


def unusable(score: Score) -> str:
    """Why nothing can be decided by a score; '' where it can."""
    if not math.isfinite(score.value):
        return f"its {score.name} is {score.value}"
    if score.protocol is None:
        return f"its {score.name} carries no protocol, so nothing says what it compares with"
    return ""


def by_validation(seeds: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The seeds of a setting, the best by validation first, then by run id."""

    def key(candidate: Candidate) -> tuple[float, str]:
        found = candidate.validation
        if found is None or not math.isfinite(found.value):
            return math.inf, candidate.run_id
        return (found.value if lower_is_better(found.name) else -found.value), candidate.run_id

    return tuple(sorted(seeds, key=key))


def _usable(candidates: Sequence[Candidate]) -> tuple[list[Candidate], tuple[LeftOut, ...]]:
    usable, left_out = [], []
    for candidate in sorted(candidates, key=lambda c: c.run_id):
        reason = unusable(candidate.score)
        if reason:
            left_out.append(LeftOut(candidate, reason))
        else:
            usable.append(candidate)
    return usable, tuple(left_out)


def _one_name(scores: Sequence[Score]) -> str:
    names = sorted({score.name for score in scores})
    if len(names) > 1:
        raise D2NError(
            f"cannot promote between different scores: {' against '.join(names[:2])}; "
            "expected one score for all, score them again with `d2n score RUN_ID`"
        )
    return names[0]


def _settings(usable: Sequence[Candidate], name: str, order: Sequence[str]) -> list[tuple[Candidate, ...]]:
    """The seeds of each setting, the best by validation first; the best setting first."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in usable:
        groups.setdefault(candidate.setting_key, []).append(candidate)
    place = {key: i for i, key in enumerate(order)}
    sign = 1.0 if lower_is_better(name) else -1.0

    def rank(key: str) -> tuple[float, float, float, str]:
        group = by_validation(groups[key])
        mean = sum(sign * c.score.value for c in group) / len(group)
        best = group[0].validation
        tie = sign * best.value if best is not None and math.isfinite(best.value) else math.inf
        return place.get(key, math.inf), mean, tie, group[0].run_id

    return [by_validation(groups[key]) for key in sorted(groups, key=rank)]


def is_champions(candidate: Candidate, champion: Candidate | None) -> bool:
    """Whether a candidate is the champion, or another seed of its setting."""
    return champion is not None and (
        candidate.run_id == champion.run_id or candidate.setting_key == champion.setting_key
    )


def _challenger(ranking: Sequence[Candidate], champion: Candidate | None, compared: bool) -> Candidate:
    """Who meets the champion: the best of another setting, as the comparison had it; without one the best of all."""
    if not compared:
        return ranking[0]
    return next((c for c in ranking if not is_champions(c, champion)), ranking[0])


def _gain_over(
    winner: Candidate, champion: Candidate | None, comparison: Comparison | None, name: str
) -> tuple[float | None, bool | None]:
    if champion is None:
        return None, None
    if comparison is not None:
        return comparison.gain, comparison.clear
    if not math.isfinite(champion.score.value):
        return None, None
    difference = champion.score.value - winner.score.value
    gain = difference if lower_is_better(name) else -difference
    return gain, exceeds_noise(winner.score, champion.score)


def _verdict(
    winner: Candidate,
    champion: Candidate | None,
    found: tuple[float | None, bool | None],
    min_gain: float,
    accept_noise: bool,
) -> tuple[bool, str]:
    gain, clear = found
    if champion is None:
        return True, f"promoted: {winner.label}; there was no champion"
    if is_champions(winner, champion):
        return False, f"kept: {champion.label} is the champion already and still the best"
    if gain is None:
        return True, f"promoted: {winner.label}; the champion's score is {champion.score.value}"
    if gain <= min_gain:
        return False, f"kept: {champion.label}; the gain of {gain:.4g} is not over min_gain {min_gain:.6g}"
    known = "is within the noise" if clear is False else "has no known noise"
    if not clear and not accept_noise:
        return False, f"kept: {champion.label}; the gain of {gain:.4g} {known} (--accept-noise promotes it)"
    beats = f"promoted: {winner.label}; it beats {champion.label} by {gain:.4g}, over min_gain {min_gain:.6g}"
    return True, beats if clear else f"{beats}; the gain {known}, which was accepted (--accept-noise)"
