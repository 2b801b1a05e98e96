"""CycleGAN (Zhu et al. 2017): unpaired translation, two generators that undo each other."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from d2n.config.methods.cyclegan import KNOBS, CycleGANConfig
from d2n.translators import losses
from d2n.translators.from_config import discriminator_from_config, generator_from_config
from d2n.translators.gan import TwoDomains
from d2n.translators.method import Method
from d2n.translators.translate import translate_batch

DOMAINS = ("night", "day")


class CycleGAN(TwoDomains):
    """Both generators, then both discriminators. A network is named by the domain that it makes or judges.

    Losses, each summed over both directions: g, g_gan, g_cycle (and g_identity, g_edge, g_luminance), d_real, d_fake
    and d, the sum of d_night and d_day; d_accuracy is their mean. Weights are normalized per direction.
    """

    config: CycleGANConfig
    has_one_path = True
    product = "generator_night"
    players = {  # noqa: RUF012 - a ClassVar in Gan
        "generator": ("generator_night", "generator_day"),
        "discriminator": ("discriminator_night", "discriminator_day"),
    }
    pooled = DOMAINS

    def way_back(self) -> nn.Module:
        """generator_day."""
        return self.networks["generator_day"]

    def samples(self, day: Tensor) -> dict[str, Tensor]:
        """day, fake_night and reconstructed_day."""
        fake_night = self.translate(day)
        with self.autocast():
            back = translate_batch(self.networks["generator_day"], self._moved(fake_night), self.stride)
        return {"day": day, "fake_night": fake_night, "reconstructed_day": back.float()}

    def _make_networks(self) -> dict[str, nn.Module]:
        generators = {
            f"generator_{d}": generator_from_config(self.config, self._initial(f"g_{d}")) for d in DOMAINS
        }
        judges = {
            f"discriminator_{d}": discriminator_from_config(self.config, 3, self._initial(f"d_{d}"))
            for d in DOMAINS
        }
        return {**generators, **judges}

    def _loss_weights(self) -> dict[str, float]:
        identity = {"identity": self.config.lambda_identity} if self.config.lambda_identity else {}
        return {"gan": 1.0, "cycle": self.config.lambda_cycle, **identity, **self._kept_weights()}

    def _step(self, day: Tensor, night: Tensor) -> dict[str, Tensor]:
        pairs = zip(self._parts(day), self._parts(night), strict=True)
        real = [dict(zip(("day", "night"), pair, strict=True)) for pair in pairs]
        fakes: list[dict[str, Tensor]] = [{} for _ in real]
        parts = list(zip(real, fakes, strict=True))
        self._freeze("discriminator", True)
        g = self._optimize("generator", [partial(self._make, *part) for part in parts])
        self._freeze("discriminator", False)
        return {**g, **self._optimize("discriminator", [partial(self._judge_both, *part) for part in parts])}

    def _make(self, real: dict[str, Tensor], fakes: dict[str, Tensor]) -> dict[str, Tensor]:
        """Both directions' losses; the fakes go into ``fakes``."""
        directions = []
        with self.autocast():
            for domain, other in (("night", "day"), ("day", "night")):
                fake, terms = self._direction(domain, other, real)
                fakes[domain] = fake.detach()
                directions.append(terms)
        terms = {name: directions[0][name] + directions[1][name] for name in directions[0]}
        g = losses.weighted_sum(terms, self.weights)
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}}

    def _direction(
        self, domain: str, other: str, real: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Fakes of ``domain`` from real images of ``other``, and their loss terms."""
        to_domain, back = self.trained[f"generator_{domain}"], self.trained[f"generator_{other}"]
        fake = losses.full_precision(to_domain(real[other]))
        logits = self.networks[f"discriminator_{domain}"](self._augmented(fake, f"g_{domain}"))
        terms = {
            "gan": losses.generator_loss(logits, self.config.gan_loss),
            "cycle": losses.l1(back(fake), real[other]),
        }
        if self.config.lambda_identity:
            terms["identity"] = losses.l1(to_domain(real[domain]), real[domain])
        return fake, {**terms, **self._kept_terms(real[other], fake)}

    def _judge_both(self, real: dict[str, Tensor], fakes: dict[str, Tensor]) -> dict[str, Tensor]:
        judged = {domain: self._judge_domain(domain, real[domain], fakes[domain]) for domain in DOMAINS}
        summed = {name: judged["night"][name] + judged["day"][name] for name in ("d_real", "d_fake")}
        accuracy = (judged["night"]["d_accuracy"] + judged["day"]["d_accuracy"]) / 2
        each = {"d_night": judged["night"]["d"], "d_day": judged["day"]["d"]}
        return {"d": each["d_night"] + each["d_day"], **each, **summed, "d_accuracy": accuracy}


METHOD = Method(knobs=KNOBS, translator=CycleGAN)
