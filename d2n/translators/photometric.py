"""Photometric normalisation (Jenicek and Chum 2019): a U-Net that gives an image by night the light of day.

With (x, y) a night and the day of the same place, N the network:

    L = lambda_l1 |N(x) - y|  +  lambda_keep |N(y) - y|

The authors train it on exposures of one camera and on landmarks by day and night, with the retrieval network behind;
here on pairs alone. No discriminator: what pairs do not agree on comes out blurred, and retrieval asks for no more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from d2n.config import TranslatorConfig
from d2n.config.methods.photometric import KNOBS, PhotometricConfig
from d2n.translators import losses
from d2n.translators.from_config import generator_from_config
from d2n.translators.gan import TwoDomains
from d2n.translators.method import Method


class Photometric(TwoDomains):
    """One network, one Adam. Losses: g, g_l1, g_keep (and g_edge, g_luminance)."""

    config: PhotometricConfig
    product = "generator"
    players = {"generator": ("generator",)}  # noqa: RUF012 - a ClassVar in Gan
    pooled = ()

    def _make_networks(self) -> dict[str, nn.Module]:
        return {"generator": generator_from_config(self.config, self._initial("generator"))}

    def _loss_weights(self) -> dict[str, float]:
        keep = {"keep": self.config.lambda_keep} if self.config.lambda_keep else {}
        return {"l1": self.config.lambda_l1, **keep, **self._kept_weights()}

    def _step(self, day: Tensor, night: Tensor) -> dict[str, Tensor]:
        """``day`` are the images of the source, night as the presets have it."""
        sources, targets = self._parts(day), self._parts(night)
        parts = zip(sources, targets, self._fakes(sources), strict=True)
        return self._optimize("generator", [partial(self._make, *part) for part in parts])

    def _make(self, source: Tensor, target: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        evened = make()
        terms = {"l1": losses.l1(evened, target)}
        if self.config.lambda_keep:
            with self.autocast():
                terms["keep"] = losses.l1(self.trained["generator"](target), target)
        terms |= self._kept_terms(source, evened)
        g = losses.weighted_sum(terms, self.weights)
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}}


def no_judge(_config: TranslatorConfig, _channels: int, _random: torch.Generator | None) -> nn.Module:
    """There is no discriminator."""
    return nn.Identity()


METHOD = Method(knobs=KNOBS, translator=Photometric, judge=no_judge)
