"""``d2n show``: a page on this machine alone, where a photograph is seen by night from every champion."""

from __future__ import annotations

import contextlib
import logging
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from d2n.devices import require_device, resolve_device
from d2n.errors import D2NError, RegistryError
from d2n.tracking import runs
from d2n.workflows import preflight
from d2n.workflows.show import champions
from d2n.workflows.show.desk import Desk
from d2n.workflows.show.hits import Hits
from d2n.workflows.ui import free_port

logger = logging.getLogger(__name__)
_FIRST_PORT = 5100
HOST = "127.0.0.1"  # photographs are nobody else's business


@dataclass(frozen=True)
class Request:
    """What is shown, and where."""

    models: Sequence[str] = ()  # none: every champion of the store
    folder: Path | None = None  # where the photograph is looked for, before and after
    network: str | None = None
    shorter_side_px: int = 512
    device: str = "auto"
    port: int | None = None


def show(
    request: Request,
    *,
    tracking_uri: str | None = None,
    open_browser: bool = False,
    announce: Callable[[str], object] = logger.info,
    progress: bool = False,
) -> None:
    """Serve the page until it is interrupted; its address is announced once it answers.

    Raises D2NError in one line where there is nothing to show, the port is taken, or the server is not installed.
    """
    require_server()
    port = free_port(HOST, request.port, first=_FIRST_PORT, verb="show")
    desk = open_desk(request, tracking_uri=tracking_uri, progress=progress)
    from d2n.workflows.show import server

    def told(address: str) -> None:
        announce(f"d2n show: {address} ({len(desk.champions)} generators; Ctrl-C ends it)")
        if open_browser and not webbrowser.open(address):
            logger.warning("no browser opened; the address is above")

    with contextlib.suppress(KeyboardInterrupt):
        server.serve(desk, HOST, port, told)


def open_desk(request: Request, *, tracking_uri: str | None, progress: bool = False) -> Desk:
    """What the page needs, loaded: generators, what they were trained on, the folder described."""
    require_device(request.device)
    device = str(resolve_device(request.device))
    needs_store = not request.models or request.folder is not None
    needs_store = needs_store or not all(Path(one).exists() for one in request.models)
    if needs_store and tracking_uri is not None:
        preflight.store(tracking_uri)
    store = runs.open_store(tracking_uri) if needs_store else None
    names = list(request.models) or champions.references(store)
    if not names:
        where = store.display_uri if store is not None else "the store"
        raise RegistryError(
            f"no champion in {where}: `d2n promote DATASET` registers one, or name a generator: "
            "d2n show MODEL@ALIAS, a run id or a folder"
        )
    hits = None
    if request.folder is not None and store is not None:
        hits = Hits.open(request.folder, request.network, store, progress=progress)
    return Desk(champions.loaded(names, store, device), hits, request.shorter_side_px)


def require_server() -> None:
    """D2NError where what serves the page is not installed."""
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise D2NError(f"d2n show needs {' and '.join(missing)}: pip install 'd2n[show]'")
