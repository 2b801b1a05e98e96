"""CycleGAN's steps against the same steps written out plainly, in float64."""

from __future__ import annotations

import copy

import pytest
import torch


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("identity", [0.0, 5.0])
def test_three_steps_equal_the_hand_derived_ones(
    gan, batch, hand_adam, hand_gan_loss, normalize, identity
) -> None:
    kind, (on_real, on_fake, on_generator) = hand_gan_loss
    translator = gan(
        "cyclegan",
        total_steps=3,
        gan_loss=kind,
        normalize_loss_weights=normalize,
        lambda_identity=identity,
        lr=1e-2,
        lr_schedule="linear",
        lr_decay_start=0.0,
        pool_size=50,
    )
    for network in translator.networks.values():
        network.double()
    g_night, g_day, d_night, d_day = (
        copy.deepcopy(translator.networks[name])
        for name in ("generator_night", "generator_day", "discriminator_night", "discriminator_day")
    )
    g_adam = hand_adam([*g_night.parameters(), *g_day.parameters()], 1e-2, 0.9, 0.999)
    d_adam = hand_adam([*d_night.parameters(), *d_day.parameters()], 1e-2, 0.9, 0.999)
    w_gan, w_cycle, w_identity = (w / ((1 + 10 + identity) if normalize else 1) for w in (1, 10, identity))
    for step, factor in enumerate((1, 2 / 3, 1 / 3)):
        day, night = (batch(step)[name].double() for name in ("day", "night"))
        fake_night, fake_day = g_night(day), g_day(night)
        g_gan = on_generator(d_night(fake_night)) + on_generator(d_day(fake_day))
        g_cycle = (g_day(fake_night) - day).abs().mean() + (g_night(fake_day) - night).abs().mean()
        g_identity = (g_night(night) - night).abs().mean() + (g_day(day) - day).abs().mean()
        g = w_gan * g_gan + w_cycle * g_cycle + w_identity * g_identity
        g_adam.minimise(g, factor)
        judged_night = 0.5 * (on_real(d_night(night)) + on_fake(d_night(fake_night.detach())))
        judged_day = 0.5 * (on_real(d_day(day)) + on_fake(d_day(fake_day.detach())))
        d_adam.minimise(judged_night + judged_day, factor)
        found = translator.step(day, night)
        expected = {"g": g, "g_gan": g_gan, "g_cycle": g_cycle, "d_night": judged_night, "d_day": judged_day}
        if identity:
            expected["g_identity"] = g_identity
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value.item(), rel=1e-7), (name, step)
    for name, plain in (("generator_night", g_night), ("discriminator_day", d_day)):
        for a, b in zip(translator.networks[name].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_one_adam_for_both_generators_and_one_for_both_discriminators(gan) -> None:
    translator = gan("cyclegan")
    for player, names in (
        ("generator", ("generator_night", "generator_day")),
        ("discriminator", ("discriminator_night", "discriminator_day")),
    ):
        expected = {id(p) for name in names for p in translator.networks[name].parameters()}
        (group,) = translator.optimizers[player].param_groups
        assert {id(p) for p in group["params"]} == expected
        assert group["betas"] == (0.9, 0.999)


def test_the_product_translates_day_to_night(gan, batch) -> None:
    translator = gan("cyclegan")
    day = batch(0)["day"]
    with torch.no_grad():
        assert torch.equal(translator.translate(day), translator.networks["generator_night"](day))
    samples = translator.samples(day)
    assert list(samples) == ["day", "fake_night", "reconstructed_day"]
    with torch.no_grad():
        back = translator.networks["generator_day"](samples["fake_night"])
    assert torch.equal(samples["reconstructed_day"], back)


def test_discriminators_see_pooled_fakes_once_the_pool_is_full(gan, batch) -> None:
    """A pool of one that always swaps would hand the discriminator the fake of the step before."""
    translator = gan("cyclegan", pool_size=1)
    seen: list[torch.Tensor] = []
    query = translator.pools["night"].query
    translator.pools["night"].query = lambda fake: seen.append(query(fake)) or seen[-1]
    fakes = []
    for step in range(12):
        data = {name: images[:1] for name, images in batch(step).items()}
        with torch.no_grad():
            fakes.append(translator.networks["generator_night"](data["day"]))
        translator.step(**data)
    old = [not torch.equal(now, shown) for now, shown in zip(fakes, seen, strict=True)]
    assert not old[0]
    assert 2 <= sum(old) <= 10


def test_the_way_back_is_the_day_generator_and_other_methods_have_none(gan) -> None:
    translator = gan("cyclegan")
    assert translator.way_back() is translator.networks["generator_day"]
    assert gan("pix2pix").way_back() is None
