"""Losses: adversarial, L1, edge consistency, historical averaging; loss weight normalization.

Every loss is a scalar tensor, computed in at least float32 whatever the precision of the networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GanLoss = Literal["vanilla", "least_squares", "hinge"]


def discriminator_loss(real: Tensor, fake: Tensor, kind: GanLoss) -> tuple[Tensor, Tensor]:
    """The discriminator's loss on logits of real and of fake images; its total is the mean of both.

    vanilla: -log s(real), -log(1 - s(fake)) with s the logistic function (Goodfellow et al. 2014);
    least_squares: (real - 1)^2, fake^2 (Mao et al. 2017);
    hinge: max(0, 1 - real), max(0, 1 + fake) (Lim and Ye 2017). Each a mean over all logits.
    """
    real, fake = full_precision(real), full_precision(fake)
    if kind == "vanilla":
        return F.softplus(-real).mean(), F.softplus(fake).mean()
    if kind == "least_squares":
        return (real - 1).square().mean(), fake.square().mean()
    return F.relu(1 - real).mean(), F.relu(1 + fake).mean()


def generator_loss(fake: Tensor, kind: GanLoss) -> Tensor:
    """The generator's adversarial loss on logits of its fakes, mean over all logits.

    vanilla is the non-saturating -log s(fake) (Goodfellow et al. 2014, 3); least_squares (fake - 1)^2; hinge
    -fake.
    """
    fake = full_precision(fake)
    if kind == "vanilla":
        return F.softplus(-fake).mean()
    if kind == "least_squares":
        return (fake - 1).square().mean()
    return -fake.mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference: thesis equations 2.5 and 2.8 per element."""
    return (full_precision(a) - full_precision(b)).abs().mean()


def loss_weights(weights: Mapping[str, float], normalize: bool) -> dict[str, float]:
    """The weights, each divided by their sum where ``normalize`` (thesis equation 3.1)."""
    total = sum(weights.values()) if normalize else 1.0
    return {name: weight / total for name, weight in weights.items()}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of weight * term over ``terms``."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def discriminator_accuracy(real: Tensor, fake: Tensor, kind: GanLoss) -> Tensor:
    """Share of logits on the right side, in [0, 1]; real is above 0.5 under least squares, else above 0."""
    threshold = 0.5 if kind == "least_squares" else 0.0
    right = (real.detach() > threshold).float().mean() + (fake.detach() < threshold).float().mean()
    return right / 2


def relativistic_loss(better: Tensor, worse: Tensor, kind: GanLoss) -> Tensor:
    """How far ``better`` is from being judged more real than ``worse``, by their difference, mean over all logits.

    vanilla -log s(better - worse), least_squares (better - worse - 1)^2, hinge max(0, 1 - better + worse)
    (Jolicoeur-Martineau 2019): the discriminator's loss with the real images as better, the generator's with fakes.
    """
    more = full_precision(better) - full_precision(worse)
    if kind == "vanilla":
        return F.softplus(-more).mean()
    return (more - 1).square().mean() if kind == "least_squares" else F.relu(1 - more).mean()


def luminance(images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W), by Rec. 601."""
    return (images * _rec_601(images.dtype, images.device)).sum(dim=1, keepdim=True)


@lru_cache(maxsize=16)
def _rec_601(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(1, 3, 1, 1), kept: to bring it to a GPU in each step would let the host wait for the device."""
    with torch.inference_mode(False):  # else no gradient could pass it later
        return torch.tensor([0.299, 0.587, 0.114], dtype=dtype, device=device).view(1, 3, 1, 1)


def sobel_edges(images: Tensor) -> Tensor:
    """Gradient magnitude of the luminance by the Sobel operator: (B, 3, H, W) to (B, 1, H - 2, W - 2)."""
    grey = luminance(images)
    across = grey[..., 2:] - grey[..., :-2]
    down = grey[..., 2:, :] - grey[..., :-2, :]
    horizontal = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    vertical = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return (horizontal.square() + vertical.square() + 1e-12).sqrt()


def edge_consistency(day: Tensor, fake_night: Tensor) -> Tensor:
    """Mean absolute difference of the two edge maps, each divided by its image's root mean square.

    A night image has weaker edges in the same places: the division leaves only where they are. In the spirit
    of the edge-preserving generator of Mohwald, Jenicek and Chum 2023 (HED-N-GAN), with Sobel in the place
    of a learnt detector, so that no weights are needed. 0 for equal images, whatever their contrast (not
    their flat areas' noise).
    """
    edges = [sobel_edges(full_precision(images)) for images in (day, fake_night)]
    scaled = [e / (e.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-3) for e in edges]
    return (scaled[0] - scaled[1]).abs().mean()


def luminance_inversion(day: Tensor, fake_night: Tensor, cells: int = 16) -> Tensor:
    """Share of the contrast between places that the night turns upside down, in [0, 1], mean over the images.

    Luminance is averaged over ``cells`` x ``cells`` places. With a the difference of two places by day and b by
    night, over all pairs: sum max(0, -a b) / sum |a b|. 0 where the night rises with the day everywhere, 1 for a
    photo-negative, whatever the contrast of either; flat images give 0.
    """
    a, b = (_differences(full_precision(images), cells) for images in (day, fake_night))
    product = a * b
    inverted, all_contrast = F.relu(-product).sum(dim=1), product.abs().sum(dim=1)
    return (inverted / (all_contrast + 1e-6)).mean()


def _differences(images: Tensor, cells: int) -> Tensor:
    """(B, 3, H, W) to (B, P): differences of luminance of all pairs of places."""
    grey = luminance(images)
    height, width = (min(cells, side) for side in grey.shape[-2:])
    places = F.adaptive_avg_pool2d(grey, (height, width)).flatten(1)
    first, second = torch.triu_indices(places.shape[1], places.shape[1], offset=1, device=images.device)
    return places[:, first] - places[:, second]


class HistoricalAverage:
    """Historical averaging (Salimans et al. 2016, 3.3; thesis 2.3.4): ||theta - mean of past theta||^2.

    ``penalty`` is 0 before the first ``update``; each update adds the current parameters to the running mean.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.parameters = [p for module in modules for p in module.parameters()]
        self.mean = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.count = 0

    def penalty(self) -> Tensor:
        """The squared distance over all parameters, a scalar."""
        if not self.count:
            return self.parameters[0].new_zeros(())
        pairs = zip(self.parameters, self.mean, strict=True)
        return torch.stack([(p - mean).square().sum() for p, mean in pairs]).sum()

    @torch.no_grad()
    def update(self) -> None:
        """mean <- mean + (theta - mean) / t."""
        self.count += 1
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], 1 / self.count)

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "mean": list(self.mean)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.count = int(state["count"])
        for mine, saved in zip(self.mean, state["mean"], strict=True):
            mine.copy_(saved)


def full_precision(x: Tensor) -> Tensor:
    """bf16 and fp16 to float32; float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
