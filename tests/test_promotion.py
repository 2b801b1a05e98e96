"""The promotion rule: who wins, who is left out, when the alias moves."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError, ProtocolMismatchError
from d2n.promotion import Candidate, decide, exceeds_noise, lower_is_better

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)


def candidate(
    run_id: str, value: float, *, method: str = "pix2pix", name: str = "fid", **given: object
) -> Candidate:
    of_score = {k: given.pop(k) for k in ("std", "interval", "floor", "protocol") if k in given}
    score = Score(name, value, **{"protocol": PROTOCOL, **of_score})  # type: ignore[arg-type]  # keywords by name
    return Candidate(run_id, method, score, **given)  # type: ignore[arg-type]  # keywords by name


def test_first_champion_is_the_smallest_fid_over_both_methods() -> None:
    decision = decide([candidate("a", 30.0), candidate("b", 20.0, method="cyclegan"), candidate("c", 25.0)])
    assert (decision.winner.run_id, decision.promote) == ("b", True)
    assert [c.run_id for c in decision.ranking] == ["b", "c", "a"]
    assert "considered 3 candidates (cyclegan, pix2pix)" in decision.reasons[0]
    assert PROTOCOL.identity in decision.reasons[0]
    assert "no champion" in decision.reasons[-1]


def test_larger_wins_where_larger_is_better() -> None:
    decision = decide([candidate("a", 0.3, name="prd/f8"), candidate("b", 0.9, name="prd/f8")])
    assert decision.winner.run_id == "b"


def test_direction_follows_the_base_name() -> None:
    assert lower_is_better("fid.retrieval_d2n-retrieval-toycity")
    assert not lower_is_better("prd/f1_8.squeezenet1_0")
    with pytest.raises(D2NError, match="no known direction"):
        lower_is_better("loss/generator")


@pytest.mark.parametrize(
    ("champion_value", "min_gain", "promote", "gain"),
    [(21.0, 0.0, True, 1.0), (21.0, 1.0, False, 1.0), (20.0, 0.0, False, 0.0), (19.0, 0.0, False, -1.0)],
)
def test_gain_must_exceed_min_gain(
    champion_value: float, min_gain: float, promote: bool, gain: float
) -> None:
    winner, old = (
        candidate(run_id, value, std=0.01) for run_id, value in (("b", 20.0), ("old", champion_value))
    )
    decision = decide([winner], old, min_gain)
    assert decision.promote is promote
    assert decision.gain == pytest.approx(gain)


def test_gain_is_positive_for_the_better_when_larger_is_better() -> None:
    winner, old = candidate("b", 0.8, name="prd/f8"), candidate("old", 0.5, name="prd/f8")
    assert not decide([winner], old).promote  # nothing tells whether it would repeat
    decision = decide([winner], old, accept_noise=True)
    assert decision.promote
    assert decision.accepted_noise
    assert decision.gain == pytest.approx(0.3)


def test_a_gain_within_the_noise_keeps_the_champion_unless_noise_is_accepted() -> None:
    winner, old = candidate("b", 20.0, interval=(18.0, 22.0)), candidate("old", 21.0, interval=(19.0, 23.0))
    decision = decide([winner], old)
    assert not decision.promote
    assert decision.clear is False
    assert any("within the noise" in reason for reason in decision.reasons)
    accepted = decide([winner], old, accept_noise=True)
    assert (accepted.promote, accepted.accepted_noise) == (True, True)
    assert "--accept-noise" in accepted.reasons[-1]
    clear = decide([winner], candidate("old", 31.0, interval=(29.0, 33.0)), accept_noise=True)
    assert (clear.promote, clear.clear, clear.accepted_noise) == (True, True, False)


def test_unknown_noise_never_counts_as_clear() -> None:
    decision = decide([candidate("b", 20.0)], candidate("old", 30.0))
    assert decision.clear is None
    assert not decision.promote
    assert "no known noise" in decision.reasons[-1]


def test_noise_from_deviations_is_two_sigma_of_the_difference() -> None:
    a = Score("kid", 0.0, std=3.0)
    assert exceeds_noise(a, Score("kid", 10.1, std=4.0))  # 2 * hypot(3, 4) = 10
    assert exceeds_noise(a, Score("kid", 9.9, std=4.0)) is False
    assert exceeds_noise(a, Score("kid", 9.9)) is None


def test_champion_found_again_among_the_candidates_stays() -> None:
    decision = decide([candidate("old", 20.0), candidate("b", 25.0)], candidate("old", 20.0))
    assert not decision.promote
    assert "champion already" in decision.reasons[-1]


def test_champion_without_a_finite_score_is_replaced() -> None:
    decision = decide([candidate("b", 20.0)], candidate("old", math.nan))
    assert decision.promote
    assert decision.gain is None
    assert "nan" in decision.reasons[-1]


def test_unusable_scores_are_left_out_with_their_reason() -> None:
    decision = decide(
        [
            candidate("a", math.nan),
            candidate("b", 20.0),
            candidate("c", 1.0, protocol=None),
            candidate("d", math.inf),
        ]
    )
    assert decision.winner.run_id == "b"
    assert [(item.candidate.run_id, item.reason.split(",")[0]) for item in decision.left_out] == [
        ("a", "its fid is nan"),
        ("c", "its fid carries no protocol"),
        ("d", "its fid is inf"),
    ]
    assert sum(reason.startswith("left out: ") for reason in decision.reasons) == 3


def test_mixed_protocols_are_refused_with_both_identities() -> None:
    other = dataclasses.replace(PROTOCOL, resize="tf1@299", num_images=100)
    with pytest.raises(ProtocolMismatchError) as refusal:
        decide([candidate("a", 20.0), candidate("b", 10.0, protocol=other)])
    message = str(refusal.value)
    assert PROTOCOL.identity in message
    assert other.identity in message
    assert "differ in resize, num_images" in message
    assert "\n" not in message


def test_a_champion_of_another_protocol_is_refused() -> None:
    other = dataclasses.replace(PROTOCOL, reference_digest="ef" * 32)
    with pytest.raises(ProtocolMismatchError, match="reference_digest"):
        decide([candidate("a", 20.0)], candidate("old", 30.0, protocol=other))
    with pytest.raises(ProtocolMismatchError, match="no protocol"):
        decide([candidate("a", 20.0)], candidate("old", 30.0, protocol=None))


def test_different_scores_never_meet() -> None:
    with pytest.raises(D2NError, match="fid against kid"):
        decide([candidate("a", 20.0), candidate("b", 0.1, name="kid")])


def test_ties_go_to_the_better_validation_score_whatever_the_order() -> None:
    field = [
        candidate("a", 20.0, validation=Score("fid", 23.0, PROTOCOL)),
        candidate("b", 20.0, validation=Score("fid", 22.0, PROTOCOL)),
        candidate("c", 20.0),
    ]
    winners = {decide(list(order)).winner.run_id for order in itertools.permutations(field)}
    assert winners == {"b"}
    assert any("tied with" in reason for reason in decide(field).reasons)


def test_full_ties_go_to_the_smaller_run_id_whatever_the_order() -> None:
    field = [candidate("b", 20.0), candidate("a", 20.0)]
    assert decide(field).winner.run_id == decide(field[::-1]).winner.run_id == "a"


def test_doubts_are_said() -> None:
    decision = decide(
        [
            candidate(
                "a", 20.0, floor=15.0, dataset_digest="1" * 64, validation=Score("fid", 30.0, PROTOCOL)
            ),
            candidate("b", 21.0, dataset_digest="2" * 64, validation=Score("fid", 25.0, PROTOCOL)),
        ]
    )
    text = "\n".join(decision.reasons)
    assert "real against real at the same number of images scores 15" in text
    assert "trained on 2 states of the data set" in text
    assert "the validation split would have picked pix2pix b" in text


def test_nobody_to_choose_from_names_the_command() -> None:
    with pytest.raises(
        D2NError, match=r"no finished run of amos .*d2n train experiments/<method>_amos\.yaml"
    ):
        decide([], dataset="amos")
    with pytest.raises(D2NError, match=r"none of 1 candidates .*d2n score RUN_ID"):
        decide([candidate("a", math.nan)])


def test_negative_or_undefined_min_gain_is_refused() -> None:
    for wrong in (-1.0, math.nan):
        with pytest.raises(D2NError, match="min_gain"):
            decide([candidate("a", 20.0)], min_gain=wrong)
