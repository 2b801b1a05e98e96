"""Registered models: versions, aliases with their history, downloads, and who used what."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from d2n import naming, secrets
from d2n.errors import RegistryError, TrackingError
from d2n.files.scratch import scratch
from d2n.tracking import connection, fetching, models, names
from d2n.tracking.connection import Connection
from d2n.tracking.tracked_run import tag_text

logger = logging.getLogger(__name__)
_PAGE = 100
_LONGEST_DESCRIPTION = 5000  # characters that every database holds
_MODEL = re.compile(
    r"[^/:@\x00-\x1f\x7f]{1,256}"
)  # what MLflow lets others register, but for what a reference cannot say
_VERSION = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: str
    aliases: tuple[str, ...]
    run_id: str
    model_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""

    @property
    def reference(self) -> str:
        """``models:/NAME/VERSION``."""
        return f"models:/{self.name}/{self.version}"

    @property
    def used_by(self) -> tuple[str, ...]:
        """Ids of the runs that used it."""
        return tuple(filter(None, map(names.run_of_used_by, sorted(self.tags))))


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias."""

    alias: str
    at: datetime
    version: str  # '' where the alias was taken away
    former: str | None
    reason: str


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
    _create_model(store, model_name)
    text = {names.checked(k, "tag"): tag_text(v) for k, v in (tags or {}).items()}
    text |= fetching.seal_tags(store, model_id)
    told = secrets.scrub_urls(description)
    found = store.call(_create_version_once, store, model_name, run_id, model_id, text, told)
    if alias is not None:
        set_alias(store, model_name, alias, found.version, reason=reason)
    return resolve(store, f"{model_name}/{found.version}")


def resolve(store: Connection, reference: str) -> RegisteredVersion:
    """The version behind ``NAME@ALIAS``, ``NAME/3`` or either with ``models:/`` before it.

    RegistryError names what is there, and the command that makes it.
    """
    name, alias, version = parse_reference(reference)
    client = store.client
    try:
        if alias:
            found = store.call(client.get_model_version_by_alias, name, alias)
            found = store.call(client.get_model_version, name, found.version)  # with its aliases
        else:
            found = store.call(client.get_model_version, name, version)
    except TrackingError as error:
        cause = error.__cause__
        code = cause.error_code if isinstance(cause, MlflowException) else ""
        if code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise RegistryError(_absent(store, name, alias, version)) from error
        raise
    return _version(found)


def parse_reference(reference: str) -> tuple[str, str, str]:
    """(name, alias, version) with '' for the one not given; RegistryError for anything else."""
    bare = reference.removeprefix("models:/")
    name, at, alias = bare.rpartition("@")
    if at and naming.is_name(alias) and _MODEL.fullmatch(name):
        return name, alias, ""
    name, slash, version = bare.rpartition("/")
    if slash and _VERSION.fullmatch(version) and _MODEL.fullmatch(name):
        return name, "", version
    raise RegistryError(
        f"{naming.brief(reference)} names no registered model: expected NAME@ALIAS or NAME/VERSION"
    )


def set_alias(
    store: Connection,
    name: str,
    alias: str,
    version: str,
    *,
    reason: str = "",
    eager: models.Network | None = None,
) -> None:
    """Point `alias` at a version and record the move; the version's files must be there.

    With `eager` (the trained network on arrays), the stored model is loaded and compared with it first, at two
    sizes and batches 1 and 3 (models.check_folder).
    """
    names.checked_alias(alias)
    target = resolve(store, f"{name}/{version}")
    if eager is not None:
        check_version(store, target, eager)
    else:
        require_files(store, target)
    former = list_aliases(store, name).get(alias)
    if former == target.version:
        return
    store.call(store.client.set_registered_model_alias, name, alias, target.version)
    record_move(store, name, alias, target.version, former, reason)
    logger.info("%s@%s is version %s now (was %s)", name, alias, target.version, former or "none")


def describe(store: Connection, version: RegisteredVersion, text: str) -> None:
    """Make `text` (Markdown, at most 5000 characters) the version's description, which the UI shows."""
    told = secrets.scrub_urls(text)[:_LONGEST_DESCRIPTION]
    store.call(store.client.update_model_version, version.name, version.version, told)


