"""Which score goes with mAP, on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.errors import D2NError
from d2n.plots import agreement

N = 24
RNG = np.random.default_rng(7)
MAPS = np.sort(RNG.normal(20, 6, N))
NOISE = RNG.normal(size=(3, N))
TABLE = {
    "none": NOISE[0].tolist(),
    "exact": (MAPS**3).tolist(),
    "weak": (MAPS + 14 * NOISE[1]).tolist(),
}


def test_scores_stand_in_the_order_in_which_they_go_with_map() -> None:
    found = agreement.correlations({**TABLE, "constant": [1.0] * N}, MAPS.tolist())
    assert next(iter(found)) == "exact"
    assert list(found)[-1] == "constant"
    assert found["exact"].rho == pytest.approx(1)
    interval = found["none"].interval
    assert interval is not None
    assert interval[0] < 0 < interval[1]


def test_a_difference_is_settled_where_one_score_knows_and_the_other_does_not() -> None:
    by_pair = {(one.better, one.worse): one for one in agreement.differences(TABLE, MAPS.tolist())}
    assert len(by_pair) == 3
    assert by_pair["exact", "none"].is_settled
    twin = agreement.differences({"a": TABLE["weak"], "b": [2 * x for x in TABLE["weak"]]}, MAPS.tolist())
    assert (twin[0].value, twin[0].interval) == (0.0, (0.0, 0.0))
    assert not twin[0].is_settled


def test_a_generator_without_a_score_is_left_out_of_its_pairs_alone() -> None:
    holes = {**TABLE, "exact": [float("nan"), *TABLE["exact"][1:]]}
    found = agreement.differences(holes, MAPS.tolist())
    assert {one.better for one in found if "exact" in (one.better, one.worse)} == {"exact"}
    few = agreement.differences({name: row[:4] for name, row in TABLE.items()}, MAPS[:4].tolist())
    assert all(one.interval is None for one in few)


def test_the_best_pair_is_the_one_whose_sum_is_map() -> None:
    x, y = NOISE[1], NOISE[2]
    maps = np.argsort(np.argsort(x)) + np.argsort(np.argsort(y))
    found = agreement.predictions(
        {"x": x.tolist(), "y": y.tolist(), "none": NOISE[0].tolist()}, maps.tolist()
    )
    assert found[0].scores == ("x", "y")
    assert found[0].rho == pytest.approx(1, abs=2e-3)  # ties of the sum are told apart
    singles = {one.scores[0]: one.rho for one in found if len(one.scores) == 1}
    assert max(singles.values()) < 1
    assert singles["none"] < 0.5
    assert agreement.predictions({"x": [1.0, 2.0, 3.0]}, [1.0, 2.0, 3.0]) == []


def test_the_deviation_is_pooled_over_generators_and_says_how_many_seeds_are_needed() -> None:
    assert agreement.seed_deviation([[1, 3], [10, 12], [5]]) == pytest.approx(2**0.5)
    assert agreement.seed_deviation([[1], [2]]) is None
    assert agreement.seeds_needed(6, 5) == 12  # 2 (2 * 6 / 5)^2 = 11.52
    assert agreement.seeds_needed(6, 10) == 3
    with pytest.raises(D2NError, match="expected above 0"):
        agreement.seeds_needed(1, 0)


def test_a_seed_that_is_kind_to_all_lifts_no_generator_that_alone_has_it() -> None:
    """Own values 1, 2 and 3; seed 7 gives 10 more to each, and the third generator has it alone."""
    found = agreement.seed_fit([{0: 1, 7: 11}, {0: 2, 7: 12}, {7: 13}])
    assert found.means == pytest.approx((6, 7, 8))
    assert found.deviation == pytest.approx(0, abs=1e-9)
    whole = agreement.seed_fit([{0: 1, 1: 3}, {0: 4, 1: 4}])  # every one has both: plain means
    assert whole.means == pytest.approx((2, 4))
    assert whole.deviation == pytest.approx(1)  # residuals of 1/2 each, one degree of freedom
    assert agreement.seed_fit([{0: 1}, {0: 2}]).deviation is None


def test_the_figure_has_a_series_a_map_and_a_point_a_score() -> None:
    found = agreement.correlations(TABLE, MAPS.tolist())
    fig = agreement.agreement_figure({"night": found, "day": found})
    assert [trace.name for trace in fig.data] == ["night", "day"]
    assert fig.data[0].y[-1] == "exact"
    assert fig.data[0].error_x.array[-1] == pytest.approx(0)


def test_a_score_that_half_of_the_generators_recommend_chooses_in_the_other_half() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=24)
    blind, sees = rng.normal(size=24), maps + 0.1 * rng.normal(size=24)
    gain = agreement.choice_gain(
        {"blind": blind.tolist(), "sees": sees.tolist()}, maps.tolist(), num_splits=300
    )
    assert gain is not None
    assert (gain.base, gain.most_recommended) == ("blind", "sees")
    assert gain.value > 0.5
    assert gain.interval[0] <= gain.value <= gain.interval[1]
    same = agreement.choice_gain(
        {"sees": sees.tolist(), "blind": blind.tolist()}, maps.tolist(), num_splits=300
    )
    assert same is not None
    assert abs(same.value) < 0.1  # the first score is the one that is recommended
    assert agreement.choice_gain({"sees": sees.tolist(), "blind": blind.tolist()}, maps[:9].tolist()) is None
