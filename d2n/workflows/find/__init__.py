"""``d2n find``: the photographs of a folder that are most like one photograph, as a picture and a page."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from d2n.datasets.images import load_rgb, save_rgb
from d2n.devices import resolve_device
from d2n.errors import ImageError, RetrievalError
from d2n.files.writing import write_text
from d2n.retrieval.images import shrink
from d2n.retrieval.ranking import rank
from d2n.retrieval.vectors import VectorStore, VectorTable, table_name
from d2n.retrieval.whitening import Whitening
from d2n.tracking import runs
from d2n.workflows.evaluate import pictures, stored, view_of
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.folder import default_network, described, images_below
from d2n.workflows.evaluate.model import open_model, whitening_of

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)

_THUMBNAIL_PX, _IN_A_ROW = 320, 5
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
)


@dataclass(frozen=True)
class Request:
    """Which photograph is looked for where, by which network."""

    photo: Path
    folder: Path
    out: Path
    model: str | None = None
    top: int = 10
    whitening: str = "stored"
    overrides: tuple[str, ...] = ()
    vectors: str | None = None  # a vector store that holds the folder's descriptors
    approximate: bool = False


@dataclass(frozen=True)
class Hit:
    """A photograph that was found."""

    name: str  # relative to the folder
    similarity: float  # cosine, 1 for the same


def find_command(request: Request, *, tracking_uri: str | None, progress: bool) -> list[str]:
    """The hits as lines, how they were searched for where that is not exactly, and where picture and page lie."""
    hits, how = found(request, store=runs.open_store(tracking_uri), progress=progress)
    width = max(len(hit.name) for hit in hits)
    lines = [f"{number:3}. {hit.name:{width}}  {hit.similarity:.4f}" for number, hit in enumerate(hits, 1)]
    return [*lines, *how, f"wrote {request.out}.png and {request.out}.html"]


def find(request: Request, *, store: Store, progress: bool = False) -> list[Hit]:
    """The most similar photographs, best first; the photograph itself is no hit. Writes OUT.png and OUT.html."""
    return found(request, store=store, progress=progress)[0]


def found(request: Request, *, store: Store, progress: bool = False) -> tuple[list[Hit], list[str]]:
    """As ``find``, with what there is to say of a search through a vector store."""
    model = open_model(request.model or default_network(store), request.overrides, store)
    learned = whitening_of(model, request.whitening)
    device = str(resolve_device(model.experiment.training.device))
    describer = Describer(
        model.net.to(device), view_of(model), store.work_root / "descriptors", progress=progress
    )
    if request.vectors is not None:
        hits, how = _through(request, request.vectors, describer, learned)
    else:
        hits, how = _in_memory(request, describer, learned), []
    _write(request, model.origin, hits)
    return hits, how


def _in_memory(request: Request, describer: Describer, learned: Whitening | None) -> list[Hit]:
    names = [
        name
        for name in images_below(request.folder)
        if (request.folder / name).resolve() != request.photo.resolve()
    ] or images_below(request.folder)
    database = described(describer, [request.folder / name for name in names], learned)
    query = described(describer, [request.photo], learned)
    ranked = rank(query, database, min(request.top, len(names)))[:, 0]
    return [Hit(names[i], float(query[0] @ database[i])) for i in ranked]


def _through(
    request: Request, url: str, describer: Describer, learned: Whitening | None
) -> tuple[list[Hit], list[str]]:
    """From a store as it stands: the folder is not walked through."""
    table = _table(url, describer, learned)
    query = described(describer, [request.photo], learned)
    how = [f"searched {len(table):,} descriptors of {url} exactly"]
    if request.approximate:
        table.require_index()
        recall = table.store.recall(table.name)
        probes, refine = (recall.probes, recall.refine) if recall else (stored.PROBES, stored.REFINE)
        hits = table.approximate(query, request.top + 1, probes, refine)[0]
        how = [f"searched {len(table):,} descriptors of {url} by its index, {stored.recall_line(recall)}"]
    else:
        hits = table.exact(query, request.top + 1)[0]
    pairs = [
        Hit(name, similarity)
        for name, similarity in zip(hits.names, hits.similarities, strict=True)
        if (request.folder / name).resolve() != request.photo.resolve()
    ]
    return pairs[: request.top], how


def _table(url: str, describer: Describer, learned: Whitening | None) -> VectorTable:
    """The photographs' table of this network; RetrievalError that says what the store holds instead."""
    store, identity = VectorStore(url), stored.identity_of(describer, True, learned)
    wanted, known = table_name(stored.PHOTOGRAPHS, identity), store.names()
    if wanted not in known:
        raise RetrievalError(
            f"{url}: holds no photographs by this network, view and whitening (tables: {', '.join(known) or 'none'}); "
            "`d2n vectors fill MODEL FOLDER STORE` describes them"
        )
    return store.table(wanted)


def _write(request: Request, origin: str, hits: Sequence[Hit]) -> None:
    photo = load_rgb(request.photo)
    images = [_picture(request.folder / hit.name) for hit in hits]
    squares = [pictures.framed(photo, pictures.BLACK), *(pictures.framed(x, pictures.GREY) for x in images)]
    save_rgb(pictures.grid(squares, _IN_A_ROW + 1), Path(f"{request.out}.png"))
    page = _PAGES.get_template("page.html").render(
        photo=str(request.photo),
        folder=str(request.folder),
        network=origin,
        query=_embedded(photo),
        hits=[(hit, _embedded(image)) for hit, image in zip(hits, images, strict=True)],
    )
    write_text(Path(f"{request.out}.html"), page + "\n")


def _picture(path: Path) -> np.ndarray:
    """The photograph; grey where it was described once and cannot be read any more."""
    try:
        return load_rgb(path)
    except ImageError as error:
        logger.warning("no picture of a photograph that was found: %s", error)
        return np.full((_THUMBNAIL_PX, _THUMBNAIL_PX, 3), 128, dtype=np.uint8)


def _embedded(image: np.ndarray) -> str:
    """A small JPEG as a data URL: the page needs no other file."""
    buffer = io.BytesIO()
    Image.fromarray(shrink(image, _THUMBNAIL_PX)).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
