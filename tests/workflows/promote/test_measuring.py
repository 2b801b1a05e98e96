"""Generators measured on the test images by scores that ask whether the place is still there, whole and in parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from d2n.config import TranslationExperiment, build_experiment
from d2n.datasets import toycity
from d2n.promotion import Metric
from d2n.tracking import runs
from d2n.workflows import train
from d2n.workflows.promote.measuring import Gauge
from tests.workflows.conftest import TINY_TRANSLATION

# by scenes, by the day images, by features alone, by maps, by pixels
METRICS = ("place/night_to_fake", "place/fake_to_day", "fid", "structure", "edges")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[runs.Store, str]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("measuring")
    values = {
        **TINY_TRANSLATION,
        "translator": {**TINY_TRANSLATION["translator"], "method": "pix2pix"},  # type: ignore[dict-item]
        "training": {**TINY_TRANSLATION["training"], "n_epochs": 1, "steps_per_epoch": 1},  # type: ignore[dict-item]
        "evaluation": {
            "scores": ["fid"], "extractor": "random-squeezenet1_0", "resize_px": 64, "num_images": 24,
            "num_bootstrap": 3,
        },
    }  # fmt: skip
    with contextlib.chdir(folder):
        toycity.make("data/toycity", seed=0, scale=0.03, workers=1)
        experiment = build_experiment(values)
        assert isinstance(experiment, TranslationExperiment)
        store = runs.open_store()
        yield store, train.train(experiment, store=store).run_id


@pytest.mark.parametrize("metric", METRICS)
def test_a_score_of_some_images_is_the_published_one_where_they_are_all(
    generator: tuple[runs.Store, str], metric: str
) -> None:
    store, run_id = generator
    record = store.get(run_id)
    gauge = Gauge(store, record, [Metric(metric)], 1000)
    published = gauge.published(record, metric).value
    rows = np.arange(len(gauge.keys))
    assert gauge.values([record], metric, rows) == pytest.approx([published], rel=1e-4)
    assert gauge.values([record], metric, rows[::-1].copy()) == pytest.approx([published], rel=1e-3)
    if metric == "structure":
        return  # its twenty groups take a minute
    draws = gauge.draws([record, record], metric, rows)
    assert draws.values == pytest.approx([published, published], rel=1e-3)
    np.testing.assert_allclose(draws.linear[:, 0], draws.linear[:, 1])  # of the same images
