"""``d2n clean``: what takes room and is needed by nothing; listed first, freed when that is wanted."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from d2n.errors import TrackingError

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

_UNITS = ("B", "kB", "MB", "GB", "TB")


def clean_command(*, is_wanted: bool, tracking_uri: str | None) -> list[str]:
    """Clean the store as the command line asks; the lines to print."""
    from d2n.tracking import runs

    return clean(runs.open_store(tracking_uri), is_wanted=is_wanted)


def clean(store: Store, *, is_wanted: bool) -> list[str]:
    """A line for each thing that no registered version, study or resumable run needs, and what they take together.

    With ``is_wanted`` each is freed, unless someone took it up meanwhile: its line then says that it stays.
    """
    from d2n.tracking import spare

    found = spare.find(store)
    lines, freed = [], 0
    for one in found:
        size = size_text(one.size_bytes) if one.path is not None else "in the artifact store"
        line = f"{one.kind} {one.path or one.subject}: {size}: {one.reason}"
        if is_wanted:
            try:
                freed += spare.free(store, one)
            except TrackingError as error:
                line = f"{line}; not freed: {error}"
        lines.append(line)
    if not found:
        lines.append("nothing to free")
    elif is_wanted:
        lines.append(f"freed {size_text(freed)}")
    else:
        total = size_text(sum(one.size_bytes for one in found))
        lines.append(f"{total} can go; nothing was freed: `d2n clean --yes` does it")
    elsewhere = any(one.path is None for one in found)
    return [*lines, *_left_to_gc(store, spare.deleted_runs(store), elsewhere=elsewhere)]


def size_text(size_bytes: float) -> str:
    """``12.3 MB``."""
    for unit in _UNITS[:-1]:
        if size_bytes < 1000:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.4g} {_UNITS[-1]}"


def _left_to_gc(store: Store, runs: int, *, elsewhere: bool) -> list[str]:
    """What MLflow's own garbage collection does then, with the command."""
    told = []
    if runs:
        what = "1 run is" if runs == 1 else f"{runs} runs are"
        told.append(
            f"{what} deleted, and can be restored until `{_gc(store)}` removes them with their artifacts"
        )
    if elsewhere:
        told.append(f"logged models leave the artifact store with `{_gc(store)}`")
    return told


def _gc(store: Store) -> str:
    from d2n import databases

    if not databases.is_sqlite(store.uri):
        return (
            "mlflow gc --backend-store-uri DATABASE"  # the server's own: it may be another than is known here
        )
    uri = shlex.quote(store.uri)
    return f"mlflow gc --backend-store-uri {uri} --tracking-uri {uri}"
