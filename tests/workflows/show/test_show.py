"""The page of `d2n show`, over HTTP: what it takes, what it gives, and what it refuses."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image

from d2n.config import translator_config
from d2n.datasets.images import save_rgb
from d2n.datasets.likeness import Likeness
from d2n.errors import D2NError, RegistryError
from d2n.translators import checkpoint
from d2n.translators.from_config import generator_from_config
from d2n.workflows import show
from d2n.workflows.night import translate as night_of
from d2n.workflows.show import champions, desk, server


class FakeHits:
    """A folder of three photographs; the last is found first."""

    names = ("a.png", "<b>.png", "c.png")
    folder = Path("photos")
    network = "a network"

    def __init__(self, place: Path) -> None:
        self.place, self.asked = place, list[tuple[int, ...]]()

    def of(self, image: np.ndarray, top: int) -> list[tuple[int, float]]:
        self.asked.append(image.shape)
        return [(2, 0.9), (1, 0.5), (0, 0.1)][:top]

    def thumbnail(self, number: int) -> bytes:
        return jpeg(8 * (number + 1), 8)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(width: int, height: int, form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(width, height)).save(buffer, form)
    return buffer.getvalue()


def generator_folder(folder: Path, seed: int) -> Path:
    config = translator_config("cyclegan", "toy", generator_channels=4, generator_blocks=1, init_gain=0.2)
    made = generator_from_config(config, torch.Generator().manual_seed(seed))
    checkpoint.save_generator(folder, made, config)
    return folder


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> desk.Desk:
    """Two generators, a folder, and training data that are all dark."""
    folder = tmp_path_factory.mktemp("show")
    each = [str(generator_folder(folder / name, seed)) for seed, name in enumerate(("one", "two"))]
    made = champions.loaded(each, None, "cpu")
    dark = Likeness.of(picture(24, 24, seed) // 8 for seed in range(10))
    known = [made[0], champions.Champion("<b>two", made[1].generator, dark, "trained on the dark")]
    return desk.Desk(known, FakeHits(folder), 64)  # type: ignore[arg-type] # a fake


@pytest.fixture(scope="module")
def address(shown: desk.Desk) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = uvicorn.Config(server.application(shown), host="127.0.0.1", port=port, log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not running.started and time.monotonic() < until:
        time.sleep(0.02)
    yield "127.0.0.1", port
    running.should_exit = True
    thread.join(10)


class Client:
    """Requests as a browser would send them."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    def ask(
        self, place: str, body: Any = None, method: str = "GET", **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, place, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def send(self, content: Any) -> tuple[int, Any]:
        status, body, _ = self.ask("/photographs", content, "POST", X_D2N="1")
        return status, json.loads(body)


@pytest.fixture(scope="module")
def client(address: tuple[str, int]) -> Client:
    return Client(address)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_a_photograph_comes_back_by_night_from_every_generator(client: Client, shown: desk.Desk) -> None:
    photograph = picture(120, 90)
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, "PNG")
    status, told = client.send(buffer.getvalue())
    assert (status, told["width"], told["height"]) == (200, 85, 64)  # the shorter side at 64
    assert told["warnings"][0] is None  # its training data are not known
    assert "<b>two" in told["warnings"][1]
    key = told["key"]
    day = pixels(client.ask(f"/photographs/{key}/day.jpg")[1])
    assert day.shape == (64, 85, 3)
    nights = [client.ask(f"/photographs/{key}/{number}.jpg") for number in (0, 1)]
    assert [(status, headers["content-type"]) for status, _, headers in nights] == [(200, "image/jpeg")] * 2
    kept = shown.get(key)
    assert kept is not None
    for number in (0, 1):
        expected = night_of(kept.image, _loaded(shown, number))
        np.testing.assert_array_equal(kept.nights[number], expected)
    assert not np.array_equal(kept.nights[0], kept.nights[1])


def _loaded(shown: desk.Desk, number: int) -> Any:
    from d2n.workflows.night import NightGenerator

    return NightGenerator(shown.champions[number].generator)


def test_the_folder_is_searched_by_day_and_by_night(client: Client, shown: desk.Desk) -> None:
    key = client.send(jpeg(70, 64))[1]["key"]
    for which in ("day", "1"):
        found = json.loads(client.ask(f"/photographs/{key}/{which}/hits")[1])
        assert [(hit["name"], hit["similarity"]) for hit in found] == [
            ("c.png", 0.9),
            ("<b>.png", 0.5),
            ("a.png", 0.1),
        ]
    assert pixels(client.ask("/folder/2.jpg")[1]).shape == (8, 24, 3)
    for place in ("/folder/3.jpg", "/folder/-1.jpg", f"/photographs/{key}/2/hits"):
        assert client.ask(place)[0] == 404


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 422, "is empty"),
        (b"no image", 422, "the photograph: "),
        (jpeg(64, 64)[:900], 422, "truncated"),
        (jpeg(8, 8), 422, "expected sides of 16"),
        (b"GIF89a" + b"\xff" * 8, 422, "the photograph: "),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 60, 422, "the photograph: "),
    ],
)
def test_what_is_no_photograph_is_one_line(client: Client, content: bytes, status: int, said: str) -> None:
    found, told = client.send(content)
    assert found == status
    assert said in told["error"]
    assert "\n" not in told["error"]


