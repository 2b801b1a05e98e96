"""Images to feature vectors: extractors by name, and extraction with a cache on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from d2n.backbones.normalisation import NORMALISATIONS, Input
from d2n.core import Compute, FeatureExtractor
from d2n.devices import resolve_device
from d2n.errors import ConfigError, DataError
from d2n.pixels import load_rgb
from d2n.scores import trunks
from d2n.scores.feature_cache import FeatureCache, Features
from d2n.scores.inception import SIDE_PX, InceptionFeatures
from d2n.scores.resize import BY_TORCH, RESIZES, Pixels, together
from d2n.scores.trunks import module_sha256

__all__ = ["Extractor", "FeatureCache", "Module", "build_extractor", "extract", "module_sha256"]

logger = logging.getLogger(__name__)

ImageLike = npt.NDArray[np.uint8] | str | Path
_TRUNK_PX = 224
_RANDOM, _RETRIEVAL = "random-", "retrieval:"

# Pixels in [0, 255] are normalised as (x - mean) / scale, by channel.
_INPUTS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    **NORMALISATIONS,
    "inception": ((128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
}


def check_extractor(name: str) -> None:
    """ConfigError with the nearest name where no extractor is called so; no weights are read."""
    if name.startswith(_RETRIEVAL) or name.removeprefix(_RANDOM) == "inception":
        return
    trunks.check_classifier(name.removeprefix(_RANDOM))


@dataclass(frozen=True, eq=False)
class Module:
    """A network of one's own, which maps RGB in [0, 1] to (B, D), with the sha256 of its weights."""

    net: nn.Module
    sha256: str = ""  # computed where it is not given


def build_extractor(
    name: str,
    *,
    weights: str | Path | None = None,
    module: Module | None = None,
    resize: str = "clean",
    resize_px: int | None = None,
    input: Input = "imagenet",  # noqa: A002 - the knob's name
    compute: Compute = Compute(),  # noqa: B008 - frozen
) -> Extractor:
    """The extractor called ``name``.

    ``inception``: the FID network (2048-d, 299 px), weights from ``weights``, $D2N_INCEPTION_WEIGHTS or torch's
    cache. A torchvision classifier's name: its convolutions, GeM-pooled (224 px), weights from ``weights`` or
    torchvision. ``random-<either>``: random weights, the same every time. ``retrieval:…``: ``module``. ``input`` is
    how a torchvision trunk's RGB is normalised; "tf" pads as TensorFlow does besides. ``resize_px`` None is the
    network's own side; of ``compute`` device and precision count: bf16 is faster and another protocol.

    Raises WeightsError or ConfigError in one line.
    """
    _check_choices(resize, compute.precision, input)
    side_px = resize_px if resize_px is not None else SIDE_PX if name.endswith("inception") else _TRUNK_PX
    net, sha256, norm = _network(name, weights, module, input, resize)
    if name == "inception" and sha256 != trunks.INCEPTION_SHA256:
        name = f"inception-{sha256[:8]}"
        logger.warning(
            "not the published Inception weights: scores are named %s and compare with no FID", name
        )
    elif weights is not None and not name.startswith(_RANDOM) and not trunks.is_published(name, sha256):
        logger.warning(
            "%s: not torchvision's weights of %s; their RGB is normalised by evaluation.input=%s, and scores depend "
            "on it: imagenet, caffe (means alone) and tf ([-1, 1], SAME padding) are known",
            weights,
            name,
            input,
        )
    extras = [
        extra
        for extra in (norm if norm in ("caffe", "tf") else "", compute.precision)
        if extra not in ("", "fp32")
    ]
    identity = {
        "extractor": name,
        "weights_sha256": sha256,
        "resize": "+".join([f"{resize}@{side_px}", *extras]),
    }
    return Extractor(identity, net, resize, side_px, norm, resolve_device(compute.device), compute.precision)


