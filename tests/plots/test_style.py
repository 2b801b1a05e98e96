"""Figures as files that need no network."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import pytest

from d2n.errors import D2NError
from d2n.plots import history, to_html, write_html
from d2n.plots.style import COLORS, plotly_js, small_page, translucent


def test_written_html_holds_plotly_itself(tmp_path: Path) -> None:
    path = write_html(history({"loss": ([1, 2], [1.0, 0.5])}), tmp_path / "plots" / "loss.html")
    text = path.read_text(encoding="utf-8")
    assert len(text) > 3_000_000
    assert not re.search(r"<script[^>]+src=", text)
    assert [item.name for item in path.parent.iterdir()] == ["loss.html"]


def test_a_small_page_holds_plotly_once_and_packed() -> None:
    fig = history({"loss": ([1, 2], [1.0, 0.5])})
    text = small_page("</title><b>", {"figure-a": fig, "figure-b": fig})
    assert len(text) < 2_500_000
    assert "<b>" not in text
    assert not re.search(r"<script[^>]+src=", text)
    assert text.count("Plotly.newPlot") == text.count('<script type="text/x-figure">') == 2
    packed = re.search(r'id="packed">([^<]+)<', text)
    assert packed is not None
    assert gzip.decompress(base64.b64decode(packed[1])).decode() == plotly_js()
    assert small_page("a", {"b": fig}) == small_page("a", {"b": fig})


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(D2NError, match="cannot be written"):
        write_html(history({}), tmp_path / "file" / "loss.html")


def test_div_is_the_same_for_the_same_figure_and_holds_no_library() -> None:
    fig = history({"loss": ([1, 2], [1.0, 0.5])})
    assert to_html(fig, "loss") == to_html(fig, "loss")
    assert len(to_html(fig, "loss", height_px=300)) < 30_000
    assert fig.layout.height is None  # the figure itself is left as it was


def test_no_figure_offers_to_upload_its_data(tmp_path: Path) -> None:
    fig = history({"loss": ([1, 2], [1.0, 0.5])})
    for html in (to_html(fig, "a"), write_html(fig, tmp_path / "a.html").read_text(encoding="utf-8")):
        assert '"showSendToCloud": false' in html
        assert "chart-studio.plotly.com" not in html.rpartition("Plotly.newPlot")[2]


def test_translucent_keeps_the_colour() -> None:
    assert translucent(COLORS[0], 0.2) == "rgba(0,114,178,0.2)"
