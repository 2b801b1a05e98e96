"""Registered models whose files are not those that were registered, or could run code."""

from __future__ import annotations

from d2n.errors import D2NError
from d2n.files.scratch import scratch
from d2n.tracking import models, registry
from d2n.tracking.findings import Finding, examined
from d2n.tracking.places import local_path
from d2n.tracking.registry import RegisteredVersion
from d2n.tracking.runs import Store

_ADVICE = (
    "do not use it: move its alias to another version, bring its files back from a copy, or delete the version; "
    "look for who else writes into the store"
)


def broken_seals(store: Store) -> list[Finding]:
    """Versions of d2n's models that were changed since they were registered, or hold what could run code.

    Of a store on another machine only those under an alias are fetched and looked at. Versions without files are
    another finding.
    """
    found = []
    for name in registry.list_models(store, prefix="d2n-"):
        for version in registry.list_versions(store, name):
            found += examined(version.reference, lambda version=version: _broken(store, version))  # type: ignore[misc] # bound now
    return found


def _broken(store: Store, version: RegisteredVersion) -> list[Finding]:
    if registry.missing_files(store, version):
        return []
    location = store.call(store.client.get_logged_model, version.model_id).artifact_location
    if local_path(location) is None and not version.aliases:
        return []
    try:
        with scratch("check") as above:
            models.make_safe(registry.download(store, version.reference, above / "model"))
    except D2NError as error:
        aliases = "".join(f"@{alias}" for alias in version.aliases)
        message = f"version {f'({aliases}) ' if aliases else ''}is refused: {error}"
        return [Finding("seal", f"{version.name}/{version.version}", message, "", _ADVICE)]
    return []
