"""A study's figures from plain values."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from d2n.errors import D2NError
from d2n.plots import (
    Span,
    TrialPoint,
    best_so_far,
    importances,
    intermediate_values,
    optimization_history,
    parallel_coordinates,
    pareto_figure,
    pareto_front,
    slices,
    timeline,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
TRIALS = [
    TrialPoint(
        0, "COMPLETE", (30.0,), {"lr": 1e-4, "dropout": True}, std=1.0, intermediate={5: 40.0, 10: 30.0}
    ),
    TrialPoint(
        1, "PRUNED", (50.0,), {"lr": 1e-3, "dropout": False, "lambda_l1": 10.0}, intermediate={5: 50.0}
    ),
    TrialPoint(2, "COMPLETE", (20.0,), {"lr": 1e-2, "dropout": False, "lambda_l1": 100.0}),
    TrialPoint(3, "FAIL", (math.nan,), {"lr": 1e-1}),
    TrialPoint(4, "RUNNING", (), {"lr": 1e-2}),
]


def test_best_so_far_skips_what_is_missing() -> None:
    values = [None, 3.0, math.nan, 5.0, 1.0]
    assert best_so_far(values) == [None, 3.0, 3.0, 3.0, 1.0]
    assert best_so_far(values, "maximize") == [None, 3.0, 3.0, 5.0, 5.0]


def test_history_counts_only_complete_trials_as_best() -> None:
    trials = [*TRIALS, TrialPoint(5, "PRUNED", (1.0,))]
    fig = optimization_history(trials, floor=5.0, noise=2.0)
    lines = {trace.name: trace for trace in fig.data}
    assert list(lines["best so far"].y) == [30.0, 30.0, 20.0, 20.0, 20.0, 20.0]
    assert list(lines["complete"].y) == [30.0, 20.0]
    assert list(lines["complete"].error_y.array) == [1.0, 0.0]
    assert list(lines["pruned"].y) == [50.0, 1.0]
    assert "fail" not in lines
    band = fig.layout.shapes[1]
    assert (band.y0, band.y1) == (18.0, 22.0)


def test_importances_put_the_largest_on_top() -> None:
    fig = importances({"lr": 0.7, "dropout": 0.1, "lambda_l1": 0.2})
    assert list(fig.data[0].y) == ["dropout", "lambda_l1", "lr"]


def test_parallel_coordinates_take_log10_and_keep_pruned_and_conditional() -> None:
    fig = parallel_coordinates(TRIALS, log_dims={"lr"})
    lr, dropout, lambda_l1, fid = fig.data[0].dimensions
    assert list(lr["values"]) == pytest.approx([-4.0, -3.0, -2.0])
    assert list(lr.ticktext) == ["0.0001", "0.001", "0.01"]
    assert list(dropout.ticktext) == ["False", "True"]
    assert list(dropout["values"]) == [1, 0, 0]
    assert lambda_l1.ticktext[0] == "none"
    assert lambda_l1["values"][0] < 10.0
    assert list(fid["values"]) == [30.0, 50.0, 20.0]


def test_parallel_coordinates_of_one_trial_have_an_axis_with_length() -> None:
    lr = parallel_coordinates(TRIALS[:1], log_dims={"lr"}).data[0].dimensions[0]
    assert lr.range[1] > lr.range[0]


def test_slices_are_one_panel_a_param() -> None:
    fig = slices(TRIALS, log_dims={"lr"})
    assert [fig.layout[axis].title.text for axis in ("xaxis", "xaxis2", "xaxis3")] == [
        "lr",
        "dropout",
        "lambda_l1",
    ]
    assert fig.layout.xaxis.type == "log"
    assert list(fig.data[2].x) == [10.0, 100.0]
    assert list(fig.data[1].x) == ["True", "False", "False"]


def test_intermediate_values_are_in_order_of_epochs() -> None:
    fig = intermediate_values([TrialPoint(0, "COMPLETE", intermediate={10: 1.0, 5: 2.0})])
    assert list(fig.data[0].x) == [5, 10]
    assert list(fig.data[0].y) == [2.0, 1.0]


def test_pareto_front_by_hand() -> None:
    points = [(1, 5), (2, 3), (3, 4), (4, 1), (4, 1), (5, 5)]
    assert pareto_front(points, ["minimize", "minimize"]) == [0, 1, 3, 4]
    assert pareto_front(points, ["minimize", "maximize"]) == [0]
    assert pareto_front([], ["minimize", "minimize"]) == []


def test_pareto_figure_joins_the_front_in_order() -> None:
    values = [(4.0, 1.0), (1.0, 5.0), (3.0, 4.0), (2.0, 3.0)]
    trials = [TrialPoint(i, "COMPLETE", value) for i, value in enumerate(values)]
    fig = pareto_figure(trials, names=["fid", "seconds"], directions=["minimize", "minimize"])
    front = next(trace for trace in fig.data if trace.name == "front")
    assert list(zip(front.x, front.y, strict=True)) == [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0)]
    with pytest.raises(D2NError, match="of 3 objectives"):
        pareto_figure(trials, names=["a", "b", "c"], directions=["minimize"] * 3)


def test_timeline_has_a_row_a_worker_and_a_bar_an_attempt() -> None:
    minute = timedelta(minutes=1)
    trials = [
        TrialPoint(
            0,
            "COMPLETE",
            spans=(Span("a", START, START + minute), Span("b", START + minute, START + 3 * minute, 2)),
        ),
        TrialPoint(1, "RUNNING", spans=(Span("a", START + 2 * minute),)),
    ]
    fig = timeline(trials, now=START + 4 * minute)
    complete, running = fig.data
    assert list(complete.y) == ["a", "b"]
    assert list(complete.x) == [60_000, 120_000]
    assert list(complete.text) == ["0", "0 (attempt 2)"]
    assert list(running.x) == [120_000]
    assert len(timeline(trials).data) == 1  # without a clock the running one is left out


def test_a_study_without_trials_says_so() -> None:
    empty = [parallel_coordinates([]), slices([]), intermediate_values([]), timeline([])]
    empty.append(pareto_figure([], names=["a", "b"], directions=["minimize", "minimize"]))
    assert all("yet" in fig.layout.annotations[0].text for fig in empty)
