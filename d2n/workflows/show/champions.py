"""The generators that the page shows, each with what it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2n import naming
from d2n.datasets.images import load_rgb
from d2n.datasets.likeness import FEWEST, Likeness
from d2n.errors import D2NError, RegistryError
from d2n.tracking import names, registry
from d2n.workflows import evaluation as held
from d2n.workflows import generators
from d2n.workflows.promote.scoring import run_experiment

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)
_MOST_IMAGES = 200  # of the training data that a photograph is compared with


@dataclass(frozen=True)
class Champion:
    """A generator under the name that it was asked by."""

    name: str
    generator: generators.Generator
    likeness: Likeness | None  # None: its training data are not here
    trained_on: str = ""  # a word on its data, or why they are not known
    link: str = ""  # into MLflow's pages, below the server's address


def references(store: Store | None) -> list[str]:
    """Every generator of the store that has a champion."""
    if store is None:
        return []
    found = []
    for model in registry.list_models(store, naming.GENERATORS):
        is_network = model.startswith(naming.RETRIEVAL_NETWORKS)
        if not is_network and names.CHAMPION in registry.list_aliases(store, model):
            found.append(f"{model}@{names.CHAMPION}")
    return found


def loaded(wanted: Sequence[str], store: Store | None, device: str) -> list[Champion]:
    """Each, ready to translate; one that does not load is left out and named. D2NError where none does."""
    found, failed = [], []
    for name in dict.fromkeys(wanted):
        try:
            found.append(_loaded(name, store, device))
        except D2NError as error:
            failed.append(error)
            if len(set(wanted)) > 1:
                logger.warning("%s is left out: %s", name, error)
    if not found:
        raise failed[0] if len(failed) == 1 else RegistryError(f"none of the generators loads: {failed[0]}")
    return found


def _loaded(name: str, store: Store | None, device: str) -> Champion:
    generator = generators.load(name, store, device)
    version = generator.version
    link = f"#/models/{version.name}/versions/{version.version}" if version is not None else ""
    likeness, told = _training_data(generator, store)
    return Champion(name, generator, likeness, told, link)


def _training_data(generator: generators.Generator, store: Store | None) -> tuple[Likeness | None, str]:
    """What its photographs look like, and what to say of them."""
    if store is None or generator.version is None or not generator.version.run_id:
        return None, "its training data are not known here"
    try:
        record = store.get(generator.version.run_id)
        experiment = run_experiment(store, record)
        index = held.open_dataset(experiment.dataset)
        rows = index.select(index.source, "train")
        chosen = rows[:: max(1, -(-len(rows) // _MOST_IMAGES))]
        if len(chosen) < FEWEST:
            return None, f"{index.info().name} has {len(rows)} training images, too few to compare with"
        side = experiment.dataset.image_size_px
        return Likeness.of(
            load_rgb(index.path(row), side) for row in chosen
        ), f"trained on {index.info().name}"
    except D2NError as error:
        return None, f"its training data are not here ({error})"
