"""HED-N-GAN (Mohwald, Jenicek and Chum 2023): unpaired translation in one direction, held by edges."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from d2n.backbones.hed import check_readable, load_hed
from d2n.config import TranslatorConfig
from d2n.config.methods.hedngan import KNOBS, HedNGanConfig
from d2n.errors import CheckpointError, WeightsError
from d2n.translators import losses
from d2n.translators.from_config import discriminator_from_config, generator_from_config
from d2n.translators.gan import Player, TwoDomains
from d2n.translators.method import Method
from d2n.translators.state import weights_digest


class HedNGan(TwoDomains):
    """D, then the student, then G; one Adam each. With x a day, y a night, G the generator, s the logistic function:

    D: mean of the losses on y and G(x), as in the published code;
    student N: lambda_student (|N(x) - H(x)| + |N(G(x)) - H(x)|), mean over the logits, H the fixed HED;
    G: adversarial + lambda_edge |s(N(G(x))) - s(H(x))|, mean over the pixels.

    Without a student (lambda_student 0) H stands in N's place: the paper's HED-GAN. With ``edges`` sobel the edges
    are losses.edge_consistency.

    Losses: g, g_gan, g_edge (g_luminance), d, d_real, d_fake, d_accuracy (student, student_day, student_night).
    """

    config: HedNGanConfig
    has_one_path = True
    product = "generator"
    players = {  # noqa: RUF012 - a ClassVar in Gan
        "generator": ("generator",),
        "discriminator": ("discriminator",),
        "student": ("student",),
    }
    pooled = ("night",)
    teacher: nn.Module | None

    def state(self) -> dict[str, Any]:
        digest = None if self.teacher is None else weights_digest(self.teacher)
        return {**super().state(), "teacher": digest}

    def load_state(self, state: Mapping[str, Any]) -> None:
        digest = None if self.teacher is None else weights_digest(self.teacher)
        if state.get("method") == self.config.method and state.get("teacher") != digest:
            raise CheckpointError(
                "the checkpoint was trained with other weights of HED (translator.edges, translator.hed_weights); "
                "resume with the file that it was made with"
            )
        super().load_state(state)

    def _make_networks(self) -> dict[str, nn.Module]:
        self.teacher = None
        networks = {
            "generator": generator_from_config(self.config, self._initial("generator")),
            "discriminator": discriminator_from_config(self.config, 3, self._initial("discriminator")),
        }
        if self.config.edges == "hed":
            self.teacher = self._placed(load_hed(self.config.hed_weights))
            if self.config.lambda_student:
                networks["student"] = copy.deepcopy(self.teacher).train().requires_grad_(True)
        return networks

    def _loss_weights(self) -> dict[str, float]:
        return {"gan": 1.0, **self._kept_weights()}

    def _adam_options(self, player: Player) -> dict[str, Any]:
        if player != "student":
            return super()._adam_options(player)
        c = self.config
        return {"lr": c.student_lr, "betas": (0.9, 0.999), "weight_decay": c.student_weight_decay}

    def _step(self, day: Tensor, night: Tensor) -> dict[str, Tensor]:
        days, nights = self._parts(day), self._parts(night)
        fakes = self._fakes(days)
        self._freeze("discriminator", False)
        judged = [partial(self._judge, *part) for part in zip(nights, fakes, strict=True)]
        found = self._optimize("discriminator", judged)
        parts = list(zip(days, fakes, strict=True))
        if "student" in self.networks:
            self._freeze("student", False)
            found |= self._optimize("student", [partial(self._teach, *part) for part in parts])
        self._freeze("discriminator", True)
        self._freeze("student", True)
        return {**found, **self._optimize("generator", [partial(self._make, *part) for part in parts])}

    def _judge(self, night: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        judge = self.trained["discriminator"]
        with torch.no_grad():
            pooled = self.pools["night"].query(make())
        with self.autocast():
            real = judge(self._augmented(night, "d_real"))
            fake = judge(self._augmented(pooled, "d_fake"))
        d_real, d_fake = losses.discriminator_loss(real, fake, self.config.gan_loss)
        accuracy = losses.discriminator_accuracy(real, fake, self.config.gan_loss)
        return {"d": (d_real + d_fake) / 2, "d_real": d_real, "d_fake": d_fake, "d_accuracy": accuracy}

    def _teach(self, day: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        student = self.trained["student"]
        with self.autocast():
            with torch.no_grad():
                target, fake_night = cast(nn.Module, self.teacher)(day), make().detach()
            on_day, on_night = losses.l1(student(day), target), losses.l1(student(fake_night), target)
        loss = self.config.lambda_student * (on_day + on_night)
        return {"student": loss, "student_day": on_day, "student_night": on_night}

    def _make(self, day: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        fake_night = make()
        with self.autocast():
            logits = self.networks["discriminator"](self._augmented(fake_night, "g"))
            terms = {
                "gan": losses.generator_loss(logits, self.config.gan_loss),
                **self._kept_terms(day, fake_night),
            }
        g = losses.weighted_sum(terms, self.weights)
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}}

    def _kept_terms(self, source: Tensor, fake: Tensor) -> dict[str, Tensor]:
        terms = super()._kept_terms(source, fake)
        if self.teacher is not None and "edge" in terms:
            terms["edge"] = self._hed_difference(source, fake, self.teacher)
        return terms

    def _hed_difference(self, day: Tensor, fake_night: Tensor, teacher: nn.Module) -> Tensor:
        with torch.no_grad():
            expected = losses.full_precision(teacher(day)).sigmoid()
        found = losses.full_precision(self.networks.get("student", teacher)(fake_night)).sigmoid()
        return losses.l1(found, expected)


def check(config: TranslatorConfig) -> None:
    """WeightsError where HED's weights, or what reads them, are not here."""
    c = cast(HedNGanConfig, config)
    if c.edges == "hed":
        try:
            check_readable(c.hed_weights)
        except WeightsError as error:
            raise WeightsError(
                f"translator.hed_weights: {error}; translator.edges=sobel needs none"
            ) from error


METHOD = Method(knobs=KNOBS, translator=HedNGan, check=check)
