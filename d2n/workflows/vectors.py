"""``d2n vectors``: a vector store filled by several workers, indexed, and what it holds."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from d2n.devices import resolve_device, use_threads
from d2n.errors import ConfigError, RetrievalError
from d2n.retrieval.vectors import VectorStore, require_lancedb
from d2n.tracking import runs
from d2n.workflows.evaluate import stored, view_of
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.folder import images_below
from d2n.workflows.evaluate.model import open_model, whitening_of
from d2n.workflows.evaluate.stored import Filled, Part


@dataclass(frozen=True)
class FillRequest:
    """Which photographs are described into which store, by which network."""

    model: str
    folder: Path
    url: str
    whitening: str = "stored"
    overrides: tuple[str, ...] = ()
    part: Part = stored.WHOLE
    workers: int = 1
    chunk: int = stored.CHUNK
    on_bad_image: str = "fail"
    tracking_uri: str | None = None


def as_part(text: str) -> Part:
    """``3/8`` as the third of eight; ConfigError for anything else."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(f"--part {text}: expected one of so many, as in 3/8")
    return Part(int(number), int(of))


def fill_command(request: FillRequest, *, progress: bool) -> list[str]:
    """What was described, in words."""
    require_lancedb()
    if request.workers == 1:
        made = [fill(request, progress=progress)]
    else:
        if request.part.of > 1:
            raise ConfigError(
                "--workers and --part: this machine's workers share its part; name one of the two"
            )
        made = _by_processes(request)
    described, known, bad = (sum(getattr(one, key) for one in made) for key in ("described", "known", "bad"))
    left = f", {bad} left out that cannot be read" if bad else ""
    return [f"described {described:,} photographs into {request.url}; {known:,} were known{left}"]


def fill(request: FillRequest, *, progress: bool = False) -> Filled:
    """Describe one part of the photographs, those that the store does not know."""
    store = runs.open_store(request.tracking_uri)
    model = open_model(request.model, request.overrides, store)
    learned = whitening_of(model, request.whitening)
    device = str(resolve_device(model.experiment.training.device))
    describer = Describer(
        model.net.to(device), view_of(model), store.work_root / "descriptors", progress=progress
    )
    identity = stored.identity_of(describer, True, learned)
    table = stored.opened(request.url, stored.PHOTOGRAPHS, describer, identity, learned)
    images = stored.photographs(request.folder, images_below(request.folder))
    return stored.fill(
        table,
        images,
        stored.describe_by(describer, images, learned),
        part=request.part,
        chunk=request.chunk,
        skip_bad=request.on_bad_image == "skip",
        progress=progress,
    )


def index_command(url: str, goal: float) -> list[str]:
    """Index every table of a store, and measure what each index finds of exact search."""
    store, lines = VectorStore(url), list[str]()
    for name in _tables(store):
        table = store.table(name)
        table.index()
        recall = table.measured_recall(goal)
        store.keep_recall(recall)
        lines.append(f"{name}: {stored.recall_line(recall)}, {recall.probes} partitions a query")
    return lines


def status_command(url: str) -> list[str]:
    """The tables of a store: how many descriptors of which network, indexed or not."""
    store, lines = VectorStore(url), list[str]()
    for name in _tables(store):
        table = store.table(name)
        network = json.loads(table.about["identity"])["network"]
        lines.append(f"{name}: {len(table):,} descriptors of {table.dim} dimensions, network {network[:12]}")
        lines.append(f"  {_indexed(store, name) if table.is_indexed() else 'no index: searched exactly'}")
    return lines


def _indexed(store: VectorStore, name: str) -> str:
    return f"indexed, {stored.recall_line(store.recall(name))}"


def _tables(store: VectorStore) -> list[str]:
    found = store.names()
    if not found:
        raise RetrievalError(
            f"{store.url}: holds no descriptors; `d2n vectors fill MODEL FOLDER STORE` describes a folder"
        )
    return found


def _by_processes(request: FillRequest) -> list[Filled]:
    """A process a part. One that is killed ends the command; what the others kept is kept."""
    parts = [
        dataclasses.replace(request, part=Part(number, request.workers), workers=1)
        for number in range(1, request.workers + 1)
    ]
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(request.workers, spawning, _fewer_threads, (request.workers,)) as pool:
        try:
            return list(pool.map(fill, parts))
        except BrokenProcessPool as error:
            raise RetrievalError(
                "a worker was ended from outside (memory?); what was described is kept, and the same command goes on"
            ) from error


def _fewer_threads(workers: int) -> None:
    use_threads(max(1, (os.cpu_count() or 1) // workers))
