"""``d2n.load_generator`` and ``d2n.translate``: a generator as a module, and photographs of any kind by night."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from d2n.datasets.listing import walk_images
from d2n.devices import require_device, resolve_device
from d2n.errors import DataError, ImageError
from d2n.pixels import DAMAGED, load_rgb, reason
from d2n.tracking import runs
from d2n.translators.export import ROUNDING, SMALLEST_SIDE_PX
from d2n.translators.translate import translate_batch, translate_image
from d2n.workflows import generators, preflight

MAX_PIXELS = 4_000_000  # of the images that go through at once
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class NightGenerator(nn.Module):
    """A trained generator as a module: photographs by day in, the same by night out, at any size.

    ``origin`` says where it came from, ``config`` holds the knobs that it was built from. It translates in eval mode
    and without gradients, whatever mode it is in; ``.to(device)`` moves it.
    """

    def __init__(self, found: generators.Generator) -> None:
        super().__init__()
        self.generator = found.module
        self.stride = found.stride
        self.config: Mapping[str, Any] = found.config
        self.origin = found.origin

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), float32 in [0, 1] or uint8, sides of 16 pixels and more, to float32 in [0, 1] of that size.

        Computed where the generator lies, given back where the images lie. Raises ImageError for another shape or
        dtype, and for values that are not finite or leave [0, 1].
        """
        _require_batch(images)
        size = max(1, MAX_PIXELS // (images.shape[2] * images.shape[3]))  # images at once
        nights = [self._batch(images[first : first + size]) for first in range(0, len(images), size)]
        return torch.cat(nights) if nights else images.float()

    @torch.no_grad()
    def _batch(self, images: Tensor) -> Tensor:
        parameter = next(self.generator.parameters())
        day = images.to(parameter.device).float()
        day = day / 127.5 - 1 if images.dtype == torch.uint8 else day.clamp(0, 1) * 2 - 1
        night = translate_batch(self.generator, day.to(parameter.dtype), self.stride)
        return ((night.float() + 1) / 2).clamp(0, 1).to(images.device)


def load_generator(
    reference: str | Path, *, tracking_uri: str | None = None, device: str = "cpu"
) -> NightGenerator:
    """A generator as a torch module that takes (N, 3, H, W), float32 in [0, 1] or uint8, and returns float32 in [0, 1].

    ``reference`` is MODEL@ALIAS such as ``d2n-toycity@champion``, NAME/VERSION, a run id, or a folder with
    generator.safetensors; ``tracking_uri`` is asked where it is no folder (default: MLFLOW_TRACKING_URI, else
    mlruns/). Raises D2NError in one line where nothing is there or it does not load.
    """
    require_device(device)
    text = str(reference)
    if not Path(text).exists():
        preflight.store(tracking_uri)
    store = None if Path(text).exists() else runs.open_store(tracking_uri)
    return NightGenerator(generators.load(text, store, str(resolve_device(device))))


def translate(
    images: Any,
    reference: str | Path | NightGenerator,
    *,
    tracking_uri: str | None = None,
    device: str = "auto",
) -> Any:
    """Photographs by night, in the kind that they came in.

    A PIL image gives a PIL image (RGB, of its size); an array (H, W, 3) uint8 the same; a tensor (3, H, W) or
    (N, 3, H, W), float32 in [0, 1] or uint8, one of that shape in float32; a path to an image a PIL image; a folder a
    dict of PIL images by their names below it. Nothing is written: ``d2n translate`` writes folders of any length.
    ``reference`` is what load_generator takes, or what it gave. Raises D2NError in one line, ImageError for images
    that cannot be translated.
    """
    if isinstance(reference, NightGenerator):
        return _night_of(images, reference)
    _require_kind(images)
    return _night_of(images, load_generator(reference, tracking_uri=tracking_uri, device=device))


def _night_of(images: Any, generator: NightGenerator) -> Any:
    _require_kind(images)
    match images:
        case Tensor():
            return generator(images[None])[0] if images.ndim == 3 else generator(images)
        case np.ndarray():
            return _array(images, generator, "the array")
        case Image.Image():
            return _picture(np.asarray(_rgb(images)), generator, "the image")
        case _:
            return _path(Path(images), generator)


def _path(path: Path, generator: NightGenerator) -> Image.Image | dict[str, Image.Image]:
    if not path.is_dir():
        return _picture(load_rgb(path), generator, str(path))
    names = walk_images(path, "")
    if not names:
        raise DataError(f"{path}: holds no image; name a folder of photographs")
    return {name: _picture(load_rgb(path / name), generator, str(path / name)) for name in names}


def _picture(image: np.ndarray, generator: NightGenerator, name: str) -> Image.Image:
    return Image.fromarray(_array(image, generator, name))


def _array(image: np.ndarray, generator: NightGenerator, name: str) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"{name}: has shape {image.shape} and {image.dtype}, expected (H, W, 3) uint8 RGB")
    _require_sides(name, *image.shape[:2])
    return translate_image(generator.generator, image, generator.stride, MAX_PIXELS)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode not in _MODES:
        raise ImageError(
            f"the image: is of mode {image.mode}, expected RGB or another of 8 bits; convert it first, or pass its path"
        )
    try:  # a palette may name its transparent colour in bytes
        return (image.convert("RGBA") if image.mode in ("P", "PA") else image).convert("RGB")
    except DAMAGED as error:  # decoded only now
        raise ImageError(f"the image: truncated or damaged ({reason(error)}); download it again") from error


def _require_kind(images: Any) -> None:
    if not isinstance(images, Tensor | np.ndarray | Image.Image | str | Path):
        raise ImageError(
            f"a {type(images).__name__} cannot be translated; expected a PIL image, an array (H, W, 3) uint8, a tensor "
            "(N, 3, H, W), a path or a folder"
        )


def _require_batch(images: Any) -> None:
    """ImageError for whatever is no batch of RGB images in one of the two ranges."""
    if not isinstance(images, Tensor):
        raise ImageError(
            f"a {type(images).__name__} is no batch of images; expected a tensor (N, 3, H, W), or d2n.translate"
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise ImageError(f"images of shape {tuple(images.shape)}, expected (N, 3, H, W) RGB")
    if images.dtype not in (torch.float32, torch.uint8):
        raise ImageError(
            f"images of {images.dtype}, expected torch.float32 in [0, 1] or torch.uint8; convert them first"
        )
    _require_sides("images", *images.shape[2:])
    if images.dtype == torch.float32 and images.numel():
        _require_range(images)


def _require_sides(name: str, height: int, width: int) -> None:
    if min(height, width) < SMALLEST_SIDE_PX:
        raise ImageError(
            f"{name}: {width} x {height} pixels, expected sides of {SMALLEST_SIDE_PX} at least; enlarge it"
        )


def _require_range(images: Tensor) -> None:
    low, high = (cast(float, bound.item()) for bound in images.aminmax())
    if not bool(torch.isfinite(images).all()):
        count = int((~torch.isfinite(images)).sum())
        raise ImageError(f"images hold {count} values that are not finite (NaN or inf), expected [0, 1]")
    if low < -ROUNDING or high > 1 + ROUNDING:
        mending = (
            "divide them by 255, or pass uint8" if low >= -ROUNDING else "shift and scale them to [0, 1]"
        )
        raise ImageError(
            f"images hold values from {low:g} to {high:g}, expected float32 in [0, 1]; {mending}"
        )
