"""Registered models: versions, aliases with their history, downloads, and who used what."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2n import secrets
from d2n.errors import RegistryError, TrackingError
from d2n.files.scratch import scratch
from d2n.tracking import connection, fetching, history, models, names, registered
from d2n.tracking.connection import Connection
from d2n.tracking.history import AliasMove, alias_history, record_move, unreadable_moves
from d2n.tracking.registered import (
    RegisteredVersion,
    create_model,
    generators_of,
    list_aliases,
    list_models,
    list_versions,
    parse_reference,
    refuse_other_origin,
    resolve,
    seeds_of,
)
from d2n.tracking.registry_lock import exclusive
from d2n.tracking.values import tag_text
from d2n.tracking.vetoes import veto, vetoed

__all__ = [
    "AliasMove", "RegisteredVersion", "alias_history", "check_model", "check_version", "create_model", "describe",
    "download", "download_model", "exclusive", "generators_of", "lacking_files", "lacking_model_files",
    "list_aliases", "list_models", "list_versions", "missing_files", "parse_reference", "record_move",
    "refuse_other_origin", "register", "require_files", "resolve", "seeds_of", "set_alias", "unreadable_moves", "veto",
    "vetoed",
]  # fmt: skip
logger = logging.getLogger(__name__)
_LONGEST_DESCRIPTION = 5000  # characters that every database holds


def register(
    store: Connection,
    *,
    model_name: str,
    run_id: str,
    model_id: str,
    alias: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str = "",
    reason: str = "registered",
) -> RegisteredVersion:
    """A version of `model_name` for a logged model; the same logged model again gives its version again.

    With `alias`, set_alias follows (it refuses a version whose files are missing).
    """
    names.checked_model(model_name)
    create_model(store, model_name)
    text = {names.checked(k, "tag"): tag_text(v) for k, v in (tags or {}).items()}
    text |= fetching.seal_tags(store, model_id)
    told = secrets.scrub_urls(description)
    with exclusive(store, model_name):
        found = store.call(_create_version_once, store, model_name, run_id, model_id, text, told)
    if alias is not None:
        set_alias(store, model_name, alias, found.version, reason=reason)
    return resolve(store, f"{model_name}/{found.version}")


def set_alias(
    store: Connection,
    name: str,
    alias: str,
    version: str,
    *,
    reason: str = "",
    eager: models.Network | None = None,
    by: str = "",
) -> None:
    """Point `alias` at a version and record the move; the version's files must be there.

    With `eager` (the trained network on arrays), the stored model is loaded and compared with it first, at two
    sizes and batches 1 and 3 (models.check_folder). RegistryError of a champion that was vetoed.
    """
    names.checked_alias(alias)
    target = resolve(store, f"{name}/{version}")
    if eager is not None:
        check_version(store, target, eager)
    else:
        require_files(store, target)
    if alias == names.CHAMPION and (why := vetoed(store, name).get(target.version)) is not None:
        raise RegistryError(f"{name} version {target.version} was vetoed ({why}): choose another")
    made = history.move(store, name, {alias: target.version}, main=alias, reason=reason, by=by)
    if made is not None:
        logger.info("%s@%s is version %s now (was %s)", name, alias, target.version, made.former or "none")


def describe(store: Connection, version: RegisteredVersion, text: str) -> None:
    """Make `text` (Markdown, at most 5000 characters) the version's description, which the UI shows."""
    told = secrets.scrub_urls(text)[:_LONGEST_DESCRIPTION]
    store.call(store.client.update_model_version, version.name, version.version, told)


def check_version(
    store: Connection,
    version: RegisteredVersion,
    eager: models.Network,
    **options: Any,
) -> float:
    """Download a version, load it and compare it with `eager`; the largest difference. See models.check_folder."""
    with scratch("check") as above:
        folder = download(store, version.reference, above / "model")
        return models.check_folder(folder, eager, **options)


def check_model(store: Connection, model_id: str, eager: models.Network, **options: Any) -> float:
    """As check_version, of a logged model that is not registered yet."""
    with scratch("check") as above:
        return models.check_folder(download_model(store, model_id, above / "model"), eager, **options)


def require_files(store: Connection, version: RegisteredVersion) -> None:
    """RegistryError unless the version's logged model is there, with its exported network."""
    problem = missing_files(store, version)
    if problem:
        raise RegistryError(
            f"{version.name} version {version.version} does not load: {problem}; register another"
        )


def missing_files(store: Connection, version: RegisteredVersion) -> str:
    """What a version lacks to be loaded, '' if nothing."""
    try:
        return lacking_files(store, version)
    except TrackingError as error:
        return str(error)


def lacking_files(store: Connection, version: RegisteredVersion) -> str:
    """As missing_files; TrackingError where its logged model was deleted, or the store does not answer."""
    return lacking_model_files(store, version.model_id)


def lacking_model_files(store: Connection, model_id: str) -> str:
    """What a logged model lacks to be loaded, registered or not; TrackingError as in lacking_files."""
    if not model_id:
        return "it names no logged model"
    model = store.call(store.client.get_logged_model, model_id)  # refuses a deleted one
    return fetching.lacks_files(store, model.artifact_location)


def download(store: Connection, reference: str, dst: str | Path) -> Path:
    """The files of a registered model, with its extra files, in the new folder `dst`: complete, or absent.

    RegistryError where a file is not the registered one (seal); models.make_safe refuses what could run code.
    """
    version = resolve(store, reference)
    require_files(store, version)
    return download_model(store, version.model_id, dst, version.tags)


def download_model(
    store: Connection, model_id: str, dst: str | Path, tags: Mapping[str, str] | None = None
) -> Path:
    """The files of a logged model, registered or not, in the new folder `dst`: complete, or absent.

    They are held against the sums in `tags` (those of a version), else against the logged model's own.
    """
    target = Path(dst)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RegistryError(f"{target} is there already: choose a new folder, or remove it first")
    return fetching.fetch(store, model_id, target, tags or {})


def _create_version_once(
    store: Connection, name: str, run_id: str, model_id: str, tags: dict[str, str], description: str
) -> RegisteredVersion:
    client = store.client
    for known in registered.model_versions(store, name):
        if registered.model_id_of(known) == model_id:
            for key, value in tags.items():
                client.set_model_version_tag(name, known.version, key, value)
            return registered.as_version(known)
    with connection.process_wide(store.uri):
        return registered.as_version(
            client.create_model_version(
                name, f"models:/{model_id}", run_id, tags=tags, description=description, model_id=model_id
            )
        )
