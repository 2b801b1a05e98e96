"""Figures as files: each kind is drawn, and the same figure gives the same bytes."""

from __future__ import annotations

import pytest

from d2n import plots

TRIALS = [
    plots.TrialPoint(
        i, "COMPLETE" if i % 3 else "PRUNED", (20.0 + i,), {"lr": 10.0**-i, "net": "$unet$"}, std=0.5
    )
    for i in range(4)
]
FIGURES = {
    "bars": plots.map_bars(["a", "b"], {"day": [(90.0, 1.0), (91.0, None)], "night": [(10.0, None), None]}),
    "history": plots.optimization_history(TRIALS),
    "parallel": plots.parallel_coordinates(TRIALS, log_dims=("lr",)),
    "importances": plots.importances({"lr": 0.7, "net": 0.3}),
    "scatter": plots.score_against_map([1, 2], [4, 5], ["a", "<b>"], score_name="fid", map_name="mAP"),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_is_a_picture_too(kind: str) -> None:
    made = plots.pictures(FIGURES[kind], width_px=300, height_px=200)
    assert made["png"].startswith(b"\x89PNG")
    assert b"<svg" in made["svg"]
    assert made["svg"].count(b"<path") > 10  # axes, ticks and what is drawn
    if kind == "bars":
        assert made == plots.pictures(FIGURES[kind], width_px=300, height_px=200)


def test_no_error_bar_is_drawn_of_one_seed() -> None:
    fig = plots.map_bars(["a"], {"night": [(10.0, None)]})
    assert fig.data[0].error_y.array is None


def test_trials_are_counted_in_whole_numbers() -> None:
    axis = plots.optimization_history(TRIALS).layout.xaxis
    assert (axis.tick0, axis.dtick, axis.tickformat) == (0, 1, "d")
