"""ComboGAN (Anoosheh et al. 2018): n domains by n encoders, n decoders and n discriminators; unpaired.

A step draws two domains a, b and is CycleGAN's on them, the generator from a to b being G_b(E_a(x)):

    L = sum over (a, b), (b, a) of  GAN(D_b, G_b(E_a(x)))  +  lambda_cycle |G_a(E_b(G_b(E_a(x)))) - x|
        + lambda_identity |G_a(E_a(x)) - x|  +  lambda_latent |E_b(G_b(E_a(x))) - E_a(x)|
        + lambda_forward |half(G_b(E_a(x))) - half(x)|

The networks of the other domains do not move in that step. The last three terms are off as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.config.methods.combogan import KNOBS, ComboGANConfig
from d2n.translators import losses
from d2n.translators.from_config import discriminator_from_config
from d2n.translators.halves import Decoder, Encoder, halves, joined
from d2n.translators.many import ManyDomains
from d2n.translators.method import Method
from d2n.translators.seeds import derived_seed
from d2n.translators.translate import translate_batch


class ComboGAN(ManyDomains):
    """The generators of two domains, then their discriminators. Networks are named by the domain they read or make.

    Losses, summed over both directions: g, g_gan, g_cycle (and g_identity, g_latent, g_forward, g_edge), d_real,
    d_fake and d; d_accuracy is their mean. Weights are normalized per direction.
    """

    config: ComboGANConfig
    product = "decoder"  # of the second domain, behind the encoder of the first; see trained_generator

    @property
    def trained_generator(self) -> nn.Module:
        """The generator from the first domain to the second."""
        return self.whole(*self.domains[:2])

    def way_back(self) -> nn.Module:
        """The generator from the second domain to the first."""
        return self.whole(self.domains[1], self.domains[0])

    def whole(self, source: str, target: str) -> nn.Module:
        """The generator between two domains; its halves are the trained ones themselves."""
        if (source, target) not in self._wholes:
            encoder, decoder = self.networks[f"encoder_{source}"], self.networks[f"decoder_{target}"]
            whole = joined(self.config, cast(Encoder, encoder), cast(Decoder, decoder))
            self._wholes[source, target] = whole
        return self._wholes[source, target]

    def between(self, images: Tensor, source: str, target: str) -> Tensor:
        """(B, 3, H, W) of ``source`` in [-1, 1], any size, to fakes of ``target``; float32, in eval mode."""
        if (source, target) == self.domains[:2]:
            return self.translate(images)
        with self.autocast():
            whole = self.whole(source, target)
            return translate_batch(whole, self._moved(images), self.stride).float()

    def samples(self, day: Tensor) -> dict[str, Tensor]:
        """The images of the first domain, what is made of them, and the way back."""
        source, target = self.domains[:2]
        fake = self.translate(day)
        return {"day": day, "fake_night": fake, "reconstructed_day": self.between(fake, target, source)}

    def _make_networks(self) -> dict[str, nn.Module]:
        self._refuse_parts()
        self._wholes: dict[tuple[str, str], nn.Module] = {}
        self.pooled = self.domains
        self.players = {
            "generator": tuple(f"{half}_{d}" for d in self.domains for half in ("encoder", "decoder")),
            "discriminator": tuple(f"discriminator_{d}" for d in self.domains),
        }
        networks: dict[str, nn.Module] = {}
        for domain in self.domains:
            encoder, decoder = halves(self.config, self._initial(f"g_{domain}"))
            networks |= {f"encoder_{domain}": encoder, f"decoder_{domain}": decoder}
        return networks | {f"discriminator_{d}": self._make_judge(d) for d in self.domains}

    def _make_judge(self, domain: str) -> nn.Module:
        return discriminator_from_config(self.config, 3, self._initial(f"d_{domain}"))

    def _loss_weights(self) -> dict[str, float]:
        c = self.config
        optional = {
            "identity": c.lambda_identity,
            "latent": c.lambda_latent,
            "forward": c.lambda_forward,
            **self._kept_weights(),
        }
        return {"gan": 1.0, "cycle": c.lambda_cycle, **{name: w for name, w in optional.items() if w}}

    def drawn(self, step: int) -> tuple[str, str]:
        """The two domains of a step, in every process the same."""
        random = torch.Generator().manual_seed(derived_seed(self.seed, "domains", step))
        first, second = torch.randperm(len(self.domains), generator=random)[:2].tolist()
        return self.domains[first], self.domains[second]

    def _step_on(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        a, b = self.drawn(self.steps_done)
        real = {a: images[a], b: images[b]}
        self._freeze("discriminator", True)
        with self.autocast():
            codes = {domain: self.trained[f"encoder_{domain}"](x) for domain, x in real.items()}
            fake_b, there = self._direction(a, b, real, codes)
            fake_a, back = self._direction(b, a, real, codes)
        terms = {name: there[name] + back[name] for name in there}
        g = self._minimise("generator", losses.weighted_sum(terms, self.weights))
        judged = self._step_discriminators(real, {a: fake_a, b: fake_b})
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}, **judged}

    def _direction(
        self, source: str, target: str, real: Mapping[str, Tensor], codes: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Fakes of ``target`` from the real images of ``source``, and their loss terms."""
        c, x, code = self.config, real[source], codes[source]
        own, other = self.trained[f"decoder_{source}"], self.trained[f"decoder_{target}"]
        fake = losses.full_precision(other(code, x))
        again = self.trained[f"encoder_{target}"](fake)
        terms = {
            "gan": self._adversarial(target, fake, real[target]),
            "cycle": losses.l1(own(again, fake), x),
        }
        if c.lambda_identity:
            terms["identity"] = losses.l1(own(code, x), x)
        if c.lambda_latent:
            terms["latent"] = losses.l1(again, code.detach())
        if c.lambda_forward:
            terms["forward"] = losses.l1(F.avg_pool2d(fake, 3, stride=2), F.avg_pool2d(x, 3, stride=2))
        return fake, terms | self._kept_terms(x, fake)

    def _adversarial(self, domain: str, fake: Tensor, real: Tensor) -> Tensor:
        """The generators' adversarial term of fakes of a domain."""
        logits = self.networks[f"discriminator_{domain}"](self._augmented(fake, f"g_{domain}"))
        return losses.generator_loss(logits, self.config.gan_loss)

    def _step_discriminators(
        self, real: Mapping[str, Tensor], fakes: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        self._freeze("discriminator", False)
        one, other = (self._judge_domain(domain, real[domain], fake) for domain, fake in fakes.items())
        found = {name: one[name] + other[name] for name in one}
        d = self._minimise("discriminator", found["d"])
        return {**found, "d": d, "d_accuracy": found["d_accuracy"] / 2}


METHOD = Method(knobs=KNOBS, translator=ComboGAN)
