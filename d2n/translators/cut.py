"""CUT (Park et al. 2020): unpaired translation in one direction, held by patches instead of a cycle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.config.methods.cut import KNOBS, CutConfig
from d2n.errors import ConfigError
from d2n.translators import losses
from d2n.translators.from_config import discriminator_from_config, generator_from_config
from d2n.translators.gan import TwoDomains
from d2n.translators.method import Method
from d2n.translators.networks import init_weights

TEMPERATURE = 0.07
NUM_PATCHES = 256
HEAD_DIM = 256


class Cut(TwoDomains):
    """D, then G with its projection heads (one Adam for both).

    lambda_nce weighs PatchNCE between day and fake night, lambda_identity between a night image and what the
    generator makes of it (the paper's lambda_X and lambda_Y, both 1; FastCUT: 10 and 0). The published code
    halves the sum of the two terms, as the preset `reference` does by weights of 0.5.

    Losses: g, g_gan, g_nce (g_identity, g_edge, g_luminance), d, d_real, d_fake, d_accuracy.
    """

    config: CutConfig
    has_one_path = True
    product = "generator"
    players = {  # noqa: RUF012 - a ClassVar in Gan
        "generator": ("generator", "heads"),
        "discriminator": ("discriminator",),
    }
    pooled = ("night",)

    def _make_networks(self) -> dict[str, nn.Module]:
        if self.config.generator != "resnet":
            raise ConfigError(
                f"translator.generator is {self.config.generator!r}: CUT compares features of a resnet"
            )
        generator = generator_from_config(self.config, self._initial("generator"))
        self.layers = feature_layers(self.config.generator_blocks)
        return {
            "generator": generator,
            "heads": ProjectionHeads(
                feature_widths(self.config.generator_channels, self.layers),
                self.config.init_gain,
                self._initial("heads"),
            ),
            "discriminator": discriminator_from_config(self.config, 3, self._initial("discriminator")),
        }

    def _loss_weights(self) -> dict[str, float]:
        identity = {"identity": self.config.lambda_identity} if self.config.lambda_identity else {}
        return {"gan": 1.0, "nce": self.config.lambda_nce, **identity, **self._kept_weights()}

    def _step(self, day: Tensor, night: Tensor) -> dict[str, Tensor]:
        days, nights = self._parts(day), self._parts(night)
        parts = list(zip(days, nights, self._fakes(days), strict=True))
        self._freeze("discriminator", False)
        d = self._optimize("discriminator", [partial(self._judge, night, make) for _, night, make in parts])
        self._freeze("discriminator", True)
        return {**d, **self._optimize("generator", [partial(self._make, *part) for part in parts])}

    def _judge(self, night: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        judge = self.trained["discriminator"]
        with torch.no_grad():
            pooled = self.pools["night"].query(make())
        with self.autocast():
            fake = judge(self._augmented(pooled, "d_fake"))
            real = judge(self._augmented(night, "d_real"))
        d_real, d_fake = losses.discriminator_loss(real, fake, self.config.gan_loss)
        accuracy = losses.discriminator_accuracy(real, fake, self.config.gan_loss)
        return {"d": (d_real + d_fake) / 2, "d_real": d_real, "d_fake": d_fake, "d_accuracy": accuracy}

    def _make(self, day: Tensor, night: Tensor, make: Callable[[], Tensor]) -> dict[str, Tensor]:
        fake_night = make()
        with self.autocast():
            logits = self.networks["discriminator"](self._augmented(fake_night, "g"))
            terms = {
                "gan": losses.generator_loss(logits, self.config.gan_loss),
                "nce": self._nce(day, fake_night, "nce"),
            }
            if self.config.lambda_identity:
                same_night = losses.full_precision(self.trained["generator"](night))
                terms["identity"] = self._nce(night, same_night, "identity")
        terms |= self._kept_terms(day, fake_night)
        g = losses.weighted_sum(terms, self.weights)
        return {"g": g, **{f"g_{name}": term for name, term in terms.items()}}

    def _nce(self, source: Tensor, result: Tensor, purpose: str) -> Tensor:
        """PatchNCE averaged over the layers; the source's features are constants, as in the paper's code."""
        queries = self._features(result)
        with torch.no_grad():
            keys = self._features(source)
        random = self.random("patches", purpose)
        positions = [patch_positions(f, NUM_PATCHES, random) for f in queries]
        heads = self.trained["heads"]
        q = heads([gather_patches(f, at) for f, at in zip(queries, positions, strict=True)])
        with torch.no_grad():
            k = self.networks["heads"]([gather_patches(f, at) for f, at in zip(keys, positions, strict=True)])
        return torch.stack([patch_nce(a, b) for a, b in zip(q, k, strict=True)]).mean()

    def _features(self, images: Tensor) -> list[Tensor]:
        features = [images, *self.trained["generator"](images, encode_only=True)]
        return [features[layer] for layer in self.layers]


class ProjectionHeads(nn.Module):
    """A two-layer perceptron for each feature layer: (B, P, C) to unit vectors (B, P, HEAD_DIM)."""

    def __init__(self, widths: list[int], init_gain: float, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.heads = nn.ModuleList(
                nn.Sequential(nn.Linear(width, HEAD_DIM), nn.ReLU(), nn.Linear(HEAD_DIM, HEAD_DIM))
                for width in widths
            )
        init_weights(self, init_gain, generator)

    def forward(self, patches: list[Tensor]) -> list[Tensor]:
        projected = (
            losses.full_precision(head(patch)) for head, patch in zip(self.heads, patches, strict=True)
        )
        return [F.normalize(vectors, dim=-1, eps=1e-7) for vectors in projected]


def patch_nce(queries: Tensor, keys: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Contrastive loss of patches (Park et al. 2020, equation 3): unit vectors (B, P, D), a scalar.

    The key at a query's own position is its positive, the other P - 1 of the same image are its negatives.
    """
    similarities = queries @ keys.transpose(1, 2) / temperature  # (B, P queries, P keys)
    batch, patches, _ = similarities.shape
    target = torch.arange(patches, device=queries.device).repeat(batch)
    return F.cross_entropy(similarities.flatten(0, 1), target)


def patch_positions(features: Tensor, num_patches: int, random: torch.Generator) -> Tensor:
    """Up to ``num_patches`` distinct positions among the H * W of (B, C, H, W), the same for the batch."""
    places = features.shape[-2] * features.shape[-1]
    order = torch.randperm(places, generator=random, device=random.device)
    return order[:num_patches].to(features.device)


def gather_patches(features: Tensor, positions: Tensor) -> Tensor:
    """(B, C, H, W) at ``positions`` (P,) to (B, P, C)."""
    return features.flatten(2)[..., positions].transpose(1, 2)


def feature_layers(blocks: int) -> list[int]:
    """Pixels (0), both downsamplings (2, 3), the first residual block and the fifth (or the last before).

    The published layers: in the antialiased network they see 1, 9, 15, 35 and 99 pixels, in the other
    1, 9, 13, 29 and 93.
    """
    inside = {3 + 1, 3 + min(5, blocks)} if blocks else set()
    return sorted({0, 2, 3} | inside)


def feature_widths(channels: int, layers: list[int]) -> list[int]:
    """Channels of the features at each of the layers."""
    return [{0: 3, 1: channels, 2: 2 * channels}.get(layer, 4 * channels) for layer in layers]


METHOD = Method(knobs=KNOBS, translator=Cut)