def test_too_much_is_refused_before_it_is_held(client: Client) -> None:
    chunk = b"\0" * (1 << 20)
    status, told = client.send(chunk for _ in range((desk.MAX_BYTES >> 20) + 1))
    assert (status, told["detail"]) == (413, "the file is over 32 MB; send a smaller one")


def test_pages_elsewhere_reach_nothing(client: Client) -> None:
    assert client.ask("/photographs", jpeg(64, 64), "POST")[0] == 403
    assert client.ask("/", Host="evil.example")[0] == 400
    assert client.ask("/photographs/unknown/day.jpg")[0] == 404
    for place in ("/files/page.html", "/files/..%2fserver.py", "/docs", "/openapi.json"):
        assert client.ask(place)[0] == 404


def test_the_page_is_inert_and_takes_nothing_from_elsewhere(client: Client) -> None:
    status, body, headers = client.ask("/")
    text = body.decode()
    assert status == 200
    assert "&lt;b&gt;two" in text
    assert "<b>two" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in headers
    for name, kind in (("show.js", "text/javascript"), ("show.css", "text/css")):
        status, body, headers = client.ask(f"/files/{name}")
        assert (status, headers["content-type"].partition(";")[0]) == (200, kind)


def test_only_the_last_photographs_are_kept(client: Client, shown: desk.Desk) -> None:
    keys = [client.send(jpeg(32, 32))[1]["key"] for _ in range(9)]
    assert len(set(keys)) == 9
    assert shown.get(keys[0]) is None
    assert client.ask(f"/photographs/{keys[0]}/day.jpg")[0] == 404
    assert client.ask(f"/photographs/{keys[-1]}/day.jpg")[0] == 200


def test_one_line_where_there_is_nothing_to_show(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(RegistryError, match=r"no champion in .*: `d2n promote DATASET` registers one"):
        show.open_desk(show.Request(), tracking_uri=uri)
    with pytest.raises(D2NError, match="no registered model 'nowhere'"):
        show.open_desk(show.Request(("nowhere@champion",)), tracking_uri=uri)
    (tmp_path / "empty").mkdir()
    with pytest.raises(D2NError, match=r"generator\.safetensors"):
        show.open_desk(show.Request((str(tmp_path / "empty"),)), tracking_uri=None)


def test_a_generator_that_does_not_load_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = generator_folder(tmp_path / "good", 0)
    (tmp_path / "bad").mkdir()
    found = champions.loaded([str(good), str(tmp_path / "bad")], None, "cpu")
    assert [one.name for one in found] == [str(good)]
    assert f"{tmp_path / 'bad'} is left out" in caplog.text


def test_a_port_in_use_is_named_before_anything_loads(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(D2NError, match=rf"port {port} of 127\.0\.0\.1 is in use .*`d2n show --port"):
            show.show(show.Request((str(tmp_path / "nothing"),), port=port))


@pytest.mark.slow
def test_a_folder_is_described_and_searched_by_a_real_network(tmp_path: Path) -> None:
    import torchvision

    from d2n.tracking import runs
    from d2n.workflows.show.hits import Hits

    torch.manual_seed(0)
    weights = tmp_path / "squeezenet1_1.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    for number in range(3):
        save_rgb(picture(64, 64, number), tmp_path / "photos" / f"{number}.png")
    store = runs.open_store(f"sqlite:///{tmp_path}/mlflow.db")
    found = Hits.open(tmp_path / "photos", str(weights), store, overrides=("network.backbone=squeezenet1_1",))
    ranked = found.of(picture(64, 64, 1), 2)
    assert found.names[ranked[0][0]] == "1.png"
    assert ranked[0][1] == pytest.approx(1, abs=1e-3)
    assert pixels(found.thumbnail(1)).shape == (64, 64, 3)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
def test_a_photograph_is_seen_by_night_in_the_browser(
    browser: Any, address: tuple[str, int], tmp_path: Path, width: int
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def found(css: str) -> Any:
        return browser.find_element(By.CSS_SELECTOR, css)

    def script(text: str) -> Any:
        return browser.execute_script(f"return {text}")

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("http://{}:{}/".format(*address))
    (tmp_path / "day.jpg").write_bytes(jpeg(96, 72))
    found("#file").send_keys(str(tmp_path / "day.jpg"))
    wait = WebDriverWait(browser, 60)
    wait.until(lambda _: "2 nights" in found("#told").text)
    assert script("[...document.querySelectorAll('.slider img')].every(i => i.naturalWidth === 85)")
    warnings = [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".warning") if one.is_displayed()]
    assert warnings == [
        "unlike the photographs that <b>two was trained on: expect little of this night"
    ]  # its data are dark
    wait.until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, ".hits li")) == 9)
    shown = "getComputedStyle(document.querySelector('.slider .day')).clipPath"
    before = script(shown)
    found(".slider input").send_keys(Keys.END)
    assert script("document.querySelector('.slider').style.getPropertyValue('--share')") == "100%"
    assert script(shown) != before
    assert script("document.scrollingElement.scrollWidth <= innerWidth")
    found("#file").send_keys(__file__)
    wait.until(lambda _: "the photograph: " in found("#told").text)
    refused = [line for line in browser.get_log("browser") if "422" not in line["message"]]
    assert not refused
    browser.get_screenshot_as_file(str(tmp_path / "show.png"))
