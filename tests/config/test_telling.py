"""Which knobs a run shows."""

from __future__ import annotations

import pytest

from d2n import shipped
from d2n.config import build_experiment, flatten, load_experiment, telling_knobs
from d2n.config.telling import MAIN_KNOBS


def test_the_main_knobs_are_shown_and_others_where_they_differ_from_the_preset() -> None:
    values = {"preset": "toy", "name": "mine", "translator": {"method": "pix2pix"}}
    usual = telling_knobs(build_experiment(values))
    assert usual == {key for key in MAIN_KNOBS["translation"] if key in flatten(build_experiment(values))}
    changed = {"translator.diffaugment": ["cutout"], "dataset.flip": True, "training.device": "cpu"}
    assert telling_knobs(build_experiment(values, changed)) - usual == set(changed)
    assert telling_knobs(build_experiment(values, {"translator.lr": 4e-4, "dataset.flip": False})) == usual


@pytest.mark.parametrize("preset", ["thesis", "reference", "later", "published", "toy"])
@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "cut", "hedngan", "combogan", "stargan"])
def test_a_preset_as_it_is_shows_the_main_knobs_alone(preset: str, method: str) -> None:
    experiment = build_experiment({"preset": preset, "translator": {"method": method}})
    assert telling_knobs(experiment) <= set(MAIN_KNOBS["translation"])


def test_every_main_knob_exists_and_shipped_experiments_show_at_most_thirty() -> None:
    from d2n.config import knobs

    for kind, main in MAIN_KNOBS.items():
        assert set(main) <= set(knobs(kind))
    for name in shipped.names("experiments"):
        if name != "promotion":
            assert 10 < len(telling_knobs(load_experiment(name))) <= 40, name
