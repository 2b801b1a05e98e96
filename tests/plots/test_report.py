"""Figures that compare arms."""

from __future__ import annotations

import dataclasses

import pytest

from d2n.core import ScoreProtocol
from d2n.errors import D2NError, ProtocolMismatchError
from d2n.plots import map_bars, rank_correlation, score_against_map

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)


def test_bars_group_by_arm_with_deviations() -> None:
    fig = map_bars(["baseline", "pix2pix"], {"day": [(86.6, 1.6), (80.8, None)], "night": [(6.4, 1.4), None]})
    day, night = fig.data
    assert list(day.y) == [86.6, 80.8]
    assert list(day.error_y.array) == [1.6, 0.0]
    assert list(night.y) == [6.4, None]
    assert fig.layout.barmode == "group"


def test_bars_need_a_cell_an_arm() -> None:
    with pytest.raises(D2NError, match="day has 1 values for 2 arms"):
        map_bars(["a", "b"], {"day": [(1.0, None)]})


def test_scatter_shows_the_correlation() -> None:
    correlation = rank_correlation([1, 2, 3], [3, 2, 1])
    fig = score_against_map(
        [1, 2, 3], [3, 2, 1], ["a", "b", "c"], score_name="fid", map_name="night mAP", correlation=correlation
    )
    assert "-1.00 over 3 points: too few" in fig.layout.title.text
    assert list(fig.data[0].text) == ["a", "b", "c"]


def test_scatter_refuses_two_protocols_and_unequal_sides() -> None:
    names = {"score_name": "fid", "map_name": "night mAP"}
    other = dataclasses.replace(PROTOCOL, resize="tf1@299")
    with pytest.raises(ProtocolMismatchError):
        score_against_map([1], [1], ["a"], protocols=[PROTOCOL, other], **names)
    with pytest.raises(D2NError, match="1 scores, 2 mAPs"):
        score_against_map([1], [1, 2], ["a"], **names)
