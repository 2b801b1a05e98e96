"""Versions that never become the champion again, and why."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from d2n import naming, secrets
from d2n.errors import RegistryError, TrackingError
from d2n.tracking import names, registered
from d2n.tracking.connection import Connection
from d2n.tracking.registered import RegisteredVersion
from d2n.tracking.registry_lock import exclusive

logger = logging.getLogger(__name__)


def veto(store: Connection, version: RegisteredVersion, why: str) -> None:
    """Keep a version, and the run that trained it, from becoming the champion, for ever.

    Written on the model first, where it stays whatever becomes of the version; then on the version and its run.
    """
    told = secrets.scrub_urls(naming.checked_title(why, "--why", RegistryError))
    values = {"why": told, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps(values, ensure_ascii=False)
    with exclusive(store, version.name):
        whole = json.dumps(
            {**values, "run_id": version.run_id, "model_id": version.model_id}, ensure_ascii=False
        )
        store.call(store.client.set_registered_model_tag, version.name, names.veto_of(version.version), whole)
        store.call(store.client.set_model_version_tag, version.name, version.version, names.VETO, text)
    if version.run_id:
        try:
            store.call(store.client.set_tag, version.run_id, names.VETO, text)
        except TrackingError as error:  # its run was deleted: the model's tag counts
            logger.warning("the veto stands on %s, not on its run: %s", version.name, error)


def vetoed(store: Connection, name: str) -> dict[str, str]:
    """Why, by version and by run id, of everything of a model that was vetoed; {} where there is no such model."""
    try:
        found = registered.model(store, name)
    except RegistryError:
        return {}
    on_model = {
        version: value
        for tag, value in found.tags.items()
        if (version := names.version_of_veto(tag)) is not None
    }
    versions = store.call(registered.model_versions, store, name)
    why: dict[str, str] = {}
    for version, value in on_model.items():
        read = _read(value)
        why[version] = read["why"]
        if run_id := read.get("run_id"):
            why[run_id] = read["why"]
    for one in versions:
        value = (one.tags or {}).get(names.VETO)
        if value is None and str(one.version) in why:
            value = on_model[str(one.version)]
        if value is not None:
            why[str(one.version)] = _read(value)["why"]
            if one.run_id:
                why[one.run_id] = _read(value)["why"]
    return why


def _read(value: str) -> dict[str, str]:
    """What a tag says; one that was written by hand counts as well, its text is why."""
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        return {"why": value}
    return {"why": "", **{str(key): str(text) for key, text in read.items()}}
