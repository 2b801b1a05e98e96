"""pix2pix (Isola et al. 2017): paired translation, a conditional discriminator and L1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from d2n.config.methods.pix2pix import KNOBS, Pix2PixConfig
from d2n.translators import losses
from d2n.translators.from_config import discriminator_from_config, generator_from_config
from d2n.translators.gan import TwoDomains
from d2n.translators.method import Method


class Pix2Pix(TwoDomains):
    """D, then G. The discriminator sees the day image with the real or fake night: 6 channels.

    Losses: g, g_gan, g_l1 (and g_edge, g_luminance), d, d_real, d_fake, d_accuracy.
    """

    config: Pix2PixConfig
    has_one_path = True
    product = "generator"
    players = {"generator": ("generator",), "discriminator": ("discriminator",)}  # noqa: RUF012 - a ClassVar in Gan
    pooled = ("night",)

    def _make_networks(self) -> dict[str, nn.Module]:
        return {
            "generator": generator_from_config(self.config, self._initial("generator")),
            "discriminator": discriminator_from_config(self.config, 6, self._initial("discriminator")),
        }

    def _loss_weights(self) -> dict[str, float]:
        return {"gan": 1.0, "l1": self.config.lambda_l1, **self._kept_weights()}

    def _step(self, day: Tensor, night: Tensor) -> dict[str, Tensor]:
        days, nights = self._parts(day), self._parts(night)
        parts = list(zip(days, nights, self._fakes(days), strict=True))
        self._freeze("discriminator", False)
        d = self._optimize("discriminator", [partial(self._judge, *part) for part in parts])
        self._freeze("discriminator", True)
        return {**d, **self._optimize("generator", [partial(self._make, *part) for part in parts])}

    def _judge(self, day: Tensor, night: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        judge = self.trained["discriminator"]
        with torch.no_grad():
            fake_pair = self.pools["night"].query(torch.cat([day, make()], dim=1))
        with self.autocast():
            fake = judge(self._augmented(fake_pair, "d_fake"))
            real = judge(self._augmented(torch.cat([day, night], dim=1), "d_real"))
        d_real, d_fake = losses.discriminator_loss(real, fake, self.config.gan_loss)
        accuracy = losses.discriminator_accuracy(real, fake, self.config.gan_loss)
        return {"d": (d_real + d_fake) / 2, "d_real": d_real, "d_fake": d_fake, "d_accuracy": accuracy}

    def _make(self, day: Tensor, night: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        fake_night = make()
        with self.autocast():
            pair = self._augmented(torch.cat([day, fake_night], dim=1), "g")
            logits = self.networks["discriminator"](pair)
        terms = {
            "gan": losses.generator_loss(logits, self.config.gan_loss),
            "l1": losses.l1(fake_night, night),
            **self._kept_terms(day, fake_night),
        }
        g = losses.weighted_sum(terms, self.weights)
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}}


METHOD = Method(knobs=KNOBS, translator=Pix2Pix, judges=2)
