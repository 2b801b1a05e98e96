"""What can be known before a retrieval network trains: what data, network and benchmarks can never give.

Each fault is one line, before a run exists; a part of a benchmark without answers is said and left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from d2n.config import RetrievalEvaluationConfig, RetrievalExperiment
from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.tuples import RetrievalSet
from d2n.errors import ConfigError, RetrievalError
from d2n.retrieval import epoch, network, search
from d2n.retrieval.images import Box, shrunk_size
from d2n.workflows import preflight

logger = logging.getLogger(__name__)


def check_retrieval(
    experiment: RetrievalExperiment, images: RetrievalSet, benchmarks: Sequence[Benchmark], most_whitened: int
) -> None:
    """Refuse what this experiment cannot go through with. ``most_whitened``: images that whitening learns from."""
    preflight.check_knobs(experiment)
    _check_clusters(experiment, images)
    net = network.build(experiment.network, seed=experiment.seed)
    _check_whitening(
        experiment.evaluation, network.descriptor_dim(net), min(len(images.paths), most_whitened)
    )
    _check_sizes(experiment, images, benchmarks, search.smallest_side(net))
    for benchmark in benchmarks:
        for part in benchmark.undefined:
            logger.warning(
                "%s: no query has a right answer of kind %s: map_%s is not defined and left out",
                benchmark.name,
                part,
                part,
            )


def _check_clusters(experiment: RetrievalExperiment, images: RetrievalSet) -> None:
    """Scenes to tell apart for pretraining, and pools with enough of them to mine every epoch's negatives from."""
    scenes = len(set(images.clusters))
    if experiment.pretraining.n_epochs and scenes < 2:
        raise RetrievalError(
            f"pretraining tells scenes apart, and {experiment.dataset.name} has {scenes}; expected at least 2, "
            "or pretraining.n_epochs=0"
        )
    for number in range(experiment.num_seeds):
        epoch.refuse_small_pools(
            images.clusters, images.query_idx, experiment.training, experiment.seed + number
        )


def _check_whitening(config: RetrievalEvaluationConfig, dim: int, num_images: int) -> None:
    wanted = config.whitening_dim
    if wanted is None:
        return
    if config.whitening == "none":
        logger.warning("evaluation.whitening_dim %d has no effect: evaluation.whitening is none", wanted)
        return
    most = min(dim, num_images - 1) if config.whitening == "pca" else dim
    if wanted > most:
        why = f", and PCA of {num_images} images has {most}" if most < dim else ""
        raise ConfigError(
            f"evaluation.whitening_dim is {wanted}: the network's descriptors have {dim} dimensions{why}; "
            f"expected 1 to {most}"
        )


def _check_sizes(
    experiment: RetrievalExperiment, images: RetrievalSet, benchmarks: Sequence[Benchmark], smallest: int
) -> None:
    """Every image keeps the sides that the trunk needs: in training, in whitening, in each benchmark."""
    training, config = experiment.training, experiment.evaluation
    sizes = images.sizes or ((0, 0),) * len(images.paths)
    known = [(path, size, None) for path, size in zip(images.paths, sizes, strict=True) if all(size)]
    if training.n_epochs or experiment.pretraining.n_epochs:
        sized = ((path, shrunk_size(size, training.image_size_px)) for path, size, _ in known)
        _refuse_small(sized, smallest, "training", "raise training.image_size_px, or leave the image out")
    if config.whitening != "none":
        _refuse_small(_entering(known, config), smallest, "whitening", _SMALLEST_SCALE)
    _check_benchmark_sizes(benchmarks, config, smallest)


def check_benchmarks(
    net: network.RetrievalNetwork, benchmarks: Sequence[Benchmark], config: RetrievalEvaluationConfig
) -> None:
    """RetrievalError for images of which the network would see less than its stride takes."""
    _check_benchmark_sizes(benchmarks, config, search.smallest_side(net))


def _check_benchmark_sizes(
    benchmarks: Sequence[Benchmark], config: RetrievalEvaluationConfig, smallest: int
) -> None:
    for benchmark in benchmarks:
        boxes = benchmark.boxes or (None,) * len(benchmark.queries)
        shown = [
            *(
                (path, size, None)
                for path, size in zip(benchmark.database, benchmark.database_sizes, strict=True)
            ),
            *zip(benchmark.queries, benchmark.query_sizes, boxes, strict=True),
        ]
        _refuse_small(_entering(shown, config), smallest, benchmark.name, _SMALLEST_SCALE)


_SMALLEST_SCALE = (
    "leave the smallest of evaluation.scales out, raise evaluation.image_size_px, or leave the image out"
)


def _entering(
    images: Iterable[tuple[Path, tuple[int, int], Box | None]], config: RetrievalEvaluationConfig
) -> Iterable[tuple[Path, tuple[int, int]]]:
    """Each image with the size in which the network sees it at the smallest scale."""
    return (
        (path, search.entering_size(size, box, config.image_size_px, config.scales, config.square))
        for path, size, box in images
    )


def _refuse_small(
    images: Iterable[tuple[Path, tuple[int, int]]], smallest: int, purpose: str, remedy: str
) -> None:
    small = [(path, size) for path, size in images if min(size) < smallest]
    if small:
        path, (width, height) = small[0]
        more = f" (and {len(small) - 1} more images)" if len(small) > 1 else ""
        raise RetrievalError(
            f"{path}: the network would see {width} x {height} px of it in {purpose}, and it needs {smallest} px a "
            f"side{more}; {remedy}"
        )
