"""The photometric normalisation network in training: its loss written out, its direction, its resumption."""

from __future__ import annotations

import copy

import pytest
import torch

from d2n.config import build_experiment
from d2n.translators import build
from d2n.translators.alarms import alarms
from d2n.workflows.preflight.translator import check_networks


def _batch(step: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(step)
    return {name: torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for name in ("night", "day")}


def _gan(config, **knobs):
    made = config("photometric", unet_depth=2, generator_norm="none", **knobs)
    return build(made, total_steps=8, seed=3, domains=("night", "day"))


def test_three_steps_equal_the_hand_derived_ones(config, hand_adam) -> None:
    translator = _gan(config, lambda_l1=2.0, lambda_keep=0.5)
    translator.networks["generator"].double()
    net, c = copy.deepcopy(translator.networks["generator"]), translator.config
    adam = hand_adam(net.parameters(), c.lr, c.beta1, c.beta2)
    for step in range(3):
        images = {name: x.double() for name, x in _batch(step).items()}
        night, day = images["night"], images["day"]
        found = translator.step(images)
        g = 2 * (net(night) - day).abs().mean() + 0.5 * (net(day) - day).abs().mean()
        assert found["g"].item() == pytest.approx(g.item(), rel=1e-9)
        adam.minimise(g)
    for mine, by_hand in zip(translator.networks["generator"].parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, by_hand, rtol=1e-7, atol=1e-10)


def test_it_learns_and_has_no_discriminator(config) -> None:
    translator = _gan(config, lr=0.01, lambda_keep=0.0)
    found = [translator.step(_batch(0)) for _ in range(8)]
    assert found[-1]["g_l1"] < found[0]["g_l1"]
    assert set(found[0]) == {"g", "g_l1"}
    assert translator.way_back() is None
    assert "saturation" not in alarms(translator, None, {"g": 1.0})


@pytest.mark.parametrize("preset", ["thesis", "reference", "later", "published", "toy"])
def test_every_preset_goes_from_night_to_day(preset: str) -> None:
    experiment = build_experiment({"preset": preset, "translator": {"method": "photometric"}})
    assert experiment.dataset.direction == ("night", "day")


def test_images_too_small_for_a_discriminator_are_taken(config) -> None:
    check_networks(config("photometric", unet_depth=2, discriminator_layers=6), 16, 2)
