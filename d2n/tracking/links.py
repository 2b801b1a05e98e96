"""Links between runs, versions and data in MLflow's pages: two clicks at most from a number to its data, and back.

They stand in a section of their own at the end of a run's note or a version's description; what people wrote above
it stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from d2n.errors import TrackingError
from d2n.tracking import fitting, names, registered, uses

if TYPE_CHECKING:
    from d2n.tracking.registered import RegisteredVersion
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)
HEADING = "### Lineage"
_MOST_USERS = 20


class Links:
    """Places in MLflow's pages; experiments are looked up once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._experiments: dict[str, str] = {}

    def run(self, run: RunRecord) -> str:
        """A run's page."""
        experiment = self._experiment(run.experiment)
        return names.run_page(experiment, run.run_id) if experiment else ""

    def data(self, digest: str, experiment: str) -> str:
        """All runs of an experiment on one state of the data."""
        number = self._experiment(experiment)
        wanted = quote(f"tags.`{names.DATASET_DIGEST}` = '{digest}'")
        return (
            f"#/experiments/{number}/runs?workflowType=machine_learning&searchFilter={wanted}"
            if number
            else ""
        )

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._store.call(self._store.client.get_experiment_by_name, name)
            self._experiments[name] = str(found.experiment_id) if found is not None else ""
        return self._experiments[name]


def version(name: str, number: str) -> str:
    """A version's page."""
    return f"#/models/{quote(name)}/versions/{number}"


def promotion_note(name: str, number: str, words: Iterable[str]) -> str:
    """What a promotion's run shows: the decision, and the version that it is about."""
    about = f"\n\n{HEADING}\n- version: {_version(name, number)}" if number else ""
    return "\n\n".join(words) + about


def describe_run(store: Store, run_id: str) -> None:
    """Links from a run to all it was made from and to the versions it trained; a warning where the store refuses."""
    _only_warn(f"run {run_id}", lambda: _describe_run(store, run_id))


def describe_version(store: Store, found: RegisteredVersion) -> None:
    """Links from a version to its run, study, data and users, and from its run to it."""
    _only_warn(f"{found.name} version {found.version}", lambda: _describe_version(store, found))
    if found.run_id:
        describe_run(store, found.run_id)


def describe_used(store: Store, use: uses.Use) -> None:
    """Links from what a run uses back to that run."""
    if use.kind == "version":
        found = registered.resolve(store, use.reference)
        if len(found.used_by) <= _MOST_USERS + 1:  # of a thousand trials' extractor the tags tell
            _only_warn(use.told, lambda: _describe_version(store, found))
    elif use.kind == "run":
        describe_run(store, use.run_id)


def _only_warn(subject: str, describe: Any) -> None:
    """Links are for people: a run does not end for want of them."""
    try:
        describe()
    except TrackingError as error:
        logger.warning("%s got no links in the pages: %s", subject, error)


def _describe_run(store: Store, run_id: str) -> None:
    run = store.get(run_id)
    lines = _of_run(store, run)
    for use in uses.read(run.run_id, run.tags).values():
        if use.kind == "version":
            trained = registered.resolve(store, use.reference).run_id
            lines.insert(0, f"- {use.role}: {_version(use.name, use.version)}{_trained_by(store, trained)}")
        elif use.kind == "run":
            lines.insert(0, f"- {use.role}: {_run(store, use.run_id)}")
        else:
            lines.insert(0, f"- {use.role}: {use.told}")
    trained_versions = store.call(
        store.client.search_model_versions, names.equals("run_id", run_id), max_results=100
    )
    lines += [f"- registered as {_version(one.name, str(one.version))}" for one in trained_versions]
    lines += _users(store, run.tags)
    note = _joined(run.tags.get(names.NOTE, ""), lines)
    store.call(store.client.set_tag, run_id, names.NOTE, note)


def _describe_version(store: Store, found: RegisteredVersion) -> None:
    for _ in range(3):  # two runs that begin at once: the last look has both
        now = registered.resolve(store, f"{found.name}/{found.version}")
        lines = []
        if now.run_id:
            run = store.get(now.run_id)
            lines = [f"- trained by {_run(store, now.run_id)}", *_of_run(store, run)]
        text = _joined(now.description, [*lines, *_users(store, now.tags)])
        if text == now.description:
            return
        store.call(store.client.update_model_version, now.name, now.version, text)


def _of_run(store: Store, run: RunRecord) -> list[str]:
    """Study, data and commit of a run."""
    tags, pages = run.tags, Links(store)
    lines = []
    if parent := tags.get(names.PARENT_RUN):
        trial = f"trial {tags[names.TRIAL]} of " if names.TRIAL in tags else "part of "
        lines.append(f"- {trial}{_run(store, parent)}")
    if digest := tags.get(names.DATASET_DIGEST):
        everything = f"[all runs on it]({pages.data(digest, run.experiment)})"
        lines.append(f"- data: {tags.get(names.DATASET, '')} `{digest}`, {everything}")
    if commit := tags.get(names.GIT_COMMIT) or tags.get(names.CODE_COMMIT):
        lines.append(f"- commit `{commit}`")
    return lines


def _users(store: Store, tags: Any) -> list[str]:
    each = {run_id: tag for tag in tags if (run_id := names.run_of_used_by(tag))}
    newest = sorted(each, key=lambda run_id: str(tags[each[run_id]]), reverse=True)
    lines = [f"- used by {_run(store, run_id)}" for run_id in newest[:_MOST_USERS]]
    if len(newest) > _MOST_USERS:
        lines.append(f"- and by {len(newest) - _MOST_USERS} more: `d2n lineage` names them")
    return lines


def _trained_by(store: Store, run_id: str) -> str:
    return f", trained by {_run(store, run_id)}" if run_id else ""


def _run(store: Store, run_id: str) -> str:
    try:
        run = store.get(run_id)
    except TrackingError:
        return f"run `{run_id}`, which is not there"
    name = run.name.replace("[", "(").replace("]", ")")
    return f"[{name}]({Links(store).run(run)})"


def _version(name: str, number: str) -> str:
    return f"[{name} version {number}]({version(name, number)})"


def _joined(text: str, lines: list[str]) -> str:
    """What was there, without an earlier section, and the section; cut to what a database keeps."""
    above = text.partition(HEADING)[0].rstrip()
    section = "\n".join([HEADING, *lines]) if lines else ""
    above = fitting.fitted(above, max(0, fitting.LONGEST - len(section)))
    return f"{above}\n\n{section}".strip()
