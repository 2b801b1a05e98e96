"""pix2pix's steps against the same steps written out plainly, in float64."""

from __future__ import annotations

import copy

import pytest
import torch


def double(translator):
    for network in translator.networks.values():
        network.double()
    return translator


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_three_steps_equal_the_hand_derived_ones(
    gan, batch, hand_adam, hand_gan_loss, normalize, norm
) -> None:
    kind, (on_real, on_fake, on_generator) = hand_gan_loss
    translator = double(
        gan(
            "pix2pix",
            gan_loss=kind,
            normalize_loss_weights=normalize,
            generator_norm=norm,
            discriminator_norm=norm,
            dropout=False,
            beta1=0.5,
            lr=1e-2,
        )
    )
    g_net, d_net = (copy.deepcopy(translator.networks[name]) for name in ("generator", "discriminator"))
    g_adam = hand_adam(g_net.parameters(), 1e-2, 0.5, 0.999)
    d_adam = hand_adam(d_net.parameters(), 1e-2, 0.5, 0.999)
    weights = (1 / 101, 100 / 101) if normalize else (1, 100)
    for step in range(3):
        day, night = (batch(step)[name].double() for name in ("day", "night"))
        fake = g_net(day)
        d_fake = on_fake(d_net(torch.cat([day, fake.detach()], 1)))
        d_real = on_real(d_net(torch.cat([day, night], 1)))
        d_adam.minimise(0.5 * d_real + 0.5 * d_fake)
        g_gan = on_generator(d_net(torch.cat([day, fake], 1)))
        g_l1 = (fake - night).abs().mean()
        g_adam.minimise(weights[0] * g_gan + weights[1] * g_l1)
        found = translator.step(day, night)
        expected = {
            "d": (d_real + d_fake) / 2,
            "d_real": d_real,
            "d_fake": d_fake,
            "g": weights[0] * g_gan + weights[1] * g_l1,
            "g_gan": g_gan,
            "g_l1": g_l1,
        }
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value.item(), rel=1e-7), (name, step)
    for mine, plain in (
        (translator.networks["generator"], g_net),
        (translator.networks["discriminator"], d_net),
    ):
        for a, b in zip(mine.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_the_discriminator_judges_pairs(gan) -> None:
    assert gan("pix2pix").networks["discriminator"].model[0].in_channels == 6


def test_the_discriminator_is_not_moved_by_the_generators_step(gan, batch) -> None:
    """With no discriminator learning rate left, only D's own update may touch it."""
    translator = gan("pix2pix")
    before = [p.clone() for p in translator.networks["discriminator"].parameters()]
    translator.optimizers["discriminator"].step = lambda: None
    translator.step(**batch(0))
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, translator.networks["discriminator"].parameters(), strict=True)
    )


def test_edge_term_joins_the_weights(gan, batch) -> None:
    translator = gan("pix2pix", lambda_edge=9.0, normalize_loss_weights=True)
    assert translator.weights == {"gan": 1 / 110, "l1": 100 / 110, "edge": 9 / 110}
    found = translator.step(**batch(0))
    expected = sum(translator.weights[name] * found[f"g_{name}"] for name in ("gan", "l1", "edge"))
    assert found["g"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_more_steps_make_l1_smaller(gan, batch) -> None:
    translator = gan("pix2pix", lr=5e-3, total_steps=40)
    day = batch(0)["day"]
    losses = [translator.step(day, -0.5 * day)["g_l1"].item() for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]
