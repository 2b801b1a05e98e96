"""What stands before a promotion: the champion, where it can stay, and what there is to promote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from d2n.errors import RegistryError
from d2n.tracking import names, registry

if TYPE_CHECKING:
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store


def champion(store: Store, model_name: str) -> RegisteredVersion | None:
    """The version under the champion's alias, whether or not its files are there."""
    try:
        return registry.resolve(store, f"{model_name}@{names.CHAMPION}")
    except RegistryError:
        return None


def cannot_stay(store: Store, version: RegisteredVersion) -> str:
    """Why the champion gives its place to the best that loads, whatever the scores say; '' where it need not."""
    if (why := registry.vetoed(store, version.name).get(version.version)) is not None:
        return f"it was vetoed: {why}"
    if not version.run_id:
        return "it names no run"
    lacking = registry.missing_files(store, version)
    return f"it does not load: {lacking}" if lacking else ""


def known(store: Store, dataset: str) -> str:
    """The data sets and protocols that finished translation runs are of, in words."""
    found = store.find_runs(tags={names.KIND: "translation"}, status="FINISHED")
    sets = sorted({run.tags.get(names.DATASET, "") for run in found} - {""})
    here = [run for run in found if run.tags.get(names.DATASET) == dataset]
    protocols = sorted({run.tags.get(names.PROTOCOL, "") for run in here} - {""})
    if protocols:
        return f"protocols of its runs: {', '.join(protocols)}"
    return f"data sets with some: {', '.join(sets) or 'none'}"