def extract(
    extractor: FeatureExtractor,
    images: Sequence[ImageLike],
    sha256s: Sequence[str] | None = None,
    cache: FeatureCache | None = None,
    progress: bool = False,
) -> Features:
    """(N, D) float32 features of RGB uint8 arrays (H, W, 3) or paths, read from the cache where they are there.

    ``sha256s`` name the images' content, and their size where it was changed; without them nothing is cached.
    """
    if not len(images):
        raise DataError("no image to extract features from; is the folder empty?")
    if sha256s is not None and len(sha256s) != len(images):
        raise DataError(f"{len(images)} images and {len(sha256s)} sha256s, expected one each")
    if cache is not None and sha256s is not None:
        found = cache.get(extractor.identity, sha256s)
        if found is not None:
            return found
    if isinstance(extractor, Extractor):
        features = extractor.run(images, progress)
    else:
        features = np.asarray(extractor(list(images)), dtype=np.float32)
    if cache is not None and sha256s is not None:
        cache.put(extractor.identity, sha256s, features)
    return features


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network with its preprocessing; see core.FeatureExtractor."""

    identity: Mapping[str, str]
    net: nn.Module
    resize: str
    side_px: int
    norm: str
    device: torch.device
    precision: str
    batch_size: int = 32

    def __post_init__(self) -> None:
        net = self.net.to(self.device).eval().requires_grad_(False)
        if isinstance(net, InceptionFeatures):
            net = net.fused()
        object.__setattr__(self, "net", net.to(memory_format=torch.channels_last))
        object.__setattr__(self, "_dim", self._probed_dim())

    def _probed_dim(self) -> int:
        try:
            return int(self._forward(torch.zeros(1, 3, self.side_px, self.side_px)).shape[1])
        except RuntimeError as error:
            if self.device.type != "cpu":
                raise
            raise ConfigError(
                f"evaluation.resize_px is {self.side_px}: too small for {self.identity['extractor']} "
                f"({str(error).splitlines()[0][:120]}); raise it, or leave it out for the network's own size"
            ) from error

    @property
    def dim(self) -> int:
        """D."""
        return cast(int, self.__dict__["_dim"])

    def __call__(self, images: list[Any]) -> Features:
        """RGB uint8 arrays (H, W, 3) or paths to (N, dim) float32."""
        return self.run(images)

    def run(self, images: Sequence[ImageLike], progress: bool = False) -> Features:
        """As a call, with a progress bar on stderr for people."""
        return self._map(images, self._forward, progress)

    def probabilities(self, images: Sequence[ImageLike], progress: bool = False) -> Features:
        """Class probabilities (N, 1008) for the Inception Score; ConfigError for other networks."""
        net = self.net
        if not isinstance(net, InceptionFeatures):
            raise ConfigError(
                f"extractor {self.identity['extractor']} has no class probabilities, expected inception; leave the "
                "score 'is' out"
            )
        return self._map(images, lambda batch: net.probabilities(self._forward(batch)), progress)

    def maps(self, images: Sequence[ImageLike]) -> npt.NDArray[np.float32]:
        """The last maps (N, C, h, w) before features are pooled, of images of at most a few batches."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                kept[:] = [output]

        def mapped(batch: Tensor) -> Tensor:
            kept.clear()
            self._forward(batch)
            if not kept:
                raise ConfigError(
                    f"extractor {self.identity['extractor']} has no maps of several places at {self.side_px} px; "
                    "raise evaluation.resize_px, or leave the score structure out"
                )
            return kept[0]

        handles = [module.register_forward_hook(keep) for module in self.net.modules()]
        try:
            return self._map(images, mapped, False)
        finally:
            for handle in handles:
                handle.remove()

    def _map(
        self, images: Sequence[ImageLike], function: Callable[[Tensor], Tensor], progress: bool
    ) -> Features:
        outputs = []
        with tqdm(
            total=len(images), desc="features", unit="image", disable=None if progress else True
        ) as bar:
            for decoded in _batches(images, self._decoded, self.batch_size):
                batch = self._batch(decoded)
                outputs.append(function(batch).float().cpu().numpy())
                bar.update(len(batch))
        return np.concatenate(outputs)

    def _decoded(self, image: ImageLike) -> Pixels | Tensor:
        """Pixels, resized where PIL does it: a thread that calls torch would take a team of cores for itself."""
        pixels = _pixels(image)
        if self._resizes_on_device or self.resize in BY_TORCH:
            return pixels
        return RESIZES[self.resize](pixels, self.side_px)

    @property
    def _resizes_on_device(self) -> bool:
        """Processors resize fewer images a second than a GPU takes."""
        return self.device.type == "cuda"

    def _batch(self, decoded: Sequence[Pixels | Tensor]) -> Tensor:
        """(B, 3, S, S) in [0, 255]."""
        if not self._resizes_on_device:
            return torch.stack([self._resized(image) for image in decoded])
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(decoded):
            by_size.setdefault(tuple(image.shape), []).append(place)
        batch = torch.empty(len(decoded), 3, self.side_px, self.side_px, device=self.device)
        for places in by_size.values():
            pixels = torch.from_numpy(np.stack([decoded[place] for place in places])).to(self.device)
            batch[places] = together(pixels.permute(0, 3, 1, 2), self.side_px, self.resize)
        return batch

    def _resized(self, decoded: Pixels | Tensor) -> Tensor:
        return decoded if isinstance(decoded, Tensor) else RESIZES[self.resize](decoded, self.side_px)

    def _forward(self, batch: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 255] to features (B, D)."""
        mean, scale = (
            torch.tensor(values, device=batch.device).view(1, 3, 1, 1) for values in _INPUTS[self.norm]
        )
        x = ((batch - mean) / scale).to(self.device, memory_format=torch.channels_last)
        half = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return cast(Tensor, self.net(x)).float()


def _network(
    name: str,
    weights: str | Path | None,
    given: Module | None,
    input_norm: Input,
    resize: str,
) -> tuple[nn.Module, str, str]:
    """The network, its weights' sha256 and how its input is normalised."""
    if given is not None:
        return given.net, given.sha256 or module_sha256(given.net), "unit"
    if name.startswith(_RETRIEVAL):
        raise ConfigError(f"extractor {name}: a retrieval network is given as a module, and none was")
    inception_norm = "tf" if resize == "torch" else "inception"  # pytorch-fid maps [0, 1] to [-1, 1]
    base = name.removeprefix(_RANDOM)
    tf_padding = input_norm == "tf"
    if name.startswith(_RANDOM):
        net, found = trunks.random_network(base, 0, tf_padding)
        return net, found, inception_norm if base == "inception" else input_norm
    if name == "inception":
        return *trunks.build_inception(weights), inception_norm
    return *trunks.build_trunk(name, weights, tf_padding), input_norm


def _check_choices(resize: str, precision: str, input_norm: str) -> None:
    for knob, value, known in (
        ("resize", resize, tuple(RESIZES)),
        ("precision", precision, ("fp32", "bf16")),
        ("input", input_norm, ("imagenet", "caffe", "tf")),
    ):
        if value not in known:
            raise ConfigError(f"{knob} of the extractor is {value!r}, expected one of {', '.join(known)}")


def _batches(
    images: Sequence[ImageLike], decode: Callable[[ImageLike], Pixels | Tensor], batch_size: int
) -> Iterator[list[Pixels | Tensor]]:
    """Batches, the next one being decoded while the current one is used."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:

        def submit(start: int) -> list[Future[Pixels | Tensor]]:
            return [pool.submit(decode, image) for image in images[start : start + batch_size]]

        pending = submit(0)
        for start in range(batch_size, len(images) + batch_size, batch_size):
            current, pending = pending, submit(start)
            yield [future.result() for future in current]


def _pixels(image: ImageLike) -> Pixels:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"an image of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8"
            )
        return image
    return load_rgb(image)
