"""ToDayGAN (Anoosheh et al. 2019): ComboGAN with three discriminators a domain, each on one view; relativistic.

The discriminator D of a domain judges blurred colour, luminance and gradients (views.py), each at several depths. With
x a real image of the domain and f a fake,

    L_D = 1/2 mean over views v of sum over depths k of s_k mean (D_vk(x) - D_vk(f) - 1)^2
    L_G =     mean over views v of sum over depths k of s_k mean (D_vk(f) - D_vk(x) - 1)^2

with s_k of views.depth_shares, growing with the depth; D(x) is a constant in L_G, f one of the pool in L_D. L_G stands
in the place of GAN in ComboGAN's loss. ``gan_loss`` vanilla and hinge are relativistic in the same way.

It was made for night queries: the generator from night to day is ``between(night, "night", "day")``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from d2n.config.methods.todaygan import KNOBS, ToDayGANConfig
from d2n.translators import losses
from d2n.translators.combogan import ComboGAN
from d2n.translators.method import Method
from d2n.translators.views import VIEWS, over_depths, views_from_config

Logits = Mapping[str, Sequence[Tensor]]  # of each view, at each depth


class ToDayGAN(ComboGAN):
    """Losses as ComboGAN's, but of the discriminators d, d_colour, d_luminance and d_gradient; d_accuracy is the share
    of places where a real image is judged more real than a fake.
    """

    config: ToDayGANConfig

    def _make_judge(self, domain: str) -> nn.Module:
        return views_from_config(self.config, random=self._initial(f"d_{domain}"))

    def _adversarial(self, domain: str, fake: Tensor, real: Tensor) -> Tensor:
        judge = self.networks[f"discriminator_{domain}"]
        with torch.no_grad():
            on_real = judge(self._augmented(real, f"g_real_{domain}"))
        found = self._compared(judge(self._augmented(fake, f"g_{domain}")), on_real)
        return torch.stack(list(found.values())).mean()

    def _judge_domain(self, domain: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        judge = self.trained[f"discriminator_{domain}"]
        pooled = self.pools[domain].query(fake)
        with self.autocast():
            on_real = judge(self._augmented(real, f"d_real_{domain}"))
            on_fake = judge(self._augmented(pooled, f"d_fake_{domain}"))
            found = self._compared(on_real, on_fake)
        d = torch.stack(list(found.values())).mean() / 2
        named = {f"d_{view}": loss for view, loss in found.items()}
        return {"d": d, **named, "d_accuracy": _accuracy(on_real, on_fake)}

    def _compared(self, better: Logits, worse: Logits) -> dict[str, Tensor]:
        """The loss of each view where ``better`` shall be judged more real than ``worse``."""
        kind = self.config.gan_loss
        return {
            view: over_depths(
                [losses.relativistic_loss(b, w, kind) for b, w in zip(better[view], worse[view], strict=True)]
            )
            for view in VIEWS
        }


def _accuracy(on_real: Logits, on_fake: Logits) -> Tensor:
    """Share of places where the real image is judged more real, at the coarsest depth, mean over the views."""
    right = [(on_real[view][-1].detach() > on_fake[view][-1].detach()).float().mean() for view in VIEWS]
    return torch.stack(right).mean()


METHOD = Method(knobs=KNOBS, translator=ToDayGAN, judge=views_from_config)
