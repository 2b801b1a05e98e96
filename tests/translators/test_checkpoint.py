"""Checkpoints: whole or absent, the one before kept; generators that describe themselves."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from d2n.errors import CheckpointError, WeightsError
from d2n.translators import METHODS, checkpoint
from tests.fakes.full_disk import largest_file


def state(value: float) -> dict:
    return {
        "steps_done": int(value),
        "networks": {"g": {"w": torch.full((1000,), value)}},
        "list": [1, None, "a"],
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_saved_and_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "new", state(1), {"best": 0.5})
    found = checkpoint.load(tmp_path / "new")
    assert found.meta == {"best": 0.5}
    assert torch.equal(found.state["networks"]["g"]["w"], torch.ones(1000))
    assert found.state["list"] == [1, None, "a"]


def test_one_previous_is_kept(tmp_path: Path) -> None:
    for value in range(4):
        checkpoint.save(tmp_path, state(value), {})
    assert names(tmp_path) == [f"checkpoint-00000{n}.{s}" for n in (3, 4) for s in ("json", "pt")]
    checkpoint.save(tmp_path, state(9), {}, keep_previous=False)
    assert names(tmp_path) == ["checkpoint-000005.json", "checkpoint-000005.pt"]


def test_a_truncated_checkpoint_falls_back_to_the_previous_and_says_so(tmp_path: Path, caplog) -> None:
    checkpoint.save(tmp_path, state(1), {"step": 1})
    newest = checkpoint.save(tmp_path, state(2), {"step": 2})
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(tmp_path).meta == {"step": 1}
    assert "damaged" in caplog.text
    assert newest.name in caplog.text


def test_killed_between_the_two_files_the_previous_counts(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), {"step": 1})
    newest = checkpoint.save(tmp_path, state(2), {"step": 2})
    newest.with_suffix(".json").unlink()
    assert checkpoint.load(tmp_path).meta == {"step": 1}
    checkpoint.save(tmp_path, state(3), {"step": 3})
    assert checkpoint.load(tmp_path).meta == {"step": 3}


def test_nothing_whole_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint here: nothing to resume from"):
        checkpoint.load(tmp_path)
    only = checkpoint.save(tmp_path, state(1), {})
    only.write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(tmp_path)


def test_a_refused_write_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), {"step": 1})
    with pytest.raises(CheckpointError, match="what was there is kept"):
        checkpoint.save(tmp_path, {"bad": _FullDisk()}, {})
    assert checkpoint.load(tmp_path).meta == {"step": 1}
    assert names(tmp_path) == ["checkpoint-000001.json", "checkpoint-000001.pt"]


class _FullDisk:
    def __reduce__(self):
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), {"step": 1})
    with largest_file(100), pytest.raises(CheckpointError, match="cannot be written") as caught:
        checkpoint.save(tmp_path, state(2), {"step": 2})
    assert "\n" not in str(caught.value)
    assert checkpoint.load(tmp_path).meta == {"step": 1}
    assert names(tmp_path) == ["checkpoint-000001.json", "checkpoint-000001.pt"]


def test_arbitrary_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, {"harmless": Path("x")}, {})
    assert path.exists()
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_generator_saved_and_loaded_translates_the_same(gan, batch, tmp_path: Path, method) -> None:
    translator = gan(
        method, generator_norm="batch", inference_norm="batch", upsampling="resize", late_input=True
    )
    for step in range(2):
        translator.step(**batch(step))
    checkpoint.save_generator(tmp_path, translator.generator, translator.config)
    generator, config = checkpoint.load_generator(tmp_path)
    assert config["method"] == method
    assert not generator.training
    with torch.no_grad():
        assert torch.equal(generator(batch(5)["day"]), translator.translate(batch(5)["day"]))


def test_damaged_or_foreign_generators_are_refused(gan, tmp_path: Path) -> None:
    translator = gan("cyclegan")
    path = checkpoint.save_generator(tmp_path, translator.generator, translator.config)
    card = json.loads((tmp_path / "generator.json").read_text())
    other = {**card, "config": {**card["config"], "generator_channels": 8}}
    (tmp_path / "generator.json").write_text(json.dumps(other))
    with pytest.raises(WeightsError, match=r"of another architecture: .*instead of"):
        checkpoint.load_generator(tmp_path)
    (tmp_path / "generator.json").write_text(
        json.dumps({**card, "config": {**card["config"], "nonsense": 1}})
    )
    with pytest.raises(WeightsError, match="unknown knob nonsense"):
        checkpoint.load_generator(tmp_path)
    (tmp_path / "generator.json").write_text(json.dumps(card))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.load_generator(tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.load_generator(tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_a_card_of_before_the_methods_had_knobs_of_their_own_is_read(gan, tmp_path: Path, method) -> None:
    translator = gan(method)
    checkpoint.save_generator(tmp_path, translator.generator, translator.config)
    card = json.loads((tmp_path / "generator.json").read_text())
    every = {"lambda_l1": 100.0, "lambda_cycle": 10.0, "lambda_identity": 0.5, "lambda_nce": 1.0}
    card["config"] = {**every, **card["config"]}
    (tmp_path / "generator.json").write_text(json.dumps(card))
    assert checkpoint.load_generator(tmp_path)[1] == card["config"]
    assert checkpoint.config_from_dict(card["config"], "card") == translator.config


@pytest.mark.parametrize("wrong", ["nogan", 3, None, [1]])
def test_a_card_of_no_known_method_is_refused_in_one_line(gan, wrong) -> None:
    with pytest.raises(WeightsError, match=r"card: method is .*, expected one of pix2pix, cyclegan, cut"):
        checkpoint.config_from_dict({"method": wrong}, "card")


def test_the_best_of_several_are_kept(gan, tmp_path: Path) -> None:
    translator = gan("cyclegan")
    kept = [
        checkpoint.save_best(
            tmp_path, translator.generator, translator.config, score=score, step=step, keep=2
        )
        for step, score in ((1, 5.0), (2, 3.0), (3, 4.0), (4, 9.0))
    ]
    assert kept == [True, True, True, False]
    assert [(score, path.name) for score, path in checkpoint.ranked_generators(tmp_path)] == [
        (3.0, "step-00000002"),
        (4.0, "step-00000003"),
    ]
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    checkpoint.load_generator(tmp_path / "step-00000002")


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"sha256": 1}', '{"sha256": "x"}', "[" * 100_000])
def test_a_checkpoint_of_broken_json_falls_back_to_the_one_before(tmp_path: Path, text: str) -> None:
    checkpoint.save(tmp_path, state(1), {"step": 1})
    path = checkpoint.save(tmp_path, state(2), {"step": 2})
    path.with_suffix(".json").write_text(text)
    assert checkpoint.load(tmp_path).meta == {"step": 1}


@pytest.mark.parametrize(
    ("knob", "value", "says"),
    [
        ("generator_blocks", 1_000_000, "at most 32"),
        ("generator_channels", True, "a whole number"),
        ("generator", "mlp", "one of unet, resnet"),
        ("lr", float("nan"), "a finite number"),
        ("generator_channels", 512, "another architecture"),
    ],
)
def test_a_card_keeps_the_knobs_bounds(gan, tmp_path: Path, knob: str, value: object, says: str) -> None:
    translator = gan("cyclegan")
    checkpoint.save_generator(tmp_path, translator.generator, translator.config)
    card = json.loads((tmp_path / "generator.json").read_text())
    card["config"][knob] = value
    (tmp_path / "generator.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=says):
        checkpoint.load_generator(tmp_path)


def test_one_killed_in_its_writing_does_not_take_the_place_of_the_previous(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), {"step": 1})
    checkpoint.save(tmp_path, state(2), {"step": 2}).with_suffix(".json").unlink()
    newest = checkpoint.save(tmp_path, state(3), {"step": 3})
    newest.write_bytes(b"damaged")
    assert checkpoint.load(tmp_path).meta == {"step": 1}


def test_generators_of_later_steps_are_forgotten(tmp_path: Path, gan) -> None:
    translator = gan("cyclegan")
    for step in (10, 20, 30):
        checkpoint.save_best(
            tmp_path, translator.generator, translator.config, score=1 / step, step=step, keep=3
        )
    checkpoint.forget_later(tmp_path, 20)
    assert names(tmp_path) == ["step-00000010", "step-00000020"]
    checkpoint.forget_later(tmp_path / "absent", 0)


def test_what_is_kept_beside_is_of_the_steps_of_the_best(tmp_path: Path, gan) -> None:
    translator, scores = gan("cyclegan"), {10: 3.0, 20: 1.0, 30: 2.0}
    for step, score in scores.items():
        kept = checkpoint.save_best(
            tmp_path / "best", translator.generator, translator.config, score=score, step=step
        )
        if kept:
            checkpoint.save_beside(tmp_path / "back", translator.way_back(), translator.config, step)
    assert names(tmp_path / "best") == names(tmp_path / "back") == ["step-00000020"]
    loaded, _ = checkpoint.load_generator(tmp_path / "back" / "step-00000020")
    expected = translator.networks["generator_day"].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
