from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from d2n import config
from d2n.config import RetrievalExperiment, TranslationExperiment, methods
from d2n.errors import ConfigError


def translation(values: dict[str, object] | None = None, *overrides: str) -> TranslationExperiment:
    built = config.build_experiment(values or {}, overrides)
    assert isinstance(built, TranslationExperiment)
    return built


def test_the_default_is_the_thesis_cyclegan() -> None:
    experiment = translation()
    assert experiment.preset == "thesis"
    assert experiment.translator.gan_loss == "vanilla"
    assert (experiment.translator.beta1, experiment.translator.beta2, experiment.translator.lr) == (
        0.9,
        0.999,
        2e-4,
    )
    assert experiment.translator.pool_size == 50
    assert experiment.training.batch_size == 5
    assert (experiment.dataset.scale_min, experiment.dataset.scale_max) == (0.6, 1.0)


@pytest.mark.parametrize(
    ("preset", "method", "expected"),
    [
        (
            "reference",
            "pix2pix",
            {"gan_loss": "vanilla", "beta1": 0.5, "pool_size": 0, "generator": "unet", "dropout": True},
        ),
        ("reference", "cyclegan", {"gan_loss": "least_squares", "lambda_identity": 5.0, "pool_size": 50}),
        (
            "thesis",
            "pix2pix",
            {"generator": "unet", "lambda_l1": 100.0, "lr_schedule": "constant", "pool_size": 0},
        ),
        ("later", "cyclegan", {"gan_loss": "least_squares", "lambda_identity": 0.0, "lr_schedule": "linear"}),
        ("toy", "cyclegan", {"generator_channels": 16, "generator_blocks": 4, "upsampling": "resize"}),
    ],
)
def test_a_preset_fills_in_what_the_yaml_leaves_open(
    preset: str, method: str, expected: dict[str, object]
) -> None:
    translator = config.translator_config(method, preset)
    assert {key: getattr(translator, key) for key in expected} == expected


def test_a_knob_of_the_yaml_wins_over_the_preset_and_an_override_over_both() -> None:
    values = {"preset": "toy", "translator": {"method": "cyclegan", "lr": 1e-3, "generator_blocks": 6}}
    experiment = translation(values, "translator.lr=5e-5")
    assert experiment.translator.lr == 5e-5
    assert experiment.translator.generator_blocks == 6
    assert experiment.translator.generator_channels == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("translator.lrr=1", "unknown knob translator.lrr; did you mean 'translator.lr'?"),
        ("lambda_cycle=1", "did you mean 'translator.lambda_cycle'?"),
        ("translator.lr=0", "translator.lr is 0: input should be greater than 0"),
        ("translator.lr=-1e-4", "translator.lr is -0.0001"),
        ("training.batch_size=0", "training.batch_size is 0"),
        ("training.batch_size=2.5", "training.batch_size is 2.5"),
        ("translator.gan_loss=wasserstein", "'vanilla', 'least_squares' or 'hinge'"),
        ("translator.method=discogan", "'pix2pix', 'cyclegan', 'cut'"),
        ("preset=toyy", "did you mean 'toy'?"),
        ("kind=detection", "expected translation or retrieval"),
        ("evaluation.scores=[]", "at least 1 item"),
        ("translator.lr", "expected knob=value"),
        ("translator.lr=[1", "the value is not YAML"),
    ],
)
def test_a_wrong_knob_is_one_line_with_what_was_found_and_expected(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.build_experiment({}, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_knob_of_the_yaml_itself_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("translator:\n  mehtod: cyclegan\n")
    with pytest.raises(
        ConfigError, match=r"x.yaml: unknown knob translator.mehtod; did you mean 'translator.method'"
    ):
        config.load_experiment(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("translator: {lr: 1e-4", "line 1, column"),
        ("a: 1\n b: 2\n", "line 2, column 3"),
        ("- just\n- a list\n", "holds list"),
        ("seed: 1\nseed: 2\n", "line 2, column 1: 'seed' stands twice"),
        ("", "holds NoneType"),
        ("x: !!python/object/apply:os.system ['true']\n", "line 1, column 4"),
    ],
)
def test_a_yaml_that_does_not_parse_names_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.read_yaml(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_and_a_binary_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load_experiment(tmp_path / "absent.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        config.load_experiment(tmp_path / "b.yaml")


def test_numbers_without_a_point_before_the_exponent_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("translator: {lr: 1e-4}\n")
    experiment = config.load_experiment(path)
    assert isinstance(experiment, TranslationExperiment)
    assert experiment.translator.lr == 1e-4


def test_an_experiment_survives_json() -> None:
    experiment = translation({"preset": "toy", "dataset": {"rule": {"night_threshold": 0.8}}})
    assert config.build_experiment(config.to_dict(experiment)) == experiment
    retrieval = config.build_experiment({"kind": "retrieval", "evaluation": {"roots": {"a": "b"}}})
    assert config.build_experiment(config.to_dict(retrieval)) == retrieval


def test_flat_params_have_every_knob_once() -> None:
    flat = config.flatten(translation())
    assert flat["translator.lr"] == 2e-4
    assert flat["evaluation.scores"] == '["fid", "kid", "prd"]'
    others = {f"translator.{knob}" for knob in methods.foreign(methods.DEFAULT)}
    assert {"translator.lambda_l1", "translator.lambda_nce"} <= others
    assert set(flat) == set(config.knobs()) - others
    assert all(value is None or isinstance(value, str | int | float | bool) for value in flat.values())


def test_every_knob_has_a_default_so_that_an_empty_yaml_runs() -> None:
    assert isinstance(config.build_experiment({"kind": "retrieval"}), RetrievalExperiment)
    for kind in (TranslationExperiment, RetrievalExperiment):
        for item in dataclasses.fields(kind):
            has_default = (
                item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
            )
            assert has_default, item.name


def test_the_thesis_retrieval_defaults() -> None:
    experiment = RetrievalExperiment()
    assert experiment.network.backbone == "vgg16"
    assert experiment.night.probability == 0.15
    assert experiment.training.margin == 0.75
    assert (experiment.training.num_queries, experiment.training.pool_size) == (2000, 20000)


@pytest.mark.parametrize("name", ["o'brien", "me@home", "my city", "a\nb", "../x", "", "x" * 300])
def test_names_that_no_store_can_hold_are_refused_before_anything_is_done(name: str) -> None:
    with pytest.raises(ConfigError, match=r"dataset.name is ") as caught:
        config.build_experiment({"dataset": {"name": name}})
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"register_as is "):
        config.build_experiment({"kind": "retrieval", "register_as": name})


def test_an_experiments_name_is_a_heading_of_one_line() -> None:
    assert config.build_experiment({"name": "o'brien's first run"}).name == "o'brien's first run"
    for name in ("a\nb", "x" * 300, " "):
        with pytest.raises(ConfigError, match=r"experiment: name is "):
            config.build_experiment({"name": name})
