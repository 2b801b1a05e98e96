"""What is refused before a translator trains: before a run, a study, a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from d2n.config import TranslationExperiment, build_experiment, read_yaml, translator_config
from d2n.datasets import prepare
from d2n.errors import ConfigError, D2NError, DataError
from d2n.studies.loading import load_study
from d2n.tracking import runs
from d2n.workflows import evaluation as held
from d2n.workflows import search, train
from d2n.workflows.kinds import KINDS
from d2n.workflows.preflight import translator as translator_preflight
from d2n.workflows.promote import scoring
from d2n.workflows.search import preflight as search_preflight
from tests.datasets.miniatures import day_and_night, photo

EXPERIMENT = """\
name: tiny
preset: toy
dataset: {name: folders, root: photos, image_size_px: 32}
translator: {method: cyclegan, generator_channels: 4, generator_blocks: 1, discriminator_channels: 4}
training: {n_epochs: 1, steps_per_epoch: 1, batch_size: 1, num_threads: 1, device: cpu}
evaluation: {extractor: random-squeezenet1_0, resize_px: 64, scores: [fid], num_bootstrap: 0, num_samples: 2}
"""
STUDY = """\
name: s
experiment: t.yaml
space: {translator.lr: {type: float, low: 1.0e-4, high: 1.0e-3}}
objective: {score: fid, direction: minimize}
pruner: none
stop: {trials: 1}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> runs.Store:
    return runs.open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Twelve photographs a side without pairs, an experiment and a study."""
    day_and_night(tmp_path / "photos", 12, 12)
    prepare("folders", tmp_path / "photos")
    (tmp_path / "t.yaml").write_text(EXPERIMENT)
    (tmp_path / "s.yaml").write_text(STUDY)
    with contextlib.chdir(tmp_path):
        yield tmp_path


def _experiment(*overrides: str) -> TranslationExperiment:
    experiment = build_experiment(read_yaml("t.yaml"), overrides)
    assert isinstance(experiment, TranslationExperiment)
    return experiment


IMPOSSIBLE = [
    ("evaluation.scores=[fid,ssim]", "ssim can never be had here: .*no pairs"),
    ("evaluation.scores=[ms_ssim]", "ms_ssim can never be had here"),
    ("evaluation.scores=[fid,is]", "is can never be had here: it needs class probabilities"),
    ("evaluation.scores=[fid,diversity]", "diversity .* at least 161 px a side, and these have 32"),
    (
        "evaluation.scores=[prd]",
        "prd needs 10 held-out images a side with evaluation.num_clusters 20, and there are 2",
    ),
    ("evaluation.scores=[kid]", "kid needs 3 held-out images"),
    ("evaluation.scores=[coverage]", "coverage needs 6 held-out images"),
    (
        "evaluation.scores=[place/night_to_fake]",
        "place/night_to_fake can never be had here: .*no scene or pair",
    ),
    ("evaluation.scores=[fid,place/fake_to_fake]", "no two day images have one scene"),
    ("evaluation.scores=[fid,place/fake_to_dya]", "did you mean 'place/fake_to_day'"),
    ("evaluation.scores=[fid,fdi]", "unknown score 'fdi'"),
    (
        "evaluation.extractor=squeezenet1",
        "extractor is 'squeezenet1', expected .*; did you mean 'squeezenet1_",
    ),
    ("evaluation.extractor=random-", "evaluation.extractor is ''"),
    ("evaluation.num_images=50", "expected at least 50 of each"),
    ("dataset.image_size_px=34", "34 px by day become 36 px by night; expected a multiple of 4"),
    ("translator.discriminator_layers=4", "image_size_px 32 does not suit cyclegan's networks"),
    ("dataset.image_size_px=64", "have a side under 64 px"),
    ("translator.method=pix2pix", "no pairs"),
]


@pytest.mark.parametrize(("override", "says"), IMPOSSIBLE)
def test_a_dry_run_refuses_in_one_line(override: str, says: str) -> None:
    with pytest.raises(D2NError, match=says) as caught:
        train.dry_run(_experiment(override))
    assert "\n" not in str(caught.value)


def test_training_refuses_before_a_run_is_made(store: runs.Store) -> None:
    for override, says in (IMPOSSIBLE[0], IMPOSSIBLE[11]):
        with pytest.raises(D2NError, match=says):
            train.train(_experiment(override), store=store)
    assert store.find_runs() == []


def test_companions_of_too_few_images_are_left_out_and_the_first_score_stays() -> None:
    experiment = _experiment("evaluation.scores=[fid,kid,prd]")
    assert train.dry_run(experiment)
    found = translator_preflight.given(experiment, held.open_dataset(experiment.dataset))
    extractor = held.build_extractor(experiment.evaluation, None, 32)
    assert translator_preflight.logged_scores(experiment.evaluation, found, extractor) == [
        "fid.random-squeezenet1_0"
    ]


def test_a_search_is_refused_before_its_study_exists(folder: Path, store: runs.Store) -> None:
    (folder / "s.yaml").write_text(STUDY.replace("score: fid", "score: kid"))
    with pytest.raises(D2NError, match="the study wants the score kid, which is never logged"):
        search.run_search(search.SearchRequest(folder / "s.yaml", tracking_uri=store.uri))
    with pytest.raises(D2NError, match=r"cannot train: .*no pairs"):
        search.run_search(
            search.SearchRequest(
                folder / "s.yaml", overrides=["translator.method=pix2pix"], tracking_uri=store.uri
            )
        )
    assert not (folder / "mlruns" / "optuna.db").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        *((override, f"cannot train: .*{says}") for override, says in IMPOSSIBLE[:7]),
        ("evaluation.extractor=retrieval:d2n-none@baseline", "d2n-none"),
        ("dataset.root=elsewhere", "no index of folders"),
    ],
)
def test_a_study_that_can_never_be_scored_is_refused(
    folder: Path, store: runs.Store, override: str, says: str
) -> None:
    definition = load_study(folder / "s.yaml", [override])
    with pytest.raises(D2NError, match=says):
        search_preflight.check_study(definition, KINDS["translation"], store)


def test_an_end_of_a_dimension_that_cannot_train_is_named(folder: Path, store: runs.Store) -> None:
    space = "space: {translator.discriminator_layers: {type: int, low: 2, high: 4}}"
    (folder / "s.yaml").write_text(STUDY.replace(STUDY.splitlines()[2], space))
    with pytest.raises(D2NError, match=r"a trial with translator\.discriminator_layers=4 cannot train"):
        search_preflight.check_study(load_study(folder / "s.yaml"), KINDS["translation"], store)


def test_a_run_is_scored_on_a_split_without_what_that_split_can_never_have(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pairs in val alone: the run's ssim does not stop its promotion, but is refused where it is asked for."""
    for i in range(12):
        photo(folder / "photos" / "night" / f"d{i}.png", 500 + i)
    (folder / "photos" / "pairs.csv").write_text(
        "day,night\n" + "".join(f"d{i}.png,d{i}.png\n" for i in range(12))
    )
    index = prepare("folders", folder / "photos", rule={"val_share": 0.4})
    experiment = _experiment("evaluation.scores=[fid,ssim]")
    assert translator_preflight.given(experiment, index).has_pairs
    unpaired = replace(translator_preflight.given(experiment, index), has_pairs=False)
    kept = scoring.without_companions(experiment.evaluation, unpaired)
    assert kept.scores == ("fid",)
    assert "ssim left out" in caplog.text
    with pytest.raises(ConfigError, match="ssim can never be had"):
        translator_preflight.check_scores(experiment.evaluation, unpaired)


