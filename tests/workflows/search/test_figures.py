"""The page of a study's figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from d2n.plots import history
from d2n.workflows.search.figures import page


@pytest.mark.slow
def test_every_figure_is_drawn_without_a_network(browser: Any, tmp_path: Path) -> None:
    fig = history({"loss": ([1, 2], [1.0, 0.5])})
    file = tmp_path / "study.html"
    file.write_text(page("a study", {"history": fig, "slices": fig}), encoding="utf-8")
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    browser.get(file.as_uri())
    drawn = "return document.querySelectorAll('.js-plotly-plot svg.main-svg').length"
    deadline = time.monotonic() + 120
    while browser.execute_script(drawn) < 4:  # two to a figure
        assert time.monotonic() < deadline, browser.get_log("browser")
        time.sleep(0.2)
    assert browser.execute_script("return document.getElementById('told').textContent") == ""
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
