"""The comparison on the same images and seeds, the parts of the test images, metrics and bounds, decisions as JSON."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from d2n import promotion
from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError
from d2n.promotion import Candidate, Decision, Found, Resampled, compare, decide

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)


def seeds(setting: str, *values: float) -> list[Candidate]:
    return [
        Candidate(
            f"{setting}{i}",
            "cyclegan",
            Score("fid", v, PROTOCOL),
            Score("fid", v + 1, PROTOCOL),
            seed=i,
            setting=setting,
        )
        for i, v in enumerate(values)
    ]


def images(deviations: list[float], together: float = 0.0, count: int = 4000, n: int = 100) -> Resampled:
    rng = np.random.default_rng(0)
    shared = together * rng.normal(size=(count, 1))
    return Resampled(shared + rng.normal(size=(count, len(deviations))) * deviations, None, n)


def test_seeds_alone_are_students_t_over_two_settings() -> None:
    a, c = [1.0, 2.0, 3.0], [4.0, 5.0, 9.0]
    found = compare("fid", a, c, None, lower_is_better=True, level=0.025)
    independent = stats.ttest_ind(c, a)
    assert found.gain == pytest.approx(4.0)
    assert found.degrees == pytest.approx(4.0)
    assert found.gain / found.deviation == pytest.approx(independent.statistic)
    assert found.low == pytest.approx(independent.confidence_interval(0.95).low)
    assert found.clear is bool(independent.pvalue / 2 < 0.025)


def test_further_settings_tell_more_of_the_noise_of_seeds() -> None:
    alone = compare("fid", [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], None, lower_is_better=True)
    joined = compare(
        "fid", [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], None, lower_is_better=True, others=[[7.0, 8.0, 9.0]]
    )
    assert (alone.degrees, joined.degrees) == (pytest.approx(4), pytest.approx(6))
    assert joined.deviation == pytest.approx(alone.deviation)
    assert joined.low > alone.low


def test_what_all_generators_share_cancels() -> None:
    apart = compare("fid", [1.0], [2.0], images([0.3, 0.3]), lower_is_better=True)
    together = compare("fid", [1.0], [2.0], images([0.3, 0.3], together=50.0), lower_is_better=True)
    assert apart.image_deviation == pytest.approx(0.3 * math.sqrt(2), rel=0.05)
    assert together.image_deviation == pytest.approx(apart.image_deviation, rel=0.05)
    assert apart.degrees == pytest.approx(99)
    assert "without the noise of seeds" in apart.notes[0]


def test_what_seeds_vary_by_because_of_the_images_is_counted_once() -> None:
    values = [1.0, 1.6, 1.3]  # deviation 0.3, as the images make it
    found = compare("fid", values, [v + 5 for v in values], images([0.3] * 6), lower_is_better=True)
    assert found.seed_deviation < 0.1
    assert found.image_deviation == pytest.approx(0.3 * math.sqrt(2 / 3), rel=0.05)
    wide = compare("fid", [0.0, 6.0, 3.0], [8.0, 14.0, 11.0], images([0.3] * 6), lower_is_better=True)
    assert wide.seed_deviation == pytest.approx(3 * math.sqrt(2 / 3), rel=0.05)
    assert wide.degrees < 5


def test_a_derivative_that_is_too_wide_is_corrected_by_whole_resamples() -> None:
    linear = np.random.default_rng(0).normal(size=(4000, 2))
    weights = np.array([1.0, -1.0])
    plain = Resampled(linear).variance(weights)
    assert plain == pytest.approx(2, rel=0.05)
    for factor, share in ((1.5, 0.5), (1.25, 0.75), (1.0, 1.0), (0.5, 1.0), (4.0, 0.5)):
        corrected = Resampled(linear, linear[:500] * math.sqrt(factor)).variance(weights)
        assert corrected / plain == pytest.approx(share)


def test_a_side_with_one_seed_borrows_and_says_so() -> None:
    found = compare("fid", [1.0, 2.0, 3.0], [6.0], None, lower_is_better=True)
    assert found.seed_deviation == pytest.approx(math.sqrt(1 + 1 / 3))
    assert found.degrees == pytest.approx(2)
    assert "the champion has one seed" in found.notes[0]


def test_nothing_known_is_never_clear() -> None:
    found = compare("map/toycity/night", [0.5], [0.1], None, lower_is_better=False)
    assert (found.clear, found.deviation, found.gain) == (None, None, pytest.approx(0.4))


def test_equal_generators_seldom_win() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        values = rng.normal(size=6) * 0.5 + rng.normal(size=6) * 0.3
        noise = Resampled(rng.normal(size=(200, 6)) * 0.3, None, 100)
        hits += bool(compare("fid", values[:3], values[3:], noise, lower_is_better=True).clear)
    assert stats.binomtest(hits, 1000).proportion_ci(0.95, "exact").high <= 0.04


def test_more_images_find_a_smaller_gain() -> None:
    found = compare("fid", [1.0], [2.0], images([0.3, 0.3]), lower_is_better=True)
    now, more = promotion.detectable(found), promotion.detectable(found, 4)
    assert now is not None
    assert more == pytest.approx(now / 2)
    assert now == pytest.approx(found.deviation * (stats.t.isf(0.025, 99) + stats.t.isf(0.1, 99)))


def test_the_winner_is_the_best_seed_by_validation_and_all_its_seeds_come_along() -> None:
    champion = dataclasses.replace(seeds("old", 30.0)[0], name="d2n-x/1")
    clear = compare("fid", [10.0, 9.0, 11.0], [30.0], images([0.1] * 4), lower_is_better=True)
    decision = decide(
        [*seeds("new", 10.0, 9.0, 11.0), *seeds("other", 5.0), champion],
        champion,
        found=Found(("new", "other"), clear),
    )
    assert decision.promote
    assert decision.winner.run_id == "new1"
    assert [c.run_id for c in decision.seeds] == ["new1", "new0", "new2"]
    assert decision.comparison is clear
    assert any(reason.startswith("challenger: cyclegan new1") for reason in decision.reasons)


def test_another_seed_of_the_champions_setting_is_no_challenger() -> None:
    champion = seeds("old", 30.0)[0]
    decision = decide(seeds("old", 30.0, 20.0), champion)
    assert not decision.promote
    assert "champion already" in decision.reasons[-1]


@pytest.mark.parametrize("gain", [0.0, -1.0])
def test_a_tie_keeps_the_champion_even_where_noise_is_accepted(gain: float) -> None:
    tie = compare("fid", [10.0], [10.0 + gain], images([0.1] * 2), lower_is_better=True)
    decision = decide(
        [*seeds("new", 10.0), *seeds("old", 10.0)],
        seeds("old", 10.0)[0],
        accept_noise=True,
        found=Found(("new",), tie),
    )
    assert not decision.promote


def test_a_decision_is_read_back_as_it_was() -> None:
    champion = seeds("old", 30.0)[0]
    found = compare("fid", [10.0, 9.0], [30.0], images([0.1] * 3), lower_is_better=True)
    found = dataclasses.replace(found, protocol=PROTOCOL)
    left = seeds("bad", math.nan)
    decision = decide([*seeds("new", 10.0, 9.0), *left], champion, found=Found(("new",), found))
    again = Decision.from_json(decision.to_json())
    assert again.to_json() == decision.to_json()
    assert again.comparison == decision.comparison
    assert again.seeds == decision.seeds
    assert math.isnan(again.left_out[0].candidate.score.value)
    for text in ("", "{}", "[1]", '{"winner": 3}', "[" * 100_000):
        with pytest.raises(D2NError, match="cannot be read"):
            Decision.from_json(text)


def test_parts_are_equal_disjoint_take_turns_and_do_not_depend_on_the_order() -> None:
    keys = [f"image{i}" for i in range(103)]
    found = [promotion.split(keys, turn, 3, 30) for turn in range(4)]
    assert sorted(np.concatenate([one.compared for one in found[:3]])) == list(range(103))
    assert {len(one.compared) for one in found} <= {34, 35}
    assert found[3].compared.tolist() == found[0].compared.tolist()
    for one in found:
        assert not set(one.compared) & set(one.ranking)
        assert len(one.compared) + len(one.ranking) == 103
    turned = promotion.split(keys[::-1], 0, 3, 30)
    assert {keys[::-1][i] for i in turned.compared} == {keys[i] for i in found[0].compared}


def test_a_small_split_has_fewer_parts_or_none() -> None:
    keys = [f"image{i}" for i in range(50)]
    assert promotion.split(keys, 0, 4, 20).parts == 2
    none = promotion.split(keys, 5, 2, 40)
    assert (none.parts, len(none.compared), len(none.ranking)) == (1, 50, 0)
    assert "all 50 images" in none.where


def test_reuse_moves_and_flatters_more_the_more_often() -> None:
    few, many = (promotion.reuse_bias(uses, num_repeats=2000) for uses in (2, 40))
    assert few[0] == pytest.approx(2 * 0.025, abs=0.02)
    assert few[0] < many[0] < 40 * 0.04
    assert few[1] < many[1] < 1.5
    assert promotion.reuse_bias(10, num_repeats=500) == promotion.reuse_bias(10, num_repeats=500)


def test_metrics_with_weights() -> None:
    found = promotion.parse_metrics(["fid=2", "prd/f8,kid=0.5"])
    assert [(m.name, m.weight) for m in found] == [("fid", 2.0), ("prd/f8", 1.0), ("kid", 0.5)]
    for wrong, words in (
        (["fid=0"], "above 0"),
        (["fid=x"], "NAME=WEIGHT"),
        (["fid", "fid"], "twice"),
        (["loss"], "no known direction"),
        (["fid", "map/toycity/night"], "cannot be weighed"),
        ([""], "no known direction"),
    ):
        with pytest.raises(D2NError, match=words):
            promotion.parse_metrics(wrong)


def test_bounds_of_a_map_are_in_percent_where_they_are_over_1() -> None:
    day, fid = promotion.parse_constraints(["map/toycity/day >= 80", "fid<60"])
    assert (day.bound, str(fid)) == (0.8, "fid < 60")
    assert day.holds(0.8)
    assert not day.holds(0.79)
    assert not day.holds(math.nan)
    for wrong in ("fid", "fid >= x", "fid = 3", ">= 3", "fid >= nan", "loss >= 3"):
        with pytest.raises(D2NError):
            promotion.parse_constraints([wrong])


def test_ranks_of_several_scores_are_weighed_each_in_its_own_direction() -> None:
    rows = [{"fid": 10.0, "prd/f8": 0.5}, {"fid": 20.0, "prd/f8": 0.9}, {"fid": 20.0, "prd/f8": math.nan}]
    equal = promotion.parse_metrics(["fid", "prd/f8"])
    assert promotion.weighted_ranks(rows, equal) == pytest.approx((1.5, 1.75, 2.75))
    assert promotion.weighted_ranks(rows, promotion.parse_metrics(["fid"])) == pytest.approx((1, 2.5, 2.5))
