"""Source and target of an experiment, and what cannot be one."""

from __future__ import annotations

from typing import Any

import pytest

from d2n.config import build_experiment
from d2n.errors import ConfigError


def test_day_to_night_unless_told_else() -> None:
    assert build_experiment({}).dataset.direction == ("day", "night")
    assert build_experiment({"dataset": {"source": "dusk"}}).dataset.direction == ("dusk", "night")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"source": "night"}, "dataset.source and dataset.target are both 'night', expected two domains"),
        ({"source": "Night"}, "the domains 'Night' and 'night' differ in case alone"),
        ({"source": "light rain"}, "dataset.source is 'light rain', which is no name"),
        ({"domains": ["day"]}, r"dataset.domains is \['day'\], expected two or more"),
        ({"domains": ["day", "dusk"]}, r"dataset.target is 'night', which dataset.domains \(day, dusk\)"),
        ({"domains": ["day", "night", "dusk", "dusk"]}, "dataset.domains names 'dusk' twice"),
        ({"domains": ["day", "night", "dusk"]}, "dataset.domains names 3 domains, and cyclegan learns two"),
    ],
)
def test_what_is_no_direction_is_one_line(dataset: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_experiment({"dataset": dataset})
    assert "\n" not in str(caught.value)


def test_a_retrieval_network_has_no_direction() -> None:
    with pytest.raises(ConfigError, match="a retrieval network learns from day images"):
        build_experiment({"kind": "retrieval", "dataset": {"source": "dusk"}})
