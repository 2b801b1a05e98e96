"""The pictures of docs/, from a real store: ``python docs/pictures.py [PROJECT] [--out DIR]``, or ``make pictures``.

PROJECT is a folder that `d2n demo` left (default: here). Needs Chromium with its driver and selenium. What a picture
shows moves with MLflow's pages: look at each before it is committed.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_WAIT_S = 240


def main() -> None:
    """Every picture; one that cannot be taken is named, and the others are taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", nargs="?", default=".", type=Path)
    parser.add_argument("--out", default=HERE / "img", type=Path)
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    with contextlib.chdir(asked.project), chromium() as browser:
        for take in (report, show, pages):
            try:
                take(browser, out)
            except Exception as error:  # noqa: BLE001 - named below; the other pictures are wanted all the same
                failed.append(f"{take.__name__}: {type(error).__name__} {str(error).splitlines()[:1]}")
    if failed:
        sys.exit("; ".join(failed))


def report(browser: Any, out: Path) -> None:
    """The report on a screen and on a phone, without a network."""
    from d2n.tracking.runs import open_store
    from d2n.workflows.report import report as written

    page = written(open_store(), Path("report"))
    for name, width, height in (("report", 1500, 1000), ("report_phone", 390, 844)):
        _size(browser, width, height)
        browser.get(page.resolve().as_uri())
        _until(lambda: browser.find_elements("css selector", ".js-plotly-plot, table"), "the report")
        browser.save_screenshot(str(out / f"{name}.png"))


def show(browser: Any, out: Path) -> None:
    """A photograph of the test set by night, and what it finds among the nights."""
    import uvicorn

    from d2n.workflows import show as workflow
    from d2n.workflows.show import server

    _photographs(Path("photos"))
    desk = workflow.open_desk(workflow.Request(folder=Path("photos")), tracking_uri=None)
    port = workflow.free_port("127.0.0.1", None, first=5180, verb="show")
    config = uvicorn.Config(server.application(desk), host="127.0.0.1", port=port, log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    _until(lambda: running.started, "d2n show")
    _size(browser, 1100, 1290)
    browser.get(f"http://127.0.0.1:{port}/")
    day = min(Path("data/toycity/test/day").glob("*.png")).resolve()
    browser.find_element("css selector", "#file").send_keys(str(day))
    _until(lambda: re.search(r"nights?\.$", browser.find_element("css selector", "#told").text), "the night")
    time.sleep(2)  # the last hits
    browser.save_screenshot(str(out / "show.png"))
    running.should_exit = True
    thread.join(10)


def pages(browser: Any, out: Path) -> None:
    """MLflow's leaderboard, and the champion's page."""
    with _ui() as address:
        _size(browser, 1500, 900)
        browser.get(address)
        _until(lambda: "fid" in browser.find_element("css selector", "body").text, "the leaderboard")
        time.sleep(5)
        browser.save_screenshot(str(out / "ui_leaderboard.png"))
        browser.get(f"{address.partition('#')[0]}#/models/d2n-toycity")
        _until(lambda: "champion" in browser.find_element("css selector", "body").text, "the model's page")
        time.sleep(3)
        browser.save_screenshot(str(out / "ui_model.png"))


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window; SystemExit in one line where there is none."""
    found, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (found and driver):
        sys.exit("pictures need Chromium and its driver (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


@contextlib.contextmanager
def _ui() -> Iterator[str]:
    """`d2n ui` on the store here; the address that it prints."""
    command = [sys.executable, "-m", "d2n", "ui", "--port", "5190"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - arguments of ours
    try:
        for line in started.stdout or ():
            if line.startswith("MLflow UI: "):
                yield line.split()[2]
                return
        raise RuntimeError("d2n ui ended before it told its address")
    finally:
        started.terminate()
        started.wait(60)


def _photographs(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted(Path("data/toycity/test/night").glob("*.png"))[::3][:40]:
        shutil.copy(path, folder / path.name)


def _size(browser: Any, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come")
        time.sleep(0.3)


if __name__ == "__main__":
    main()
