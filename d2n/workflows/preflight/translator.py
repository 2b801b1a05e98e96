"""What can be known before a translator trains: scores it can never have, sizes its networks cannot take.

Each fault is one line (a ConfigError or DataError) before a run, a study or an hour of training exists.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import torch

from d2n.config import EvaluationConfig, TranslationExperiment, TranslatorConfig
from d2n.core import ScoreProtocol
from d2n.datasets.batches import TranslationBatches, evaluation_rows
from d2n.errors import ConfigError
from d2n.scores import SCORES
from d2n.scores.features import check_extractor
from d2n.scores.needs import Given, least_images, logged_names, unmet_need
from d2n.scores.places import has_answers, has_siblings
from d2n.scores.protocol import score_name
from d2n.translators import METHODS
from d2n.translators.from_config import generator_from_config
from d2n.workflows import evaluation as held
from d2n.workflows import preflight

if TYPE_CHECKING:
    from d2n.core import FeatureExtractor
    from d2n.datasets.index import Index

_LARGE_PX = 256  # a larger side is told by its remainder


def check_translation(experiment: TranslationExperiment, index: Index) -> None:
    """Refuse scores, sizes and data that this experiment cannot go through with; nothing is trained or downloaded."""
    _refuse_parts(experiment.translator)
    check_parts(experiment.translator.accumulate, experiment.training.batch_size)
    if (check := METHODS[experiment.translator.method].check) is not None:
        check(experiment.translator)
    check_networks(experiment.translator, experiment.dataset.image_size_px, experiment.training.batch_size)
    check_extractor(experiment.evaluation.extractor)
    check_scores(experiment.evaluation, given(experiment, index))


def training_batches(experiment: TranslationExperiment, index: Index) -> TranslationBatches:
    """The batches that an experiment trains on; DataError where a domain, the pairs or an image do not suffice."""
    data, training = experiment.dataset, experiment.training
    return TranslationBatches(
        index,
        data,
        split="train",
        paired=data.paired if data.paired is not None else METHODS[experiment.translator.method].knobs.paired,
        batch_size=training.batch_size,
        seed=experiment.seed,
    )


def given(experiment: TranslationExperiment, index: Index) -> Given:
    """What this experiment's evaluations have to score with; DataError where there are under two images a side."""
    evaluation, split = experiment.evaluation, experiment.evaluation.split
    num_images, has_pairs = (
        held.num_held_out(index, split, evaluation.num_images),
        bool(index.select_pairs(split)),
    )
    day, night = (
        [row.scene for row in evaluation_rows(index, domain, split, num_images)]
        for domain in index.domains[:2]
    )
    return Given(
        num_images=num_images,
        side_px=experiment.dataset.image_size_px,
        has_pairs=has_pairs,
        extractor=evaluation.extractor,
        num_clusters=evaluation.num_clusters,
        has_scenes=any(row.scene for row in index.select(index.source, split)),
        has_day=True,
        has_answers=has_pairs or has_answers(night, day),
        has_siblings=has_siblings(day),
    )


def check_scores(evaluation: EvaluationConfig, found: Given, where: str = "") -> None:
    """ConfigError for a score that can never be had. Of too few images the first score alone is refused.

    Its companions are left out with a warning then, as a small set's default scores would stop it else.
    """
    preflight.check_scores(evaluation.scores)
    where = where or f"{evaluation.split} split"
    for name in evaluation.scores:
        why = unmet_need(name, found)
        if why:
            raise ConfigError(
                f"evaluation.scores: {name} can never be had here: {why} ({where}); leave it out"
            )
    first = evaluation.scores[0]
    least = least_images(first, found.num_clusters)
    if found.num_images < least:
        why = (
            f" with evaluation.num_clusters {found.num_clusters}"
            if SCORES[first].least_by_clusters is not None
            else ""
        )
        raise ConfigError(
            f"evaluation.scores: {first} needs {least} held-out images a side{why}, and there are "
            f"{found.num_images} ({where}); add images, hold out more, or put another score first"
        )


def logged_scores(evaluation: EvaluationConfig, found: Given, extractor: FeatureExtractor) -> list[str]:
    """The names of all scores that an evaluation will log."""
    protocol = ScoreProtocol(**extractor.identity, num_images=found.num_images, reference_digest="")
    space = score_name("", protocol)
    first, *others = evaluation.scores
    kept = [name for name in others if found.num_images >= least_images(name, found.num_clusters)]
    return [logged for name in (first, *kept) for logged in logged_names(name, space)]


def check_networks(config: TranslatorConfig, image_size_px: int, batch_size: int) -> None:
    """ConfigError where generator or discriminator cannot take training images of that side.

    One channel wide they have the same shapes: a forward pass costs nothing.
    """
    narrow = dataclasses.replace(
        config,
        generator_channels=1,
        discriminator_channels=1,
        generator_blocks=min(config.generator_blocks, 1),
    )
    generator = generator_from_config(narrow)
    stride = cast(int, generator.stride)
    side = (
        image_size_px
        if image_size_px <= _LARGE_PX
        else -(-_LARGE_PX // stride) * stride + image_size_px % stride
    )
    images = torch.zeros(min(batch_size, 2), 3, side, side)
    method = METHODS[config.method]
    seen = torch.cat([images] * method.judges, dim=1)
    what = f"dataset.image_size_px {image_size_px} does not suit {config.method}'s networks"
    try:
        with torch.no_grad():
            made = generator(images)
            method.judge(narrow, seen.shape[1], None)(seen)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(side), str(image_size_px))
        raise ConfigError(
            f"{what}: {reason}; choose another size, or other translator.{_depth_knobs(config)}"
        ) from error
    if made.shape != images.shape:
        by_night = image_size_px + made.shape[-1] - side
        raise ConfigError(
            f"{what}: {image_size_px} px by day become {by_night} px by night; expected a multiple of {stride}"
        )


def _refuse_parts(config: TranslatorConfig) -> None:
    """ConfigError of a method of many domains that is asked to take its batch in parts."""
    if config.accumulate > 1 and METHODS[config.method].knobs.many:
        raise ConfigError(
            f"translator.accumulate is {config.accumulate}: {config.method} takes its batch at once; expected 1"
        )


def check_parts(accumulate: int, batch_size: int) -> None:
    """ConfigError where a batch does not divide into the parts whose gradients are accumulated."""
    if batch_size % accumulate:
        raise ConfigError(
            f"translator.accumulate is {accumulate} and training.batch_size {batch_size}: expected a batch that "
            f"divides into as many parts, such as {accumulate * max(batch_size // accumulate, 1)}"
        )


def _depth_knobs(config: TranslatorConfig) -> str:
    return f"{'unet_depth' if 'unet' in config.generator else 'generator_blocks'} and discriminator_layers"
