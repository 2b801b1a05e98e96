"""PRD curves, histories and bars."""

from __future__ import annotations

import dataclasses
import io
import math
from functools import partial
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError, ProtocolMismatchError
from d2n.plots import history, prd_curves, prd_picture, score_bars
from d2n.plots.scores import whiskers

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)
OTHER = dataclasses.replace(PROTOCOL, num_images=100)
CURVES = {"cyclegan": ([0.9, 0.5, 0.1], [0.1, 0.5, 0.8]), "pix2pix": ([0.7, 0.2], [0.3, 0.6])}


def test_recall_lies_to_the_right_and_precision_up() -> None:
    fig = prd_curves(CURVES)
    assert [trace.name for trace in fig.data] == ["cyclegan", "pix2pix"]
    assert list(fig.data[0].x) == [0.1, 0.5, 0.8]
    assert list(fig.data[0].y) == [0.9, 0.5, 0.1]
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("recall", "precision")


def test_curves_of_two_protocols_are_refused_with_both_identities() -> None:
    for draw in (prd_curves, partial(prd_picture, form="svg")):
        with pytest.raises(ProtocolMismatchError) as refusal:
            draw(CURVES, protocols=[PROTOCOL, OTHER])
        assert PROTOCOL.identity in str(refusal.value)
        assert OTHER.identity in str(refusal.value)


def test_curves_without_points_or_of_unequal_sides_are_refused() -> None:
    with pytest.raises(D2NError, match="no PRD curve"):
        prd_curves({})
    with pytest.raises(D2NError, match="'a' has 2 precision and 1 recall"):
        prd_curves({"a": ([1.0, 0.5], [1.0])})


def test_more_curves_than_colours_differ_by_their_dash() -> None:
    fig = prd_curves({str(i): ([1.0], [1.0]) for i in range(16)})
    looks = {(trace.line.color, trace.line.dash) for trace in fig.data}
    assert len(looks) == 16


def test_png_shows_the_curve_where_it_is() -> None:
    image = Image.open(io.BytesIO(prd_picture({"top": ([1.0, 1.0], [0.0, 1.0])}, "png", size_px=400)))
    assert image.size == (400, 400)
    blue = _is_blue(np.asarray(image.convert("RGB")))
    rows = np.flatnonzero(blue.sum(axis=1) > 200)  # a horizontal line along the top edge
    assert rows.size > 0
    assert rows.max() < 60


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_picture_of_the_same_curve_is_the_same_file(form: Literal["svg", "png"]) -> None:
    assert prd_picture(CURVES, form) == prd_picture(CURVES, form)


def test_the_svg_stays_small_and_names_its_curves() -> None:
    curve = (np.linspace(1, 0, 1001).tolist(), np.linspace(0, 1, 1001).tolist())
    svg = prd_picture({"pix2pix": curve, "cyclegan": curve}, "svg").decode()
    assert len(svg) < 120_000
    assert "<svg" in svg


def test_history_leaves_gaps_where_a_value_is_not_finite() -> None:
    fig = history({"fid": ([1, 2, 3], [3.0, math.nan, 1.0])}, x="epoch", floor=0.5)
    assert list(fig.data[0].y) == [3.0, None, 1.0]
    assert fig.layout.shapes[0].y0 == 0.5


def test_bars_carry_interval_and_floor() -> None:
    fig = score_bars(
        {
            "a": Score("fid", 10.0, PROTOCOL, interval=(8.0, 13.0), floor=2.0),
            "b": Score("fid", 12.0, PROTOCOL, std=1.5),
        }
    )
    assert list(fig.data[0].error_y.array) == [3.0, 3.0]
    assert list(fig.data[0].error_y.arrayminus) == [2.0, 3.0]
    assert list(fig.data[1].y) == [2.0, None]


def test_bars_of_two_protocols_or_two_scores_are_refused() -> None:
    with pytest.raises(ProtocolMismatchError):
        score_bars({"a": Score("fid", 1.0, PROTOCOL), "b": Score("fid", 1.0, OTHER)})
    with pytest.raises(D2NError, match="fid, kid"):
        score_bars({"a": Score("fid", 1.0, PROTOCOL), "b": Score("kid", 1.0, PROTOCOL)})
    with pytest.raises(D2NError, match="no scores"):
        score_bars({})


def test_whiskers_are_zero_where_nothing_is_known() -> None:
    assert whiskers(Score("fid", 1.0)) == (0.0, 0.0)


def _is_blue(rgb: np.ndarray) -> np.ndarray:
    return (rgb[..., 2].astype(int) - rgb[..., 0]) > 100
