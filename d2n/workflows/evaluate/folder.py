"""A folder of photographs described by a network: names, descriptors, and what of it cannot be described."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from d2n import naming
from d2n.datasets.images import image_size, load_rgb
from d2n.datasets.listing import left_out_facts, left_out_lines, walk_images
from d2n.errors import DataError, RegistryError, RetrievalError
from d2n.files.reading import file_sha256
from d2n.retrieval import search, whitening
from d2n.scores.feature_cache import FeatureCache
from d2n.tracking import names, registry
from d2n.tracking.runs import Store
from d2n.workflows.evaluate.describing import Describer

logger = logging.getLogger(__name__)


def images_below(root: Path) -> list[str]:
    """Paths of the photographs below a folder, relative to it, sorted; DataError where there is none."""
    passed_over = Counter[str]()
    found = walk_images(root, "", left_out=passed_over)
    for line in left_out_lines(left_out_facts(passed_over)):
        logger.warning("%s: %s", root, line)
    if not found:
        raise DataError(f"{root}: holds no photographs; expected at least one")
    return found


def described(describer: Describer, paths: Sequence[Path], learned: whitening.Whitening | None) -> np.ndarray:
    """(N, D) float32 of photographs, whitened where there is a whitening; read where they were described before.

    RetrievalError for one of which the network would see less than it takes.
    """
    refuse_small(describer, paths)
    cache, identity = FeatureCache(describer.folder), describer.identity(turn=True)
    sha256s = [file_sha256(path) for path in paths]
    made = cache.get(identity, sha256s)
    if made is None:
        made = search.extract(
            describer.net, list(paths), describer.view, load_image=load_rgb, progress=describer.progress
        )
        cache.put(identity, sha256s, made)
    return made if learned is None else whitening.apply_whitening(made, learned).astype(np.float32)


def default_network(store: Store) -> str:
    """The one registered baseline network of the store; RegistryError where there is none, or several."""
    prefix = naming.RETRIEVAL_NETWORKS
    known = [
        f"{name}@{names.BASELINE}"
        for name in registry.list_models(store, prefix)
        if names.BASELINE in registry.list_aliases(store, name)
    ]
    if len(known) != 1:
        found = ", ".join(known) or "none"
        raise RegistryError(
            f"which network? registered baselines in {store.display_uri}: {found}; name one with --model (a file of "
            "weights will do)"
        )
    return known[0]


def refuse_small(describer: Describer, paths: Sequence[Path]) -> None:
    """RetrievalError for the first photograph of which the network would see less than it takes."""
    smallest, view = search.smallest_side(describer.net), describer.view
    for path in paths:
        seen = search.entering_size(image_size(path), None, view.image_size_px, view.scales, view.square)
        if min(seen) < smallest:
            raise RetrievalError(
                f"{path}: the network would see {seen[0]} x {seen[1]} px of it, and it needs {smallest} px a side; "
                "leave the smallest of evaluation.scales out, or leave the image out"
            )
