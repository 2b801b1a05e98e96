"""Night augmentation: some training images pass a frozen day-to-night translation before they are embedded.

Source: thesis section 3.4 and figure 3.2; targets and choice by hash follow Mohwald, Jenicek and Chum,
"Dark Side Augmentation", ICCV 2023.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from d2n.config import NightConfig
from d2n.errors import ConfigError, RetrievalError
from d2n.retrieval.images import Pixels, shrink, to_tensor
from d2n.retrieval.losses import NEGATIVE, POSITIVE, QUERY
from d2n.retrieval.photometric import clahe, photometric

logger = logging.getLogger(__name__)

_CACHE_BYTES = 1 << 30  # nights kept in memory
Targets = Literal["all", "anchor", "positive", "negatives"]
Choice = Literal["random", "hash"]
Pads = tuple[int, int, int, int]  # left, right, top, bottom

_LABELS: dict[Targets, tuple[int, ...]] = {
    "all": (QUERY, POSITIVE, NEGATIVE),
    "anchor": (QUERY,),
    "positive": (POSITIVE,),
    "negatives": (NEGATIVE,),
}


def pad_to_multiple(x: Tensor, multiple: int, mode: str = "reflect") -> tuple[Tensor, Pads]:
    """x: (B, C, H, W) padded to the next multiple of both sides, and the pads (left, right, top, bottom).

    The image stays centred; an odd pixel goes right and bottom. Reflection needs a side longer than its pad;
    where one is not, both axes are replicated instead, which is logged.
    """
    pads, used = _centred_pads(x.shape[-2], x.shape[-1], multiple, mode)
    if used != mode:
        _log_replication(x.shape[-2], x.shape[-1], multiple)
    return (functional.pad(x, pads, mode=used) if any(pads) else x), pads


def unpad(x: Tensor, pads: Pads) -> Tensor:
    """The slice of (B, C, H, W) that pad_to_multiple had around it."""
    left, right, top, bottom = pads
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def to_signed(rgb: Tensor) -> Tensor:
    """RGB in [0, 1] to the generators' [-1, 1] (mean 0.5, standard deviation 0.5)."""
    return rgb * 2 - 1


def from_signed(signed: Tensor) -> Tensor:
    """The generators' [-1, 1] back to RGB in [0, 1], clamped."""
    return ((signed + 1) / 2).clamp(0, 1)


def chosen_by_hash(names: Sequence[str], probability: float, seed: int = 0) -> list[bool]:
    """Whether each name falls under the probability: a pure function of (seed, name), so it repeats."""
    digests = (hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest() for name in names)
    return [int.from_bytes(digest[:8]) < probability * 2**64 for digest in digests]


