"""StarGAN (Choi et al. 2018): one generator for all directions, told the domain; a discriminator that names it.

With x of domain c and another one c' drawn for it, D the critic and C the classifier on one trunk:

    L_D = mean D(G(x, c')) - mean D(x)  +  lambda_penalty mean (|grad_z D(z)| - 1)^2  +  lambda_class CE(C(x), c)
    L_G = - mean D(G(x, c'))  +  lambda_class CE(C(G(x, c')), c')  +  lambda_cycle |G(G(x, c'), c) - x|

z lies between an image and its fake, at a place drawn for each (Gulrajani et al. 2017). The generator moves every
``n_critic`` steps. ``gan_loss``, ``pool_size``, ``upsampling``, dropout and the norms are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.config.methods.stargan import KNOBS, StarGANConfig
from d2n.translators import losses
from d2n.translators.conditioned import (
    ConditionedGenerator,
    classifying_from_config,
    conditioned_from_config,
    fold,
)
from d2n.translators.many import ManyDomains
from d2n.translators.method import Method
from d2n.translators.translate import translate_batch


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """mean (|grad_z sum of D(z)| - 1)^2 at z = share real + (1 - share) fake; share (B, 1, 1, 1) in [0, 1]."""
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    values, _ = critic(between)
    (gradient,) = torch.autograd.grad(values.sum(), between, create_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    return cast(Tensor, (norms - 1).square().mean())


class StarGAN(ManyDomains):
    """The discriminator in every step, the generator in every ``n_critic``-th.

    Losses: d, d_real, d_fake, d_class, d_penalty; in the steps of the generator g, g_gan, g_class, g_cycle (and
    g_edge) too.
    """

    config: StarGANConfig
    product = "generator"
    players = {  # noqa: RUF012 - read alone
        "generator": ("generator",),
        "discriminator": ("discriminator",),
    }
    pooled = ()

    @property
    def trained_generator(self) -> nn.Module:
        """The generator folded to the second domain."""
        return self.folded(self.domains[1])

    def way_back(self) -> nn.Module:
        """The generator folded to the first domain."""
        return self.folded(self.domains[0])

    def folded(self, target: str) -> ConditionedGenerator:
        """A generator of images alone that makes ``target``: the trained one, told that domain."""
        generator = cast(ConditionedGenerator, self.networks["generator"])
        if target not in self._folded:
            made = self._placed(conditioned_from_config(self.config, 1)).requires_grad_(False)
            self._folded[target] = cast(ConditionedGenerator, made)
        folded = self._folded[target].to(generator.first.weight.dtype)
        fold(generator, folded, self.domains.index(target))
        return folded

    def between(self, images: Tensor, source: str, target: str) -> Tensor:
        """(B, 3, H, W) in [-1, 1], any size, to fakes of ``target``; float32, in eval mode."""
        if target == self.domains[1]:
            return self.translate(images)
        with self.autocast():
            return translate_batch(self.folded(target), self._moved(images), self.stride).float()

    def samples(self, day: Tensor) -> dict[str, Tensor]:
        """The images of the first domain, what is made of them, and the way back."""
        source, target = self.domains[:2]
        fake = self.translate(day)
        return {"day": day, "fake_night": fake, "reconstructed_day": self.between(fake, target, source)}

    def _make_networks(self) -> dict[str, nn.Module]:
        self._refuse_parts()
        self._folded: dict[str, ConditionedGenerator] = {}
        c, n = self.config, len(self.domains)
        return {
            "generator": conditioned_from_config(c, n, self._initial("g")),
            "discriminator": classifying_from_config(c, n, self._initial("d")),
        }

    def _loss_weights(self) -> dict[str, float]:
        c = self.config
        return {"gan": 1.0, "class": c.lambda_class, "cycle": c.lambda_cycle, **self._kept_weights()}

    def _step_on(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        real = torch.cat(list(images.values()))
        numbered = enumerate(images.values())
        own = torch.cat([torch.full((len(some),), i, device=self.device) for i, some in numbered])
        shift = self._drawn("targets", images, partial(torch.randint, 1, len(images), device=self.device))
        target = (own + shift) % len(images)  # another domain than its own
        share = self._drawn("penalty", images, partial(torch.rand, device=self.device, dtype=real.dtype))
        found = self._step_discriminator(real, own, target, share.view(-1, 1, 1, 1))
        if self.steps_done % self.config.n_critic == self.config.n_critic - 1:
            found |= self._step_generator(real, own, target)
        return found

    def _drawn(self, purpose: str, images: Mapping[str, Tensor], draw: Callable[..., Tensor]) -> Tensor:
        """A draw for each image of all domains."""
        each = [
            self.draw(f"{purpose} {domain}", some, lambda count, random: draw((count,), generator=random))
            for domain, some in images.items()
        ]
        return torch.cat(each)

    def _step_discriminator(
        self, real: Tensor, own: Tensor, target: Tensor, share: Tensor
    ) -> dict[str, Tensor]:
        self._freeze("discriminator", False)
        judge, c = self.trained["discriminator"], self.config
        with self.autocast(), torch.no_grad():
            fake = losses.full_precision(self.trained["generator"](real, self._told(target)))
        with self.autocast():
            on_real, named = judge(self._augmented(real, "d_real"))
            on_fake, _ = judge(self._augmented(fake, "d_fake"))
        terms = {
            "d_real": -losses.full_precision(on_real).mean(),
            "d_fake": losses.full_precision(on_fake).mean(),
            "d_class": F.cross_entropy(losses.full_precision(named), own),
            "d_penalty": gradient_penalty(judge, real, fake, share),
        }
        weights = {"d_real": 1.0, "d_fake": 1.0, "d_class": c.lambda_class, "d_penalty": c.lambda_penalty}
        return {"d": self._minimise("discriminator", losses.weighted_sum(terms, weights)), **terms}

    def _step_generator(self, real: Tensor, own: Tensor, target: Tensor) -> dict[str, Tensor]:
        self._freeze("discriminator", True)
        generator = self.trained["generator"]
        with self.autocast():
            fake = losses.full_precision(generator(real, self._told(target)))
            critic, named = self.networks["discriminator"](self._augmented(fake, "g"))
            terms = {
                "gan": -losses.full_precision(critic).mean(),
                "class": F.cross_entropy(losses.full_precision(named), target),
                "cycle": losses.l1(generator(fake, self._told(own)), real),
            }
        terms |= self._kept_terms(real, fake)
        g = self._minimise("generator", losses.weighted_sum(terms, self.weights))
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}}

    def _told(self, domains: Tensor) -> Tensor:
        """(B,) numbers of domains to (B, D): 1 for that domain, else 0."""
        kind = next(self.networks["generator"].parameters()).dtype
        numbers = torch.arange(len(self.domains), device=domains.device)
        return (domains.unsqueeze(1) == numbers).to(kind)  # F.one_hot looks at the largest


METHOD = Method(knobs=KNOBS, translator=StarGAN)
