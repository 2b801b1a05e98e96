"""``d2n clean``: what takes room and is needed by nothing; listed first, freed when that is wanted."""

from __future__ import annotations

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
        line = f"{one.kind} {one.path or one.subject}: {size_text(one.size_bytes)}: {one.reason}"
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
    return [*lines, *_deleted(spare.deleted_runs(store))]


def size_text(size_bytes: float) -> str:
    """``12.3 MB``."""
    for unit in _UNITS[:-1]:
        if size_bytes < 1000:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.4g} {_UNITS[-1]}"


def _deleted(count: int) -> list[str]:
    if not count:
        return []
    runs = "run is" if count == 1 else "runs are"
    return [
        f"{count} {runs} deleted, and can be restored until `mlflow gc` removes them with their artifacts"
    ]