class NightAugmentation:
    """Translates each image with a probability by a frozen generator; the others pass unchanged.

    translate: (B, 3, H, W) in [-1, 1] to the same shape; a module is put into eval and frozen. It is called
    without gradients on sides padded to multiples of stride, and what it returns is sliced back.
    targets: which images of a tuple may be translated. choice: "random" draws anew each time, "hash" decides
    by the image's name, and keeps their nights.
    """

    keeps = True  # an image's night is the same each time

    def __init__(
        self,
        translate: Callable[[Tensor], Tensor],
        stride: int = 1,
        probability: float = 0.15,
        targets: Targets = "all",
        choice: Choice = "random",
        seed: int = 0,
    ) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"night.probability is {probability}, expected 0 to 1")
        if targets not in _LABELS:
            raise ConfigError(f"night.targets is {targets!r}, expected one of {', '.join(_LABELS)}")
        if choice not in ("random", "hash"):
            raise ConfigError(f"night.choice is {choice!r}, expected random or hash")
        self.translate, self.stride = translate, stride
        self.probability, self.targets, self.choice, self.seed = probability, targets, choice, seed
        self._generator = torch.Generator().manual_seed(seed)
        self._replicated: set[tuple[int, int]] = set()
        self._kept: dict[bytes, Tensor] = {}  # nights of images that are always translated, as bytes
        self._free_bytes = _CACHE_BYTES
        if isinstance(translate, nn.Module):
            translate.eval().requires_grad_(False)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """images: (B, 3, H, W) RGB in [0, 1]; the same shape and range, some of them by night.

        labels: (B,), -1 query, 1 positive, 0 negative: needed unless targets is "all". names: one an image,
        needed when choice is "hash". generator: the source of random choices; by default one seeded at
        construction.
        """
        generator = generator or self._generator
        chosen = self.choose(len(images), labels, names, generator).to(images.device)
        if not bool(chosen.any()):
            return images
        of_chosen = None if names is None else [names[i] for i in chosen.nonzero().flatten().tolist()]
        with torch.no_grad():
            if self.choice == "hash" and self.keeps and of_chosen is not None:
                night = self._remembered(images[chosen], generator, of_chosen)
            else:
                night = self.render(images[chosen], generator, of_chosen)
        augmented = images.clone()
        augmented[chosen] = night.to(images.dtype)
        return augmented

    def _remembered(self, images: Tensor, generator: torch.Generator, names: Sequence[str]) -> Tensor:
        """The nights of images that come again each epoch, rounded to 8 bits: translated once while they fit."""
        pixels = (
            (images * 255).round().byte().cpu().numpy()
        )  # by what is in it: names may meet in two folders
        keys = [hashlib.sha256(repr(one.shape).encode() + one.tobytes()).digest() for one in pixels]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        made: dict[int, Tensor] = {}
        if new:
            nights = self.render(images[new], generator, [names[i] for i in new])
            made = dict(zip(new, (nights * 255).round().byte().cpu(), strict=True))
        for i, night in made.items():
            if night.numel() <= self._free_bytes and keys[i] not in self._kept:
                self._free_bytes -= night.numel()
                self._kept[keys[i]] = night.clone()
        found = [made[i] if i in made else self._kept[key] for i, key in enumerate(keys)]
        return torch.stack(found).to(images.device).float() / 255

    def choose(
        self,
        num_images: int,
        labels: Tensor | None,
        names: Sequence[str] | None,
        generator: torch.Generator,
    ) -> Tensor:
        """(B,) bool: which images are translated. Each is drawn on its own, whatever its targets."""
        if self.choice == "hash":
            if names is None or len(names) != num_images:
                raise ValueError(f"choice 'hash' needs one name for each of {num_images} images")
            chosen = torch.tensor(chosen_by_hash(names, self.probability, self.seed), dtype=torch.bool)
        else:
            chosen = torch.rand(num_images, generator=generator) < self.probability
        if self.targets == "all":
            return chosen
        if labels is None or len(labels) != num_images:
            raise ValueError(f"targets {self.targets!r} needs one label for each of {num_images} images")
        allowed = torch.tensor(_LABELS[self.targets])
        return chosen & torch.isin(labels.cpu(), allowed)

    def render(
        self, images: Tensor, generator: torch.Generator, names: Sequence[str] | None = None
    ) -> Tensor:
        """(B, 3, H, W) in [0, 1] to night, without choice: pad, translate, slice back."""
        height, width = images.shape[-2:]
        pads, mode = _centred_pads(height, width, self.stride, "reflect")
        if mode == "replicate" and (height, width) not in self._replicated:  # once a size, not once a step
            self._replicated.add((height, width))
            _log_replication(height, width, self.stride)
        padded = functional.pad(to_signed(images), pads, mode=mode) if any(pads) else to_signed(images)
        night = self.translate(padded)
        if night.shape != padded.shape:
            raise ValueError(f"the translation made {tuple(night.shape)} of {tuple(padded.shape)}")
        return from_signed(unpad(night, pads))


