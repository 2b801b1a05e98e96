"""What is registered, read: models, versions, aliases, and the words for what is not there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from d2n import naming
from d2n.errors import RegistryError, TrackingError
from d2n.tracking import names
from d2n.tracking.answers import code_of, is_absent
from d2n.tracking.connection import Connection
from d2n.tracking.labels import Labelled

_PAGE = 100
_MODEL = re.compile(
    r"[^/:@\x00-\x1f\x7f]{1,256}"
)  # what MLflow lets others register, but for what a reference cannot say
_VERSION = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class RegisteredVersion(Labelled):
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
        code = code_of(error)
        if is_absent(error) or code == "INVALID_PARAMETER_VALUE":
            raise RegistryError(_absent(store, name, alias, version)) from error
        if code == "PERMISSION_DENIED":
            model(
                store, name
            )  # with log-in an alias of what is not there is refused, the model itself is not
        raise
    return as_version(found)


def seeds_of(store: Connection, reference: str) -> list[RegisteredVersion]:
    """The version that NAME@champion names, and after it those of the other seeds of its setting, smallest first.

    It alone where the reference is another, or where the aliases of seeds are another champion's.
    """
    first = resolve(store, reference)
    if parse_reference(reference)[1] != names.CHAMPION:
        return [first]
    aliases = list_aliases(store, first.name)
    seeds = {names.seed_of_alias(alias): version for alias, version in aliases.items()}
    numbers = sorted(seed for seed in seeds if seed is not None)
    if first.version not in (seeds[number] for number in numbers):
        return [first]
    others = dict.fromkeys(seeds[number] for number in numbers if seeds[number] != first.version)
    return [first, *(resolve(store, f"{first.name}/{version}") for version in others)]


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


def list_aliases(store: Connection, name: str) -> dict[str, str]:
    """alias → version of a registered model."""
    return {alias: str(version) for alias, version in model(store, name).aliases.items()}


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
    found = store.call(model_versions, store, name)
    aliases: dict[str, list[str]] = {}
    for alias, version in list_aliases(store, name).items():
        aliases.setdefault(version, []).append(alias)
    versions = [as_version(v, aliases.get(str(v.version), [])) for v in found]
    return sorted(versions, key=lambda v: -int(v.version))


def generators_of(store: Connection, dataset: str) -> list[str]:
    """The registered generators of a data set, of every direction; not those of one that is named alike."""
    model = names.generator_model(dataset)
    listed = list_models(store, model)
    return [
        name
        for name in listed
        if name == model or (name.startswith(f"{model}.") and _origin(store, name)[0] in (dataset, ""))
    ]


def refuse_other_origin(store: Connection, name: str, dataset: str, source: str, target: str) -> None:
    """RegistryError where the versions of a registered model are of another data set or direction.

    ``d2n-town.dusk-night`` is the generator of the data set town from dusk to night, and would be that of a data set
    ``town.dusk-night`` too.
    """
    theirs = _origin(store, name)
    if any(theirs) and theirs != (dataset, source, target):
        raise RegistryError(
            f"{name} is the generator of {theirs[0]} from {theirs[1]} to {theirs[2]} already, and would be that of "
            f"{dataset} from {source} to {target}; rename one of the data sets or domains (dataset.name, "
            "dataset.source, dataset.target) and train under the new name"
        )


def _origin(store: Connection, name: str) -> tuple[str, str, str]:
    """(data set, source, target) that the versions of a model name; '' where there is none, or none says it."""
    if name not in list_models(store, name):
        return "", "", ""
    for version in store.call(model_versions, store, name):
        if dataset := version.tags.get(names.DATASET, ""):
            return dataset, version.tags.get(names.SOURCE, "day"), version.tags.get(names.TARGET, "night")
    return "", "", ""


def create_model(store: Connection, name: str) -> None:
    """A registered model of this name, if there is none. Two processes may ask at once."""
    try:
        store.call(store.client.create_registered_model, name)
    except TrackingError as error:
        if "already exists" not in str(error):
            raise


def model_versions(store: Connection, name: str) -> list[ModelVersion]:
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


def model(store: Connection, name: str) -> Any:
    """MLflow's registered model; RegistryError names those that are there."""
    try:
        return store.call(store.client.get_registered_model, name)
    except TrackingError as error:
        if is_absent(error):
            raise RegistryError(_absent(store, name, "", "")) from error
        raise


def as_version(found: ModelVersion, aliases: list[str] | None = None) -> RegisteredVersion:
    """MLflow's version as ours."""
    return RegisteredVersion(
        name=found.name,
        version=str(found.version),
        aliases=tuple(sorted(found.aliases or [] if aliases is None else aliases)),
        run_id=found.run_id or "",
        model_id=model_id_of(found),
        tags=dict(found.tags or {}),
        description=found.description or "",
    )


def model_id_of(found: ModelVersion) -> str:
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
    if name.startswith(naming.RETRIEVAL_NETWORKS):
        return "a retrieval experiment with `register_as` makes one: `d2n retrieve experiments/FILE.yaml`"
    if name.startswith(naming.GENERATORS):
        return (
            f"`d2n promote {shlex.quote(name.removeprefix(naming.GENERATORS))}` makes one from the finished "
            "runs"
        )
    return "`d2n promote DATASET` registers generators"