@pytest.mark.parametrize(
    ("method", "knobs", "side", "fits"),
    [
        ("pix2pix", {"unet_depth": 5}, 64, True),
        ("pix2pix", {"unet_depth": 5}, 48, False),
        ("pix2pix", {"unet_depth": 8}, 4096, True),
        ("pix2pix", {"unet_depth": 8}, 4000, False),
        ("cyclegan", {}, 256, True),
        ("cyclegan", {}, 4094, False),
        ("cyclegan", {}, 8, False),
        ("cut", {"discriminator_layers": 0}, 8, True),
        ("todaygan", {"discriminator_layers": 6}, 8, True),
        ("photometric", {"unet_depth": 5, "discriminator_layers": 6}, 32, True),
        ("photometric", {"unet_depth": 5}, 48, False),
    ],
)
def test_sizes_that_the_networks_take(method: str, knobs: dict[str, int], side: int, fits: bool) -> None:
    config = translator_config(method, "thesis", **knobs)
    if fits:
        translator_preflight.check_networks(config, side, 5)
        return
    with pytest.raises(ConfigError, match=f"image_size_px {side} does not suit"):
        translator_preflight.check_networks(config, side, 5)


def test_a_split_of_one_image_is_refused(folder: Path) -> None:
    day_and_night(folder / "few", 3, 1)
    prepare("folders", folder / "few")
    with pytest.raises(DataError, match="expected at least 2 of each"):
        train.dry_run(_experiment("dataset.root=few"))


def test_a_batch_that_does_not_divide_into_its_parts_is_refused_before_work() -> None:
    with pytest.raises(ConfigError, match=r"accumulate is 4 and training.batch_size 6: .*, such as 4"):
        translator_preflight.check_parts(4, 6)
    translator_preflight.check_parts(3, 6)
    translator_preflight.check_parts(1, 5)


def test_parts_of_a_batch_are_refused_of_methods_that_take_it_at_once(folder: Path) -> None:
    day_and_night(folder / "some", 8, 8)
    prepare("folders", folder / "some")
    with pytest.raises(ConfigError, match="accumulate is 2: todaygan takes its batch at once; expected 1"):
        train.dry_run(
            _experiment("dataset.root=some", "translator.method=todaygan", "translator.accumulate=2")
        )
