"""mAP: hand-computed values, the published protocol by brute force, junk, ties of roles, revisited, recall."""

import logging

import numpy as np
import pytest
import torch

from d2n.errors import ScoreError
from d2n.scores.mean_ap import average_precision, mean_average_precision, recall_at, revisited


def column(*order):
    return np.array(order)[:, None]


@pytest.mark.parametrize(
    ("ranks", "num_positives", "value"),
    [
        ([0], 1, 1.0),
        ([0, 1, 2], 3, 1.0),
        ([1], 1, 0.5 * (0 / 1 + 1 / 2)),
        ([0, 2], 2, 0.5 * 0.5 * (1 + 1) + 0.5 * 0.5 * (1 / 2 + 2 / 3)),
        ([0], 4, 0.25),
        ([], 3, 0.0),
    ],
)
def test_average_precision_by_trapezoids(ranks, num_positives, value):
    assert average_precision(ranks, num_positives) == pytest.approx(value, abs=1e-15)


def test_average_precision_without_positives_is_undefined():
    assert np.isnan(average_precision([], 0))


def walk(order, ok, junk, kappas):
    """The protocol, an image at a time: junk is skipped, but an image that is ok too is judged as ok first."""
    places, removed = [], 0
    for place, image in enumerate(order):
        if image in ok:
            places.append(place - removed)
        if image in junk:
            removed += 1
    n, ap = len(ok), 0.0
    for j, r in enumerate(places):
        ap += ((1.0 if r == 0 else j / r) + (j + 1) / (r + 1)) / (2 * n)
    at = []
    for k in kappas:
        capped = min(max(places) + 1, k) if places else 1
        at.append(sum(p + 1 <= capped for p in places) / capped)
    return ap, at


def test_agrees_with_a_walk_over_random_rankings():
    rng = np.random.default_rng(0)
    ranks = np.stack([rng.permutation(50) for _ in range(30)], axis=1)
    truth = [
        {
            "ok": rng.choice(50, rng.integers(1, 8)).tolist(),
            "junk": rng.choice(50, rng.integers(0, 9)).tolist(),
        }
        for _ in range(30)
    ]
    result = mean_average_precision(ranks, truth, kappas=(1, 5, 10))
    expected = [walk(ranks[:, q], t["ok"], t["junk"], (1, 5, 10)) for q, t in enumerate(truth)]
    np.testing.assert_allclose(result.aps, [ap for ap, _ in expected], rtol=1e-13)
    assert result.map == pytest.approx(np.mean([ap for ap, _ in expected]))
    for i, k in enumerate((1, 5, 10)):
        assert result.mp_at[k] == pytest.approx(np.mean([at[i] for _, at in expected]))


def test_junk_ahead_of_a_positive_lowers_its_rank():
    truth = [{"ok": [7], "junk": [3]}]
    assert mean_average_precision(column(3, 7, 1), truth).map == 1.0
    assert mean_average_precision(column(3, 7, 1), [{"ok": [7]}]).map == 0.25


def test_an_image_that_is_ok_and_junk_stays_a_positive_and_shifts_later_ones():
    result = mean_average_precision(column(9, 4, 5), [{"ok": [4, 5], "junk": [4]}])
    # places 1 and 2; the second loses one: ranks 1 and 1
    assert result.map == pytest.approx((0 / 1 + 1 / 2) / 4 + (1 / 1 + 2 / 2) / 4)


def test_duplicates_among_the_positives_count():
    assert mean_average_precision(column(2, 0, 1), [{"ok": [2, 2]}]).map == 0.5


def test_precision_at_k_is_capped_at_the_last_positive():
    result = mean_average_precision(column(4, 0, 1, 2, 3), [{"ok": [4, 0]}], kappas=(1, 3, 10))
    assert result.mp_at == {1: 1.0, 3: 1.0, 10: 1.0}


def test_queries_without_positives_are_left_out_of_the_mean():
    ranks = np.stack([[0, 1, 2], [2, 1, 0]], axis=1)
    result = mean_average_precision(ranks, [{"ok": [0]}, {"ok": [], "junk": [1]}])
    assert result.map == 1.0
    assert np.isnan(result.aps[1])


def test_no_positive_anywhere_is_nan_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        result = mean_average_precision(column(0, 1), [{"ok": []}])
    assert np.isnan(result.map)
    assert np.isnan(result.mp_at[5])
    assert "none of the 1 queries has a positive" in caplog.text


def test_positives_that_were_never_ranked_give_zero():
    result = mean_average_precision(column(0, 1), [{"ok": [17]}])
    assert (result.map, result.mp_at[1]) == (0.0, 0.0)


def test_revisited_difficulties_share_out_positives_and_junk():
    ranks = column(0, 1, 2, 3, 4)
    truth = [{"easy": [1], "hard": [3], "junk": [0]}]
    results = revisited(ranks, truth)
    assert results["easy"].map == 1.0
    assert results["medium"].map == pytest.approx((1 + 1) / 4 + (1 / 2 + 2 / 3) / 4)
    assert results["hard"].map == pytest.approx((0 + 1 / 2) / 2)


def test_recall_keeps_queries_without_positives_in_the_denominator():
    ranks = np.stack([[0, 1, 2], [2, 1, 0], [0, 1, 2]], axis=1)
    truth = [{"ok": [0]}, {"ok": [1]}, {"ok": []}]
    assert recall_at(ranks, truth, (1, 2)) == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}


def test_tensors_are_taken_too():
    ranks = torch.tensor([[3], [7], [1]])
    assert mean_average_precision(ranks, [{"ok": torch.tensor([7]), "junk": np.array([3])}]).map == 1.0


@pytest.mark.parametrize(
    ("ranks", "truth", "words"),
    [
        (np.zeros((3, 2), int), [{"ok": [0]}], r"shape \(3, 2\) for 1 queries"),
        (np.zeros((1, 1)), [{"ok": [0]}], "expected integers"),
        (column(0, 0, 1), [{"ok": [0]}], "query 0 names a database image twice"),
        (column(0, -1), [{"ok": [0]}], "index -1"),
        (column(0, 1), [{"easy": [0]}], "no 'ok', only 'easy'"),
    ],
)
def test_bad_input_is_refused(ranks, truth, words):
    with pytest.raises(ScoreError, match=words):
        mean_average_precision(ranks, truth)


def test_kappas_start_at_one():
    with pytest.raises(ScoreError, match="from 1"):
        recall_at(column(0), [{"ok": [0]}], (0,))
