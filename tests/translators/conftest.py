"""Tiny GANs, fixed batches, and optimisation re-derived in plain steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2n.config import METHODS, TranslatorConfig, translator_config
from d2n.core import Compute
from d2n.translators import build
from d2n.translators.gan import Gan

TINY: dict[str, Any] = {
    "generator_channels": 4,
    "generator_blocks": 1,
    "unet_depth": 3,
    "discriminator_channels": 4,
    "discriminator_layers": 1,
    "init_gain": 0.2,  # larger than the papers', so that three steps move every loss
}


def tiny_config(method: str, **knobs: Any) -> TranslatorConfig:
    known = {item.name for item in dataclasses.fields(METHODS[method].config)}
    assert set(knobs) <= known
    if "edges" in known:
        knobs = {"edges": "sobel", **knobs}  # HED's weights are no part of the repository
    return translator_config(method, "thesis", **{**TINY, **knobs})


def tiny_gan(method: str, total_steps: int = 8, seed: int = 0, device: str = "cpu", **knobs: Any) -> Gan:
    return build(tiny_config(method, **knobs), total_steps=total_steps, seed=seed, compute=Compute(device))


def seeded_batch(step: int, size: int = 2, side: int = 16) -> dict[str, Tensor]:
    """A pure function of the step, as the data sets' batches are."""
    random = torch.Generator().manual_seed(1000 + step)
    return {name: torch.rand(size, 3, side, side, generator=random) * 2 - 1 for name in ("day", "night")}


def seeded_batches(start: int, stop: int) -> Iterator[dict[str, Tensor]]:
    return (seeded_batch(step) for step in range(start, stop))


class HandAdam:
    """Adam as its paper writes it (Kingma and Ba 2015, algorithm 1)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, beta1: float, beta2: float) -> None:
        self.parameters = list(parameters)
        self.lr, self.beta1, self.beta2, self.t = lr, beta1, beta2, 0
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]

    def minimise(self, loss: Tensor, factor: float = 1.0) -> None:
        gradients = torch.autograd.grad(loss, self.parameters)
        self.t += 1
        with torch.no_grad():
            for i, gradient in enumerate(gradients):
                self.m[i] = self.beta1 * self.m[i] + (1 - self.beta1) * gradient
                self.v[i] = self.beta2 * self.v[i] + (1 - self.beta2) * gradient * gradient
                m_hat = self.m[i] / (1 - self.beta1**self.t)
                v_hat = self.v[i] / (1 - self.beta2**self.t)
                self.parameters[i] -= factor * self.lr * m_hat / (v_hat.sqrt() + 1e-8)


HAND_GAN_LOSSES: dict[
    str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
] = {
    # discriminator on real, discriminator on fake, generator
    "vanilla": (
        lambda x: -torch.log(1 / (1 + torch.exp(-x))).mean(),
        lambda x: -torch.log(1 - 1 / (1 + torch.exp(-x))).mean(),
        lambda x: -torch.log(1 / (1 + torch.exp(-x))).mean(),
    ),
    "least_squares": (
        lambda x: ((x - 1) ** 2).mean(),
        lambda x: (x**2).mean(),
        lambda x: ((x - 1) ** 2).mean(),
    ),
    "hinge": (
        lambda x: torch.clamp(1 - x, min=0).mean(),
        lambda x: torch.clamp(1 + x, min=0).mean(),
        lambda x: -x.mean(),
    ),
}


@pytest.fixture
def gan() -> Callable[..., Gan]:
    return tiny_gan


@pytest.fixture
def config() -> Callable[..., TranslatorConfig]:
    return tiny_config


@pytest.fixture
def batch() -> Callable[..., dict[str, Tensor]]:
    return seeded_batch


@pytest.fixture
def batches() -> Callable[[int, int], Iterator[dict[str, Tensor]]]:
    return seeded_batches


@pytest.fixture
def hand_adam() -> type[HandAdam]:
    return HandAdam


@pytest.fixture(params=sorted(HAND_GAN_LOSSES))
def hand_gan_loss(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, HAND_GAN_LOSSES[request.param]
