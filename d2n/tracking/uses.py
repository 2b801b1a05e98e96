"""What a run uses that was trained before: generators, night-to-day generators of the queries, extractors' networks.

Written at the start of a run, each as one tag, so that a resumed run goes on with the same; and on what is used, so
that it names the run. A version is named by its number, a run by its id, a folder by the digest of what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from mlflow.entities import LoggedModelInput

from d2n.errors import TrackingError
from d2n.tracking import names, registered
from d2n.tracking.connection import Connection
from d2n.tracking.records import UnreadableError
from d2n.tracking.tracked_run import TrackedRun

GENERATOR, QUERIES, EXTRACTOR, LIGHT, START = "generator", "queries", "extractor", "light", "start"  # roles


def role_of_generator(number: int) -> str:
    """``generator``, and of those that later seeds take ``generator-2``, ``generator-3`` …; 0 is the first."""
    return GENERATOR if number == 0 else f"{GENERATOR}-{number + 1}"


@dataclass(frozen=True)
class Use:
    """One thing that a run uses."""

    role: str
    kind: Literal["version", "run", "folder"]
    name: str = ""  # of a version: the registered model; of a folder: its own name
    version: str = ""
    run_id: str = ""  # that trained it
    model_id: str = ""
    sha256: str = ""  # of its weights and its config

    @property
    def reference(self) -> str:
        """What loads it again: NAME/VERSION or a run id; '' of a folder, whose place is not kept."""
        return {"version": f"{self.name}/{self.version}", "run": self.run_id, "folder": ""}[self.kind]

    @property
    def told(self) -> str:
        """In words."""
        return {
            "version": f"{self.name} version {self.version}",
            "run": f"run {self.run_id}",
            "folder": f"folder {self.name} (sha256 {self.sha256[:12]})",
        }[self.kind]


def version_use(store: Connection, role: str, reference: str, sha256: str = "") -> Use:
    """The use of NAME@ALIAS or NAME/VERSION."""
    found = registered.resolve(store, reference)
    return Use(role, "version", found.name, found.version, found.run_id, found.model_id, sha256)


def record(store: Connection, run: TrackedRun, use: Use) -> None:
    """Into the run, and into what is used."""
    run.set_tags({names.uses(use.role): json.dumps(asdict(use))})
    if use.kind == "version" and use.role == GENERATOR:
        run.log_generator(use.name, use.version, use.model_id)
        return
    if use.model_id:
        store.call(store.client.log_inputs, run.run_id, models=[LoggedModelInput(use.model_id)])
    if use.kind == "version":
        store.call(
            store.client.set_model_version_tag, use.name, use.version, names.used_by(run.run_id), use.role
        )
    elif use.kind == "run":
        store.call(store.client.set_tag, use.run_id, names.used_by(run.run_id), use.role)


def read(run_id: str, tags: Mapping[str, str]) -> dict[str, Use]:
    """Role → what the run with these tags uses; UnreadableError where a tag holds something else."""
    found = {}
    if tags.get(names.GENERATOR_NAME) and tags.get(names.GENERATOR_VERSION):  # all there was before
        name, version = tags[names.GENERATOR_NAME], tags[names.GENERATOR_VERSION]
        model_id = tags.get(names.GENERATOR_MODEL_ID, "")
        found[GENERATOR] = Use(GENERATOR, "version", name, version, model_id=model_id)
    for tag, text in tags.items():
        if (role := names.role_of_use(tag)) is not None:
            found[role] = _use(run_id, tag, role, text)
    return found


def generators_of(found: Mapping[str, Use]) -> list[Use]:
    """The generators that the seeds of a run take in turn, of what read gave."""
    listed: list[Use] = []
    while (use := found.get(role_of_generator(len(listed)))) is not None:
        listed.append(use)
    return listed


def _use(run_id: str, tag: str, role: str, text: str) -> Use:
    try:
        values = json.loads(text)
        fields = {key: values[key] for key in asdict(Use("", "version"))}
        if values["role"] != role or values["kind"] not in ("version", "run", "folder"):
            raise ValueError(f"role {values['role']!r}, kind {values['kind']!r}")
        if not all(isinstance(value, str) for value in fields.values()):
            raise ValueError("it holds more than text")
        return Use(**fields)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableError(
            f"run {run_id}: its tag {tag} is unreadable ({error}), expected what d2n wrote; put it back, or delete "
            "the run"
        ) from error


def pinned(run_id: str, tags: Mapping[str, str], role: str) -> Use | None:
    """What an interrupted run began with in a role; None where it uses nothing, or was killed before it said so."""
    return read(run_id, tags).get(role)


def refuse_other(run_id: str, use: Use, now: Use) -> None:
    """TrackingError where an interrupted run would go on with something else than it began with."""
    if use.sha256 and now.sha256 and use.sha256 != now.sha256:
        raise TrackingError(
            f"run {run_id} began with {use.told} as its {use.role}, whose digest is {use.sha256[:16]}; what is there "
            f"now has {now.sha256[:16]}: bring the former back, or start a new run"
        )
