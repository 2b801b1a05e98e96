"""StarGAN's networks (Choi et al. 2018, 7.2): a generator that is told a domain, a discriminator that names one."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from d2n.config import TranslatorConfig
from d2n.config.methods.stargan import StarGANConfig
from d2n.errors import ShapeError
from d2n.translators.networks import init_weights
from d2n.translators.recompute import run


class ConditionedGenerator(nn.Module):
    """Residual generator of images beside one constant plane a domain: two down, n blocks, two up.

    Zero padding; instance norm is affine, with statistics of the image itself always. 8,430,528 parameters for 5
    domains, 64 channels and 6 blocks.

    forward: (B, 3, H, W) in [-1, 1] and ``condition`` (B, D), one value a plane, to the same shape as the images;
    sides must divide by 4. Without a condition all planes are 1: a generator of one plane is one of one domain.
    """

    stride = 4
    smallest_side = 8
    recompute = False

    def __init__(self, domains: int = 1, base_channels: int = 64, blocks: int = 6) -> None:
        super().__init__()
        c = base_channels
        self.domains = domains
        self.first = nn.Conv2d(3 + domains, c, 7, padding=3, bias=False)
        self.rest = nn.Sequential(
            _norm(c),
            nn.ReLU(),
            *(layer for width in (c, 2 * c) for layer in _down(width)),
            *(_Block(4 * c) for _ in range(blocks)),
            *(layer for width in (4 * c, 2 * c) for layer in _up(width)),
            nn.Conv2d(c, 3, 7, padding=3, bias=False),
            nn.Tanh(),
        )

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ShapeError(
                f"StarGAN's generator: image of {height} x {width} pixels, expected sides divisible by {self.stride}"
            )
        if condition is None:
            condition = images.new_ones(len(images), self.domains)
        planes = condition.to(images.dtype)[:, :, None, None].expand(-1, -1, height, width)
        hidden = self.first(torch.cat([images, planes], dim=1))
        for layer in self.rest:
            hidden = run(layer, hidden, self.recompute)
        return cast(Tensor, hidden)


class ClassifyingDiscriminator(nn.Module):
    """PatchGAN without norms, of two outputs: how real each patch is, and which domain each part belongs to.

    The domain is told by a convolution of ``kernel`` px a side, over all of an image of kernel 2^layers px as
    published; a larger one has the mean over its places. 44,762,048 parameters for 5 domains, 64 channels, 6 layers
    and a kernel of 2, which is for 128 px.

    forward: (B, 3, H, W) to critics (B, 1, h, w) and class logits (B, D).
    """

    def __init__(self, domains: int, base_channels: int = 64, layers: int = 6, kernel: int = 2) -> None:
        super().__init__()
        self.smallest_side = kernel * 2**layers
        widths = [base_channels * 2**level for level in range(layers)]
        convs = zip([3, *widths], widths, strict=False)
        self.trunk = nn.Sequential(
            *(
                layer
                for c_in, c_out in convs
                for layer in (nn.Conv2d(c_in, c_out, 4, stride=2, padding=1), nn.LeakyReLU(0.01))
            )
        )
        self.critic = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        self.classes = nn.Conv2d(widths[-1], domains, kernel, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if min(images.shape[-2:]) < self.smallest_side:
            raise ShapeError(
                f"StarGAN's discriminator: image of {images.shape[-2]} x {images.shape[-1]} pixels, expected at least "
                f"{self.smallest_side} a side; use larger crops, or lower discriminator_layers or class_kernel"
            )
        hidden = self.trunk(images)
        return self.critic(hidden), self.classes(hidden).mean(dim=(2, 3))


def conditioned_from_config(
    config: TranslatorConfig, domains: int = 1, random: torch.Generator | None = None
) -> ConditionedGenerator:
    """A generator with fresh weights drawn from ``random``; of one domain as it is saved."""
    with torch.random.fork_rng(devices=[]):
        generator = ConditionedGenerator(domains, config.generator_channels, config.generator_blocks)
    generator.recompute = config.recompute
    init_weights(generator, config.init_gain, random)
    return generator


def classifying_from_config(
    config: TranslatorConfig, domains: int = 1, random: torch.Generator | None = None
) -> ClassifyingDiscriminator:
    """A discriminator with fresh weights drawn from ``random``."""
    c = cast(StarGANConfig, config)
    with torch.random.fork_rng(devices=[]):
        judge = ClassifyingDiscriminator(
            domains, c.discriminator_channels, c.discriminator_layers, c.class_kernel
        )
    init_weights(judge, c.init_gain, random)
    return judge


@torch.no_grad()
def fold(generator: ConditionedGenerator, into: ConditionedGenerator, domain: int) -> None:
    """Make ``into``, of one plane, compute what ``generator`` does when it is told ``domain``; in place.

    The plane of that domain is all 1 and the others are all 0: its weights are all that the first convolution needs.
    """
    weight = generator.first.weight
    into.first.weight.copy_(torch.cat([weight[:, :3], weight[:, 3 + domain : 4 + domain]], dim=1))
    if into.rest is not generator.rest:
        into.rest.load_state_dict(generator.rest.state_dict())


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def _down(c: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(c, 2 * c, 4, stride=2, padding=1, bias=False), _norm(2 * c), nn.ReLU()


def _up(c: int) -> tuple[nn.Module, ...]:
    return (
        nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1, bias=False),
        _norm(c // 2),
        nn.ReLU(),
    )


class _Block(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            _norm(c),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            _norm(c),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.model(x))
