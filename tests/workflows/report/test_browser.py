"""The report in a browser without a network: no page scrolls sideways, on a screen and on a phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from d2n.tracking import names
from d2n.workflows.recording import sample_sheet
from d2n.workflows.report import report
from d2n.workflows.report.sheets import encode

if TYPE_CHECKING:
    from conftest import FakeStore

pytestmark = pytest.mark.slow


@pytest.fixture
def page(store: FakeStore, tmp_path: Path) -> Path:
    """A report with every kind of section, and long names."""
    for number in range(6):
        study = {"STUDY": "a_study_with_a_long_name_that_has_no_place_to_break", "TRIAL": str(number)}
        store.add_generator(f"g{number}", "pix2pix", 40.0 + number, **study)
        store.runs[-1].params.update({"dataset.image_size_px": "64", "search/lr": str(10.0**-number)})
        day = np.full((8, 64, 64, 3), 200, np.uint8)
        store.artifacts[f"g{number}", names.SAMPLE_SHEET] = encode(sample_sheet(day, day // 4))
        store.add_table(f"g{number}", "tables/test_prd.json", {"precision": [1.0, 0.5], "recall": [0.2, 0.9]})
        store.add_arm(f"aug{number}", 0.2 + 0.01 * number, generator=f"g{number}", version=str(number))
    store.add_arm("base", 0.06)
    return report(store, tmp_path / "out")


@pytest.mark.parametrize("width", [1500, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_scrolls_sideways_but_tables_in_their_boxes(
    browser: Any, page: Path, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
    assert (
        browser.execute_script("return document.querySelectorAll('.js-plotly-plot svg.main-svg').length") > 5
    )
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    if width == 1500:  # the main table is whole
        wide = (
            "return [...document.querySelectorAll('.wide')].filter(b => b.scrollWidth > b.clientWidth).length"
        )
        assert browser.execute_script(wide) == 0


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's program; skipped where it is not (`npm install axe-core` here, or its file in $D2N_AXE)."""
    here = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
    path = Path(os.environ.get("D2N_AXE", here))
    if not path.is_file():
        pytest.skip("no axe-core here: npm install axe-core, or name its axe.min.js in D2N_AXE")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1500, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, page: Path, axe: str, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.set_script_timeout(120)
    browser.get(page.as_uri())
    browser.execute_script(axe)
    found = browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(v =>"
        " [v.impact, v.id, v.nodes.map(n => n.html.slice(0, 200))])))"
    )
    assert [one for one in found if one[0] in ("serious", "critical")] == []
