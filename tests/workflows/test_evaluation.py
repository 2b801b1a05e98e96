"""Held-out images, an extractor and a generator joined into scores."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from d2n.config import EvaluationConfig
from d2n.core import ScoreProtocol
from d2n.datasets import open_index, prepare
from d2n.datasets.ground_truth import from_scenes
from d2n.datasets.index import Index
from d2n.retrieval.search import rank
from d2n.scores.mean_ap import mean_average_precision
from d2n.workflows import evaluation as held
from d2n.workflows.preflight import translator as translator_preflight
from tests.datasets.miniatures import day_and_night, labelled, photo
from tests.workflows.conftest import tiny_translation

PLACES = ("place/night_to_fake", "place/fake_to_day", "place/fake_to_fake")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Twelve webcams of two photographs by day and two by night."""
    folder = tmp_path_factory.mktemp("towns")
    root = labelled(folder / "towns", {f"s{i}": ("A", 2, 2) for i in range(12)})
    with contextlib.chdir(folder):
        prepare("folders", root, rule={"val_share": 0.4})
        return open_index("folders", root)


def _darker(day: torch.Tensor) -> torch.Tensor:
    return (0.5 * day.flip(3) - 0.5).clamp(-1, 1)


def _evaluator(index: Index, *scores: str) -> held.Evaluator:
    config = EvaluationConfig(extractor="random-squeezenet1_0", resize_px=64, scores=scores, num_bootstrap=20)
    return held.Evaluator(
        held.held_out(index, "val", 32, None), held.build_extractor(config, None, 32), config
    )


def test_places_are_those_of_the_retrieval_benchmark(index: Index) -> None:
    """As the benchmark of the same scenes gives it, by the search that retrieval uses."""
    evaluator = _evaluator(index, *PLACES, "fid")
    scored = evaluator(_darker)
    by_night, by_day = from_scenes(index, "val")
    assert [Path(path).name for path in by_day.database] == [
        Path(path).name for path in evaluator.images.day_names
    ]
    features = {
        "day": evaluator.extractor(list(evaluator.images.day)),
        "night": evaluator.extractor(list(evaluator.images.night)),
        "fake": evaluator.extractor(list(scored.fake_night)),
    }
    unit = {name: x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in features.items()}
    expected = [
        mean_average_precision(rank(unit[queries], unit[database]), truth.ground_truth).map
        for queries, database, truth in (
            ("night", "fake", by_night),
            ("fake", "day", by_day),
            ("fake", "fake", by_day),
        )
    ]
    found = {score.name.partition(".")[0]: score for score in scored.evaluation.scores}
    assert [found[name].value for name in PLACES] == pytest.approx(expected)
    assert all(found[name].interval and found[name].floor is not None for name in PLACES)


def test_queries_enter_the_protocol_of_the_scores_that_ask_them_alone(index: Index) -> None:
    fid_first, place_first = _evaluator(index, "fid", PLACES[0]), _evaluator(index, PLACES[0], "fid")
    plain = ScoreProtocol(
        **fid_first.extractor.identity,
        num_images=fid_first.protocol.num_images,
        reference_digest=fid_first.images.digest,
    )
    assert fid_first.protocol.identity == plain.identity
    assert place_first.protocol.identity != plain.identity
    assert ScoreProtocol.from_json(place_first.protocol.to_json()) == place_first.protocol
    for evaluator in (fid_first, place_first):
        of = {score.name.partition(".")[0]: score.protocol for score in evaluator(_darker).evaluation.scores}
        assert of["fid"] == plain
        assert of[PLACES[0]] == place_first.protocol
    moved = replace(place_first.images, day_scenes=("elsewhere", *place_first.images.day_scenes[1:]))
    assert moved.queries_digest != place_first.images.queries_digest


def test_scores_of_day_against_its_night(index: Index) -> None:
    scored = _evaluator(index, "structure", "edges", "luminance")(lambda day: day)
    found = {score.name.partition(".")[0]: score for score in scored.evaluation.scores}
    assert found["structure"].value == pytest.approx(0, abs=1e-6)
    assert found["edges"].value == pytest.approx(1)
    assert found["structure"].name == "structure.random-squeezenet1_0"
    turned = _evaluator(index, "structure", "edges")(_darker).evaluation.scores
    assert turned[0].value > 0.01
    assert turned[1].value < 0.5


def test_pairs_tell_the_place_where_scenes_do_not(tmp_path: Path) -> None:
    for seed in range(12):
        photo(tmp_path / "photos" / "day" / f"{seed}.png", seed)
        photo(tmp_path / "photos" / "night" / f"{seed}.png", 100 + seed)
    with contextlib.chdir(tmp_path):
        prepare("folders", tmp_path / "photos", rule={"pairs": "stems", "val_share": 0.5})
        index = open_index("folders", tmp_path / "photos", rule={"pairs": "stems", "val_share": 0.5})
        assert index.select_pairs("val")
        scored = _evaluator(index, "place/night_to_fake", "place/fake_to_day")(lambda day: day)
    assert 0 < scored.evaluation.scores[0].value < 1
    assert scored.evaluation.scores[1].value == 1  # each day finds itself


def test_what_has_no_answer_is_refused_beforehand(tmp_path: Path) -> None:
    day_and_night(tmp_path / "photos", 12, 12)
    with contextlib.chdir(tmp_path):
        index = prepare("folders", tmp_path / "photos", rule={"pairs": "none", "val_share": 0.4})
        experiment = tiny_translation("cyclegan", "evaluation.num_images=null")
        given = translator_preflight.given(experiment, index)
    assert (given.has_day, given.has_answers, given.has_siblings) == (True, False, False)