class PhotometricAugmentation(NightAugmentation):
    """The same choice of images, but photometric darkening instead of a generator."""

    keeps = False  # darkened anew each time

    def __init__(
        self, probability: float = 0.15, targets: Targets = "all", choice: Choice = "random", seed: int = 0
    ) -> None:
        super().__init__(torch.nn.Identity(), 1, probability, targets, choice, seed)

    def render(
        self, images: Tensor, generator: torch.Generator, names: Sequence[str] | None = None
    ) -> Tensor:
        return photometric(images, generator)


class ClaheAugmentation(PhotometricAugmentation):
    """The same choice of images, with their lightness equalised locally."""

    def render(
        self, images: Tensor, generator: torch.Generator, names: Sequence[str] | None = None
    ) -> Tensor:
        return clahe(images)


class OracleAugmentation(NightAugmentation):
    """The same choice of images, each replaced by the true photograph of its view by night: what is there to reach."""

    keeps = False  # read from the disk

    def __init__(self, nights: Mapping[str, Path], load: Callable[[Path], Pixels], *how: Any) -> None:
        super().__init__(torch.nn.Identity(), 1, *how)
        self.nights, self.load = nights, load

    def render(
        self, images: Tensor, generator: torch.Generator, names: Sequence[str] | None = None
    ) -> Tensor:
        if names is None:
            raise ValueError(f"true nights need one name for each of {len(images)} images")
        absent = [name for name in names if name not in self.nights]
        if absent:
            raise RetrievalError(
                f"{absent[0]}: no true night of it is known ({len(absent)} of {len(names)}); the data set changed "
                "since its nights were made"
            )
        longest = max(images.shape[-2:])
        found = [shrink(self.load(self.nights[name]), longest) for name in names]
        wrong = [
            name for name, night in zip(names, found, strict=True) if night.shape[:2] != images.shape[-2:]
        ]
        if wrong:
            raise RetrievalError(
                f"{self.nights[wrong[0]]}: its true night is of another shape than {wrong[0]}, expected the same view"
            )
        return to_tensor(found, images.device)


def image_name(path: Path) -> str:
    """By which an image is chosen: its file with the two folders above it, the same wherever a data set lies."""
    return "/".join(path.parts[-3:])


def build(
    config: NightConfig,
    *,
    translate: Callable[[Tensor], Tensor] | None = None,
    stride: int = 1,
    nights: Mapping[str, Path] | None = None,
    load: Callable[[Path], Pixels] | None = None,
    seed: int = 0,
) -> NightAugmentation | None:
    """The augmentation that the knobs ask for; None for "none".

    A generator needs its stride too; the oracle the true night of each image by ``image_name``, and how it is loaded.
    """
    how = (config.probability, config.targets, config.choice, seed)
    if config.augmentation == "none":
        return None
    if config.augmentation == "photometric":
        return PhotometricAugmentation(*how)
    if config.augmentation == "clahe":
        return ClaheAugmentation(*how)
    if config.augmentation == "oracle":
        if nights is None or load is None:
            raise ConfigError("night.augmentation is oracle, but no true nights were given")
        return OracleAugmentation(nights, load, *how)
    if translate is None:
        raise ConfigError(
            "night.augmentation is generator, but none was given; set night.generator=models:/NAME@ALIAS"
        )
    return NightAugmentation(translate, stride, *how)


def _centred_pads(height: int, width: int, multiple: int, mode: str) -> tuple[Pads, str]:
    if multiple < 1:
        raise ValueError(f"padding to multiples of {multiple}, expected at least 1")
    down, across = -height % multiple, -width % multiple
    pads = (across // 2, across - across // 2, down // 2, down - down // 2)
    fits = pads[1] < width and pads[3] < height  # reflection never repeats the border itself
    return pads, (mode if fits or mode != "reflect" else "replicate")


def _log_replication(height: int, width: int, multiple: int) -> None:
    logger.warning(
        "%d x %d px is too small to reflect up to a multiple of %d; its border is replicated instead",
        width,
        height,
        multiple,
    )
