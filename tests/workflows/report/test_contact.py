"""The contact sheet: what stands in one panel, what it holds, and how fast a large one opens."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import D2NError
from d2n.workflows.recording import sample_sheet
from d2n.workflows.report.contact import Panel, Strip, contact_page, contact_sheet, sprite
from d2n.workflows.report.sheets import encode, read_rgb

if TYPE_CHECKING:
    from conftest import FakeStore

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)
DAY = np.stack([np.full((8, 8, 3), 200 + i, np.uint8) for i in range(2)])


def add_run(store: FakeStore, name: str, fid: float, day: np.ndarray = DAY, **given: Any) -> None:
    store.add_generator(name, "pix2pix", fid, **given)
    store.runs[-1].params["dataset.image_size_px"] = "8"
    for step in (0, 3, 6):
        rows = (day,) if step == 0 else (day, np.full_like(day, 10 * step))
        store.artifacts[name, f"images/samples~grid+step+{step}+timestamp+1.png"] = encode(
            sample_sheet(*rows)
        )


def data_of(page: Path) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    panels: list[dict[str, Any]] = json.loads(found[1])
    return panels


def test_every_step_of_every_run_is_a_row_of_its_sprite(store: FakeStore, tmp_path: Path) -> None:
    add_run(store, "a", 40.0, SEED="1")
    add_run(store, "b", 30.0, SEED="2")
    (panel,) = data_of(contact_sheet(store, tmp_path))
    assert [run["steps"] for run in panel["runs"]] == [[3, 6], [3, 6]]  # at step 0 there is no night
    assert panel["images"] == 2
    assert [run["scores"]["test/fid"] for run in panel["runs"]] == [40.0, 30.0]
    assert len({run["network"] for run in panel["runs"]}) == 1  # two seeds
    assert {"name": "test/fid", "label": "test fid", "sign": -1} in panel["scores"]


def test_a_sprite_holds_thumbnails_without_gaps() -> None:
    picture = np.full((8, 8, 3), 120, np.uint8)
    assert read_rgb(sprite([[picture, picture, picture], [picture] * 3])).shape == (128, 192, 3)


def test_other_photographs_and_other_protocols_stand_apart(store: FakeStore, tmp_path: Path) -> None:
    add_run(store, "a", 40.0)
    add_run(store, "b", 30.0, protocol=dataclasses.replace(PROTOCOL, resize="tf1@299"))
    add_run(store, "c", 20.0, day=DAY - 50)
    assert [len(panel["runs"]) for panel in data_of(contact_sheet(store, tmp_path))] == [1, 1, 1]


def test_a_damaged_step_is_left_out_and_named(
    store: FakeStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_run(store, "a", 40.0)
    store.artifacts["a", "images/samples~grid+step+3+timestamp+1.png"] = b"none"
    (panel,) = data_of(contact_sheet(store, tmp_path))
    assert panel["runs"][0]["steps"] == [6]
    assert "left out: step 3 of run a" in caplog.text


def test_without_images_the_command_is_named(store: FakeStore, tmp_path: Path) -> None:
    store.add_generator("a", "pix2pix", 40.0)
    with pytest.raises(
        D2NError, match="no scored run of toycity has sample images; make one with `d2n train"
    ):
        contact_sheet(store, tmp_path, "toycity")


def test_no_name_ends_the_script(store: FakeStore, tmp_path: Path) -> None:
    add_run(store, "a", 40.0, METHOD="</script><b>")
    page = contact_sheet(store, tmp_path)
    assert "</script><b>" not in page.read_text()
    assert data_of(page)[0]["runs"][0]["label"].startswith("</script><b>")


@pytest.mark.slow
def test_a_thousand_runs_of_eight_images_open_under_two_seconds(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    strips = []
    for number in range(1000):
        noise = rng.integers(0, 255, (8, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        scores = {("val", "fid"): float(rng.uniform(10, 90)), ("val", "precision"): number / 1000}
        strips.append(
            Strip(f"run {number}", f"network {number // 3}", "", (4,), scores, sprite([list(noise)]))
        )
    day = sprite([[np.full((64, 64, 3), 200, np.uint8)] * 8])
    panel = Panel("toycity", (("val", "fid"), ("val", "precision")), day, 8, tuple(strips))
    page = tmp_path / "contact-sheet.html"
    page.write_text(contact_page([panel]))
    took = []
    for _ in range(3):
        browser.get(page.as_uri())
        took.append(
            browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
        )
    assert min(took) < 2000, took
    assert browser.execute_script("return document.querySelectorAll('.run').length") == 1000
    assert browser.execute_script("return document.querySelector('.run .strip').style.backgroundImage") != ""
    first = "return document.querySelector('.run .about').textContent"
    browser.execute_script("document.querySelector('input[type=checkbox]').click()")
    best = min(strips, key=lambda strip: strip.scores["val", "fid"])
    assert browser.execute_script(first).startswith(best.label)
    sort = "const s = document.querySelector('select'); s.value = 1; s.dispatchEvent(new Event('change'))"
    browser.execute_script(sort)
    assert browser.execute_script(first).startswith("run 999")  # more precision is better
    size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