def record_move(
    store: Connection, name: str, alias: str, version: str, former: str | None, reason: str
) -> None:
    """Add a move to an alias's history: one tag a move, so that two writers lose nothing. '' is no version."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    move = json.dumps({"version": version, "former": former, "reason": secrets.scrub_urls(reason)})
    store.call(store.client.set_registered_model_tag, name, names.alias_move(alias, stamp), move)


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
    if not version.model_id:
        return "it names no logged model"
    model = store.call(store.client.get_logged_model, version.model_id)  # refuses a deleted one
    return fetching.lacks_files(store, model.artifact_location)


def alias_history(store: Connection, name: str, alias: str | None = None) -> list[AliasMove]:
    """The moves of one alias, or of all, oldest first; those that cannot be read are left out."""
    moves = [move for move in _moves(store, name).values() if move is not None]
    return sorted((m for m in moves if alias in (None, m.alias)), key=lambda move: move.at)


def unreadable_moves(store: Connection, name: str) -> list[str]:
    """Tags of a model that are moves of an alias by their name, and hold something else."""
    return sorted(tag for tag, move in _moves(store, name).items() if move is None)


def list_aliases(store: Connection, name: str) -> dict[str, str]:
    """alias → version of a registered model."""
    return {alias: str(version) for alias, version in _model(store, name).aliases.items()}


def list_models(store: Connection, prefix: str = "") -> list[str]:
    """Names of the registered models, sorted."""
    found: list[str] = []
    token = None
    while True:
        page = store.call(store.client.search_registered_models, max_results=_PAGE, page_token=token)
        found.extend(model.name for model in page)
        if not (token := page.token):
            return sorted(name for name in found if name.startswith(prefix))


def list_versions(store: Connection, name: str) -> list[RegisteredVersion]:
    """All versions of a registered model, newest first."""
    found = store.call(_model_versions, store, name)
    aliases: dict[str, list[str]] = {}
    for alias, version in list_aliases(store, name).items():
        aliases.setdefault(version, []).append(alias)
    versions = [_version(v, aliases.get(str(v.version), [])) for v in found]
    return sorted(versions, key=lambda v: -int(v.version))


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


def _create_model(store: Connection, name: str) -> None:
    try:
        store.call(store.client.create_registered_model, name)
    except TrackingError as error:
        if "already exists" not in str(error):
            raise


def _create_version_once(
    store: Connection, name: str, run_id: str, model_id: str, tags: dict[str, str], description: str
) -> RegisteredVersion:
    client = store.client
    for known in _model_versions(store, name):
        if _model_id(known) == model_id:
            for key, value in tags.items():
                client.set_model_version_tag(name, known.version, key, value)
            return _version(known)
    with connection.process_wide(store.uri):
        return _version(
            client.create_model_version(
                name, f"models:/{model_id}", run_id, tags=tags, description=description, model_id=model_id
            )
        )


def _model_versions(store: Connection, name: str) -> list[ModelVersion]:
    """Every version of one model; a name that MLflow's search cannot hold is looked for among all."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = store.client.search_model_versions(
            names.equals("name", name) or None, max_results=_PAGE, page_token=token
        )
        found.extend(version for version in page if version.name == name)
        if not (token := page.token):
            return found


def _model(store: Connection, name: str) -> Any:
    try:
        return store.call(store.client.get_registered_model, name)
    except TrackingError as error:
        cause = error.__cause__
        if isinstance(cause, MlflowException) and cause.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise RegistryError(_absent(store, name, "", "")) from error
        raise


def _version(found: ModelVersion, aliases: list[str] | None = None) -> RegisteredVersion:
    return RegisteredVersion(
        name=found.name,
        version=str(found.version),
        aliases=tuple(sorted(found.aliases or [] if aliases is None else aliases)),
        run_id=found.run_id or "",
        model_id=_model_id(found),
        tags=dict(found.tags or {}),
        description=found.description or "",
    )


def _model_id(found: ModelVersion) -> str:
    """The database stores leave model_id empty; the source has it."""
    given = getattr(found, "model_id", None)
    if given:
        return str(given)
    source = found.source or ""
    last = source.removeprefix("models:/") if source.startswith("models:/") else ""
    if last:
        return last
    return next((part for part in source.split("/") if part.startswith("m-")), "")


def _absent(store: Connection, name: str, alias: str, version: str) -> str:
    known = list_models(store)
    if name not in known:
        there = f"registered there: {', '.join(known)}" if known else "nothing is registered there"
        return f"no registered model {name!r} in {store.display_uri} ({there}); {_maker(name)}"
    if alias:
        aliases = [f"{a} (version {v})" for a, v in sorted(list_aliases(store, name).items())]
        return f"{name} has no alias {alias!r} (it has: {', '.join(aliases) or 'none'}); {_maker(name)}"
    versions = [v.version for v in list_versions(store, name)]
    return f"{name} has no version {version} (it has: {', '.join(versions) or 'none'}); {_maker(name)}"


def _maker(name: str) -> str:
    if name.startswith(names.retrieval_model("")):
        return "a retrieval experiment with `register_as` makes one: `d2n retrieve experiments/FILE.yaml`"
    if name.startswith(names.generator_model("")):
        return (
            f"`d2n promote {shlex.quote(name.removeprefix(names.generator_model('')))}` makes one from the finished "
            "runs"
        )
    return "`d2n promote DATASET` registers generators"


def _moves(store: Connection, name: str) -> dict[str, AliasMove | None]:
    """Tag → the move that it records, None where it cannot be read."""
    tags = _model(store, name).tags
    return {tag: _move(*key, value) for tag, value in tags.items() if (key := names.alias_of_move(tag))}


def _move(alias: str, stamp: str, value: str) -> AliasMove | None:
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        data = json.loads(value)
        return AliasMove(alias, at, str(data["version"]), data.get("former"), str(data.get("reason", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
