"""What stands before a promotion: the champion, and whether it can stay."""

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
