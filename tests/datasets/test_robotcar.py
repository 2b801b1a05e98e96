"""RobotCar Seasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.robotcar import CONDITIONS
from d2n.errors import DataError
from tests.datasets.miniatures import photo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for c, condition in enumerate(CONDITIONS):
        for k, camera in enumerate(("left", "rear", "right")):
            for i in range(2):
                photo(tmp_path / "images" / condition / camera / f"{i}.jpg", 100 * c + 10 * k + i)
    return tmp_path


def test_rear_camera_five_day_conditions_two_night(root: Path) -> None:
    index = prepare("robotcar", root)
    assert {row.path.split("/")[2] for row in index.rows} == {"rear"}
    assert {row.path.split("/")[1] for row in index.select("day")} == {"sun", "snow", "rain", "dawn", "dusk"}
    assert {row.path.split("/")[1] for row in index.select("night")} == {"night", "night-rain"}
    assert (len(index.select("day")), len(index.select("night"))) == (10, 4)


def test_cameras_and_conditions_are_knobs(root: Path) -> None:
    rule = {"cameras": ["left", "right"], "day_conditions": "overcast-summer"}
    index = prepare("robotcar", root, rule=rule)
    assert (len(index.select("day")), len(index.select("night"))) == (4, 8)


def test_an_unknown_condition_is_one_line(root: Path) -> None:
    with pytest.raises(DataError, match="fog/rear: no such folder"):
        prepare("robotcar", root, rule={"day_conditions": ["fog"]})
