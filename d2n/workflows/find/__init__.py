"""``d2n find``: the photographs of a folder that are most like one photograph, as a picture and a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from d2n.datasets.images import load_rgb, save_rgb
from d2n.devices import resolve_device
from d2n.files.writing import write_text
from d2n.retrieval.images import shrink
from d2n.retrieval.ranking import rank
from d2n.tracking import runs
from d2n.workflows.evaluate import pictures, view_of
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.folder import default_network, described, images_below
from d2n.workflows.evaluate.model import open_model, whitening_of

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

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


@dataclass(frozen=True)
class Hit:
    """A photograph that was found."""

    name: str  # relative to the folder
    similarity: float  # cosine, 1 for the same


def find_command(request: Request, *, tracking_uri: str | None, progress: bool) -> list[str]:
    """The hits as lines, and where picture and page lie."""
    hits = find(request, store=runs.open_store(tracking_uri), progress=progress)
    width = max(len(hit.name) for hit in hits)
    lines = [f"{number:3}. {hit.name:{width}}  {hit.similarity:.4f}" for number, hit in enumerate(hits, 1)]
    return [*lines, f"wrote {request.out}.png and {request.out}.html"]


def find(request: Request, *, store: Store, progress: bool = False) -> list[Hit]:
    """The most similar photographs, best first; the photograph itself is no hit. Writes OUT.png and OUT.html."""
    model = open_model(request.model or default_network(store), request.overrides, store)
    learned = whitening_of(model, request.whitening)
    device = str(resolve_device(model.experiment.training.device))
    describer = Describer(
        model.net.to(device), view_of(model), store.work_root / "descriptors", progress=progress
    )
    names = [
        name
        for name in images_below(request.folder)
        if (request.folder / name).resolve() != request.photo.resolve()
    ] or images_below(request.folder)
    database = described(describer, [request.folder / name for name in names], learned)
    query = described(describer, [request.photo], learned)
    ranked = rank(query, database, min(request.top, len(names)))[:, 0]
    hits = [Hit(names[i], float(query[0] @ database[i])) for i in ranked]
    _write(request, model.origin, hits)
    return hits


def _write(request: Request, origin: str, hits: Sequence[Hit]) -> None:
    photo = load_rgb(request.photo)
    found = [load_rgb(request.folder / hit.name) for hit in hits]
    squares = [pictures.framed(photo, pictures.BLACK), *(pictures.framed(x, pictures.GREY) for x in found)]
    save_rgb(pictures.grid(squares, _IN_A_ROW + 1), Path(f"{request.out}.png"))
    page = _PAGES.get_template("page.html").render(
        photo=str(request.photo),
        folder=str(request.folder),
        network=origin,
        query=_embedded(photo),
        hits=[(hit, _embedded(image)) for hit, image in zip(hits, found, strict=True)],
    )
    write_text(Path(f"{request.out}.html"), page + "\n")


def _embedded(image: np.ndarray) -> str:
    """A small JPEG as a data URL: the page needs no other file."""
    buffer = io.BytesIO()
    Image.fromarray(shrink(image, _THUMBNAIL_PX)).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
