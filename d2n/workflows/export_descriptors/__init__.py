"""``d2n export-descriptors``: a folder's descriptors for hloc, kapture and the place recognition benchmarks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2n.devices import resolve_device
from d2n.errors import ConfigError
from d2n.files.writing import folder_aside
from d2n.retrieval.ranking import rank
from d2n.tracking import runs
from d2n.workflows.evaluate import view_of
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.folder import described, images_below
from d2n.workflows.evaluate.model import open_model, whitening_of
from d2n.workflows.export_descriptors import formats
from d2n.workflows.export_descriptors.formats import Described

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

FORMATS: Mapping[str, Callable[[Described, Path], None]] = {
    "hloc": formats.write_hloc,
    "kapture": formats.write_kapture,
    "place": formats.write_place,
}
_SIDES = ("queries", "database")


@dataclass(frozen=True)
class Request:
    """What is described, by which network, for which tool."""

    model: str
    folder: Path
    out: Path
    format: str = "hloc"
    top: int = 20
    whitening: str = "stored"
    overrides: tuple[str, ...] = ()


def check(request: Request) -> None:
    """Refuse what can be known before anything is described."""
    if request.format not in FORMATS:
        raise ConfigError(f"--format {request.format}: expected one of {', '.join(FORMATS)}")
    if request.format == "hloc" and importlib.util.find_spec("h5py") is None:
        raise ConfigError(
            "hloc reads HDF5, which the package h5py writes, and it is not here: pip install 'd2n[hloc]'"
        )
    if request.format == "place":
        formats.require_positions(images_below(request.folder))


def export_command(request: Request, *, tracking_uri: str | None, progress: bool) -> list[str]:
    """What was written, in words."""
    check(request)
    made = export(request, store=runs.open_store(tracking_uri), progress=progress)
    counts = f"{len(made.names)} descriptors of {made.descriptors.shape[1]} dimensions"
    return [
        f"wrote {counts} and {len(made.queries)} queries' best {made.top} to {request.out} ({request.format})"
    ]


def export(request: Request, *, store: Store, progress: bool = False) -> Described:
    """Describe every photograph of the folder, rank, and write OUT whole or not at all.

    With ``queries/`` and ``database/`` in the folder the ones are looked for among the others; else each among all
    the rest.
    """
    model = open_model(request.model, request.overrides, store)
    learned = whitening_of(model, request.whitening)
    device = str(resolve_device(model.experiment.training.device))
    describer = Describer(
        model.net.to(device), view_of(model), store.work_root / "descriptors", progress=progress
    )
    names = images_below(request.folder)
    descriptors = described(describer, [request.folder / name for name in names], learned)
    made = ranked(request.folder, names, descriptors, request.top)
    with folder_aside(request.out) as part:
        FORMATS[request.format](made, part)
    return made


def ranked(folder: Path, names: list[str], descriptors: np.ndarray, top: int) -> Described:
    """The queries of the folder with the best ``top`` of the database; a photograph is never found for itself."""
    sides = {side: [i for i, name in enumerate(names) if name.startswith(f"{side}/")] for side in _SIDES}
    apart = all(sides.values())
    queries = sides["queries"] if apart else list(range(len(names)))
    database = sides["database"] if apart else queries
    ranks = rank(descriptors[queries], descriptors[database], min(top + 1, len(database)))
    best = [
        [database[j] for j in ranks[:, column] if database[j] != query][:top]
        for column, query in enumerate(queries)
    ]
    return Described(folder, names, descriptors, queries, database, best, top)
