"""The photographs that are most like one, for people."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2n.errors import D2NError
from d2n.tracking import runs
from d2n.workflows.find import Request, find, find_command
from tests.datasets.miniatures import photo


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> runs.Store:
    return runs.open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


KNOBS = ("network.backbone=squeezenet1_1", "evaluation.scales=[1.0]")


def test_the_same_pixels_come_first_and_the_photograph_itself_is_no_hit(
    weights: str, store: runs.Store, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for i in range(5):
        photo(folder / f"<{i}>.png", i)
    (folder / "below").mkdir()
    shutil.copyfile(folder / "<3>.png", folder / "below" / "copy.png")
    request = Request(folder / "<3>.png", folder, tmp_path / "out" / "found", weights, top=3, overrides=KNOBS)
    hits = find(request, store=store)
    assert (hits[0].name, len(hits)) == ("below/copy.png", 3)
    assert hits[0].similarity == pytest.approx(1, abs=1e-4)
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    assert "<3>.png" not in [hit.name for hit in hits]
    page = (tmp_path / "out" / "found.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "&lt;3&gt;.png" in page
    assert not re.search(r"<\d>", page)
    assert np.asarray(Image.open(tmp_path / "out" / "found.png")).ndim == 3


def test_one_line_for_what_cannot_be_found(weights: str, store: runs.Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    one = photo(tmp_path / "small" / "one.png", 0, (12, 12))
    for request, says in (
        (Request(one, tmp_path / "empty", tmp_path / "o", weights, overrides=KNOBS), "no photographs"),
        (Request(one, one.parent, tmp_path / "o", weights, overrides=KNOBS), "it needs 17 px a side"),
        (Request(one, one.parent, tmp_path / "o"), r"which network. registered baselines .*none"),
        (Request(one, one.parent, tmp_path / "o", weights), "name it with --set network.backbone"),
    ):
        with pytest.raises(D2NError, match=says) as caught:
            find(request, store=store)
        assert "\n" not in str(caught.value)


def test_hits_are_numbered_lines(weights: str, store: runs.Store, tmp_path: Path) -> None:
    for i in range(3):
        photo(tmp_path / "photos" / f"{i}.png", i)
    request = Request(
        tmp_path / "photos" / "0.png", tmp_path / "photos", tmp_path / "f", weights, top=9, overrides=KNOBS
    )
    lines = find_command(request, tracking_uri=store.uri, progress=False)
    assert [line[:3] for line in lines] == ["  1", "  2", "wro"]
