"""Held-out images, an extractor and a generator joined into scores: shared by train, score, promote and search."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from d2n import datasets
from d2n.config import DatasetConfig, EvaluationConfig, TranslationExperiment
from d2n.core import Compute, FeatureExtractor, ScoreProtocol
from d2n.datasets.batches import evaluation_images, evaluation_pairs, held_out_rows
from d2n.datasets.directions import directed
from d2n.devices import resolve_device
from d2n.errors import ConfigError, DataError
from d2n.files.scratch import scratch
from d2n.pixels import signed_tensor, to_uint8
from d2n.retrieval import network as retrieval_network
from d2n.scores import SCORES, features
from d2n.scores import evaluate as scoring
from d2n.scores.kinds import Need
from d2n.scores.needs import least_images, wanted
from d2n.scores.places import has_answers
from d2n.tracking.names import EXTRACTOR

if TYPE_CHECKING:
    from d2n.datasets.index import ImageRow, Index
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)
MAX_SHOWN = 8  # images of a further domain in a sample grid
MAX_POOL = 4000  # real images that a floor is measured with


@dataclass(frozen=True)
class HeldOut:
    """Images that the generator never trained on, N by day and N by night, S x S uint8.

    In another direction ``day`` stands for the domain that is translated and ``night`` for the one it is translated to.
    """

    split: str
    day: np.ndarray  # (N, S, S, 3)
    night: np.ndarray  # (N, S, S, 3)
    night_sha256s: tuple[str, ...]
    digest: str  # of the night images and the size they are scored at
    pairs: tuple[np.ndarray, np.ndarray] | None = None  # aligned (day, night), for SSIM
    more_night: np.ndarray | None = None  # real night images to measure the floor with, (up to 2N, S, S, 3)
    more_night_sha256s: tuple[str, ...] = ()
    day_names: tuple[str, ...] = ()
    day_scenes: tuple[str, ...] = ()  # "" where it is not known
    day_sha256s: tuple[str, ...] = ()
    night_scenes: tuple[str, ...] = ()
    pair_sha256s: tuple[tuple[str, str], ...] = ()  # day, night
    others: Mapping[str, np.ndarray] = field(default_factory=dict)  # a few images of each further domain

    @property
    def queries_digest(self) -> str:
        """sha256 of what scores ask besides the reference: day images, scenes, pairs and the size."""
        asked = [
            sorted(zip(self.day_sha256s, self.day_scenes, strict=True)),
            sorted(zip(self.night_sha256s, self.night_scenes, strict=True)),
            sorted(self.pair_sha256s),
            f"{self.night.shape[1]} px",
        ]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


@dataclass(frozen=True)
class ScoredImages:
    """What one evaluation gives."""

    evaluation: scoring.Evaluation
    fake_night: np.ndarray  # (N, S, S, 3) uint8
    protocol: ScoreProtocol
    features: np.ndarray | None = None  # (N, D) of the fakes


def held_out(index: Index, split: str, image_size_px: int, num_images: int | None) -> HeldOut:
    """The same number of images of source and target of one split; DataError when there are under two."""
    n = num_held_out(index, split, num_images)
    day_rows, day = evaluation_images(index, index.source, split, image_size_px, num_images=n)
    night_rows, night = evaluation_images(index, index.target, split, image_size_px, num_images=n)
    pairs = None
    pair_sha256s: tuple[tuple[str, str], ...] = ()
    if index.select_pairs(split):
        pair_rows, pair_day, pair_night = evaluation_pairs(index, split, image_size_px, num_images=None)
        pairs = (pair_day[:n], pair_night[:n])
        pair_sha256s = tuple((day_row.sha256, night_row.sha256) for day_row, night_row in pair_rows[:n])
    sha256s = tuple(row.sha256 for row in night_rows)
    digest = hashlib.sha256("\n".join([*sorted(sha256s), f"{image_size_px} px"]).encode()).hexdigest()
    names = tuple(row.path for row in day_rows)
    more_rows, more = _more_night(index, split, image_size_px, 2 * n)
    more_sha256s = tuple(row.sha256 for row in more_rows)
    return HeldOut(
        split,
        day,
        night,
        sha256s,
        digest,
        pairs,
        more,
        more_sha256s,
        names,
        day_scenes=tuple(row.scene for row in day_rows),
        day_sha256s=tuple(row.sha256 for row in day_rows),
        night_scenes=tuple(row.scene for row in night_rows),
        pair_sha256s=pair_sha256s,
        others=_others(index, split, image_size_px, min(n, MAX_SHOWN)),
    )


def _others(index: Index, split: str, image_size_px: int, count: int) -> dict[str, np.ndarray]:
    """Images of the domains besides source and target, to be shown; none of a domain that the split has not."""
    found = {domain: held_out_rows(index, domain, split) for domain in index.domains[2:]}
    return {
        domain: evaluation_images(index, domain, split, image_size_px, num_images=count)[1]
        for domain, rows in found.items()
        if rows
    }


def num_held_out(index: Index, split: str, num_images: int | None) -> int:
    """How many day and as many night images are scored; DataError where there are under two, or under those asked."""
    counts = {domain: len(held_out_rows(index, domain, split)) for domain in index.domains[:2]}
    n = min(counts.values()) if num_images is None else num_images
    if min(counts.values()) < max(n, 2):
        listed = " and ".join(f"{count} {domain}" for domain, count in counts.items())
        raise DataError(
            f"{index.name}: split {split} has {listed} images, expected at "
            f"least {max(n, 2)} of each to score; add images, or lower evaluation.num_images"
        )
    return n


def _more_night(
    index: Index, split: str, image_size_px: int, count: int
) -> tuple[list[ImageRow], np.ndarray | None]:
    """Up to ``count`` night images of the split, or of training where the split has too few; (), None if too few.

    The floor of FID compares disjoint halves of real images, N each; it needs twice as many as a score does.
    """
    for source in (split, "train"):
        available = len(index.select(index.target, source))
        if available >= count and count <= MAX_POOL:
            return evaluation_images(index, index.target, source, image_size_px, num_images=count)
    return [], None


def build_extractor(
    evaluation: EvaluationConfig, store: Store | None, image_size_px: int, device: str = "cpu"
) -> FeatureExtractor:
    """The extractor that ``evaluation.extractor`` names; ``retrieval:MODEL@ALIAS`` is pulled from the registry.

    A retrieval network sees the images at their own size (it has none that it was made for), unless
    ``evaluation.resize_px`` says otherwise.
    """
    name, resize = evaluation.extractor, evaluation.resize
    if not name.startswith(EXTRACTOR):
        return features.build_extractor(
            name,
            weights=evaluation.weights,
            resize=resize,
            resize_px=evaluation.resize_px,
            input=evaluation.input,
            compute=Compute(device),
        )
    if store is None:
        raise ConfigError(
            f"evaluation.extractor {name} is pulled from a registry, and no tracking store is open"
        )
    from d2n.tracking import models, registry

    version = registry.resolve(store, name.removeprefix(EXTRACTOR))
    with scratch("download") as folder:
        found = registry.download(store, version.reference, folder / "model")
        models.make_safe(found)
        module, _, _ = retrieval_network.load(find_folder(found, retrieval_network.WEIGHTS_FILE))
    return features.build_extractor(
        f"{EXTRACTOR}{version.name}/{version.version}",
        module=features.Module(module, retrieval_network.fingerprint(module)),
        resize=resize,
        resize_px=evaluation.resize_px or image_size_px,
        compute=Compute(device),
    )


def find_folder(root: Path, file_name: str) -> Path:
    """The folder below root that holds a file of this name."""
    for path in sorted(root.rglob(file_name)):
        return path.parent
    raise DataError(
        f"{root}: holds no {file_name}; the model was not logged by d2n, or its artifacts were deleted"
    )


class Evaluator:
    """Scores generators against one held-out set with one extractor; reference features are computed once."""

    def __init__(
        self,
        images: HeldOut,
        extractor: FeatureExtractor,
        evaluation: EvaluationConfig,
        *,
        seed: int = 0,
        cache: features.FeatureCache | None = None,
        batch_size: int = 16,
    ) -> None:
        self.images, self.extractor, self.evaluation = images, extractor, evaluation
        self.seed, self.batch_size = seed, batch_size
        self.names = _computable(evaluation, len(images.night))
        self.protocol = ScoreProtocol(
            **extractor.identity,
            num_images=len(images.night),
            reference_digest=images.digest,
            queries_digest=images.queries_digest if SCORES[self.names[0]].asks else "",
        )
        self.real = self._real_features(images.night, images.night_sha256s, cache)
        self.pool: np.ndarray | None = None
        if images.more_night is not None and wanted(evaluation.scores, "pool"):
            self.pool = self._real_features(images.more_night, images.more_night_sha256s, cache)
        self.day: np.ndarray | None = None
        if images.day_sha256s and self._wants("day") and wanted(evaluation.scores, "features"):
            self.day = self._real_features(images.day, images.day_sha256s, cache)

    def _real_features(
        self, images: np.ndarray, sha256s: tuple[str, ...], cache: features.FeatureCache | None
    ) -> np.ndarray:
        keys = [f"{sha}-{images.shape[1]}px" for sha in sha256s]
        return features.extract(self.extractor, list(images), sha256s=keys, cache=cache)

    def __call__(self, translate: Callable[[torch.Tensor], torch.Tensor]) -> ScoredImages:
        """Scores of the night images that ``translate`` makes of the held-out day images."""
        fake_night = to_night(translate, self.images.day, self.batch_size)
        return self.score(fake_night, translate)

    def score(
        self, fake_night: np.ndarray, translate: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> ScoredImages:
        """Scores of given night images (N, S, S, 3) uint8; SSIM only where pairs and ``translate`` are there."""
        fake = features.extract(self.extractor, list(fake_night))
        evaluation = scoring.evaluate(
            self.real,
            fake,
            self.names,
            replace(self.protocol, queries_digest=""),  # a score that asks for more says so in its own
            self._beside(fake_night, translate),
            scoring.Settings(self.seed, self.evaluation.num_clusters, self.evaluation.num_bootstrap),
        )
        return ScoredImages(evaluation, fake_night, self.protocol, fake)

    def _beside(
        self, fake_night: np.ndarray, translate: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> scoring.Beside:
        images, has_day = self.images, bool(self.images.day_sha256s)
        paired = self._paired(translate)
        return scoring.Beside(
            self.pool,
            fake_night,
            paired,
            self.probabilities(fake_night),
            self._scenes(),
            night_scenes=images.night_scenes or None,
            real_images=images.night,
            day_images=images.day if has_day else None,
            day_features=self.day,
            paired_features=self._paired_features(paired),
            paired_days=images.pairs[0] if images.pairs is not None else None,
            maps=partial(self.maps, images.day, fake_night) if has_day and self._wants("maps") else None,
            queries_digest=images.queries_digest if has_day else "",
        )

    def _paired(
        self, translate: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Fakes of the paired day images with their targets, where a score asks for them."""
        asked = self._wants("pairs") or (self._wants("answers") and not self.has_answering_scenes)
        if self.images.pairs is None or translate is None or not asked:
            return None
        return to_night(translate, self.images.pairs[0], self.batch_size), self.images.pairs[1]

    def _paired_features(
        self, paired: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        if paired is None or not self._wants("answers") or self.has_answering_scenes:
            return None
        fake, target = (features.extract(self.extractor, list(side)) for side in paired)
        return fake, target

    @property
    def has_answering_scenes(self) -> bool:
        """Whether scenes tell which outputs a real night should find."""
        return has_answers(self.images.night_scenes, self.images.day_scenes)

    def maps(self, day: np.ndarray, fake_night: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The extractor's maps of day images and of their nights, a batch at a time."""
        if not isinstance(self.extractor, features.Extractor):
            return
        for start in range(0, len(fake_night), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.extractor.maps(list(day[part])), self.extractor.maps(list(fake_night[part]))

    def probabilities(self, fake_night: np.ndarray) -> np.ndarray | None:
        """Class probabilities for the Inception Score, which only an Inception network gives."""
        if not wanted(self.evaluation.scores, "probabilities") or not isinstance(
            self.extractor, features.Extractor
        ):
            return None
        return self.extractor.probabilities(list(fake_night))

    def _wants(self, need: Need) -> bool:
        return wanted(self.evaluation.scores, need)

    def _scenes(self) -> tuple[str, ...] | None:
        return self.images.day_scenes if any(self.images.day_scenes) else None


def _computable(evaluation: EvaluationConfig, num_images: int) -> tuple[str, ...]:
    """The scores asked for, without companions that so few images do not define; the first one always stays."""
    needed = {name: least_images(name, evaluation.num_clusters) for name in evaluation.scores}
    short = [name for name in evaluation.scores[1:] if num_images < needed[name]]
    for name in short:
        logger.warning(
            "%s left out: %d held-out images a side, it needs %d; hold out more, or add images",
            name,
            num_images,
            needed[name],
        )
    return tuple(name for name in evaluation.scores if name not in short)


def to_night(
    translate: Callable[[torch.Tensor], torch.Tensor], day: np.ndarray, batch_size: int = 16
) -> np.ndarray:
    """(N, H, W, 3) uint8 by day to the same by night, rounded to 8 bits."""
    starts = range(0, len(day), batch_size)
    return np.concatenate([to_uint8(translate(signed_tensor(day[i : i + batch_size]))) for i in starts])


def open_dataset(data: DatasetConfig) -> Index:
    """The prepared index of a configured data set, in its direction."""
    index = datasets.open_index(data.name, root=data.root, index=data.index, rule=dict(data.rule) or None)
    return directed(index, data.direction)


def build_evaluator(
    experiment: TranslationExperiment, index: Index, store: Store, work_root: Path
) -> Evaluator:
    """What scores this experiment's generators. No seed of training enters: scores of all seeds compare."""
    config, size = experiment.evaluation, experiment.dataset.image_size_px
    images = held_out(index, config.split, size, config.num_images)
    extractor = build_extractor(config, store, size, str(resolve_device(experiment.training.device)))
    return Evaluator(images, extractor, config, cache=features.FeatureCache(work_root / "features"))
