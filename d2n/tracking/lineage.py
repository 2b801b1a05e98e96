"""From a number to its data and back: what a run, a version or a state of the data was made from, and who used it."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import links, names, registered, uses
from d2n.tracking.registered import RegisteredVersion
from d2n.tracking.runs import RunRecord, Store

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{6,64}")
_MOST_RUNS = 1000
Step = Callable[[str], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Node:
    """One thing in a lineage."""

    id: str  # run:ID, version:NAME/3, data:DIGEST, commit:SHA, study:NAME, folder:SHA256
    kind: str  # retrieval, translation, trial, study, version, data, commit, folder …
    label: str
    facts: Mapping[str, str] = field(default_factory=dict)  # mAP and the like
    link: str = ""  # in MLflow's pages, from the # on


@dataclass(frozen=True)
class Edge:
    """``source`` was made with ``target``."""

    source: str
    target: str
    role: str  # generator, trained by, trial of, data, commit …


@dataclass
class Graph:
    """What a node was made from, and what was made from it."""

    root: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # what could not be read, and why

    def made_from(self, node: str) -> list[Edge]:
        """The edges from a node to what it was made from."""
        return [edge for edge in self.edges if edge.source == node]

    def used_in(self, node: str) -> list[Edge]:
        """The edges to a node from what was made with it."""
        return [edge for edge in self.edges if edge.target == node]

    def to_json(self) -> str:
        """Nodes, edges and what was left out."""
        nodes = [
            {"id": n.id, "kind": n.kind, "label": n.label, "facts": dict(n.facts), "link": n.link}
            for n in self.nodes.values()
        ]
        edges = [{"from": e.source, "to": e.target, "role": e.role} for e in self.edges]
        values = {"root": self.root, "nodes": nodes, "edges": edges, "left_out": self.left_out}
        return json.dumps(values, indent=2, ensure_ascii=False)


def trace(store: Store, reference: str) -> Graph:
    """Of MODEL@ALIAS, MODEL/3, a run id, or a data set's digest or its first characters: both ways, to the ends.

    RegistryError names the models and data sets that are there where nothing is found.
    """
    walk = _Walk(store)
    root = walk.find(reference)
    graph = Graph(root, walk.nodes, left_out=walk.left_out)
    up = [Edge(node, other, role) for node, other, role in _followed(root, walk.up)]
    down = [Edge(other, node, role) for node, other, role in _followed(root, walk.down)]
    graph.edges.extend(dict.fromkeys([*up, *down]))
    return graph


def _followed(root: str, step: Step) -> Iterator[tuple[str, str, str]]:
    """(node, neighbour, role) of everything that steps lead to, breadth first."""
    seen, queue = {root}, deque([root])
    while queue:
        node = queue.popleft()
        for other, role in step(node):
            yield node, other, role
            if other not in seen:
                seen.add(other)
                queue.append(other)


class _Walk:
    """Reads neighbours from the store, each thing once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.nodes: dict[str, Node] = {}
        self.left_out: list[str] = []
        self._runs: dict[str, RunRecord | None] = {}
        self._pages = links.Links(store)

    def find(self, reference: str) -> str:
        """The id of what a reference names."""
        if "@" in reference or "/" in reference:
            version = registered.resolve(self.store, reference)
            return self._version_node(version.name, version.version, version)
        if _RUN_ID.fullmatch(reference) and (run := self._run(reference)) is not None:
            return self._run_node(run)
        if _DIGEST.fullmatch(reference):
            found = self._runs_where(f"tags.`{names.DATASET_DIGEST}` LIKE '{reference}%'")
            digests = {run.dataset_digest: run.dataset for run in found}
            if len(digests) > 1:
                raise RegistryError(
                    f"{reference} begins the digests of {len(digests)} states of data ({', '.join(sorted(digests))}): "
                    "give more characters"
                )
            for digest, dataset in digests.items():
                return self._data_node(digest, dataset)
        raise RegistryError(self._absent(reference))

    def up(self, node: str) -> Iterator[tuple[str, str]]:
        """(node, role) of everything that a node was made from."""
        kind, _, key = node.partition(":")
        if kind == "version":
            name, _, number = key.rpartition("/")
            version = self._resolved(name, number)
            if version is not None and version.run_id:
                yield self._any_run(version.run_id), "trained by"
        elif kind == "run" and (run := self._run(key)) is not None:
            yield from self._used(run)
            yield from self._context(run)

    def down(self, node: str) -> Iterator[tuple[str, str]]:
        """(node, role) of everything that was made from a node."""
        kind, _, key = node.partition(":")
        if kind == "version":
            yield from self._users_of_version(key)
        elif kind == "run":
            yield from self._after_run(key)
        elif kind == "data":
            for run in self._runs_where(names.equals(f"tags.`{names.DATASET_DIGEST}`", key)):
                if run.kind != "promotion":
                    yield self._run_node(run), "data"
        elif kind == "folder":
            for role in (uses.GENERATOR, uses.QUERIES):
                for run in self._runs_where(f"tags.`{names.uses(role)}` LIKE '%{key}%'"):
                    yield self._run_node(run), role

    def _used(self, run: RunRecord) -> Iterator[tuple[str, str]]:
        try:
            found = uses.read(run.run_id, run.tags)
        except TrackingError as error:
            self._leave_out(str(error))
            return
        for role, use in found.items():
            if use.kind == "version":
                yield self._version_node(use.name, use.version), role
            elif use.kind == "run":
                yield self._any_run(use.run_id), role
            else:
                facts = {"sha256": use.sha256}
                yield self._put(Node(f"folder:{use.sha256}", "folder", use.told, facts)), role
        extractor = _extractor(run.tags)
        if extractor and uses.EXTRACTOR not in found:  # all there was before
            name, _, number = extractor.rpartition("/")
            yield self._version_node(name, number), uses.EXTRACTOR

    def _context(self, run: RunRecord) -> Iterator[tuple[str, str]]:
        tags = run.tags
        if parent := tags.get(names.PARENT_RUN):
            yield self._any_run(parent), "trial of" if names.TRIAL in tags else "part of"
        elif (study := tags.get(names.STUDY)) and tags.get(names.KIND) != "study":
            yield self._put(Node(f"study:{study}", "study", f"study {study}")), "trial of"
        if digest := tags.get(names.DATASET_DIGEST):
            yield self._data_node(digest, tags.get(names.DATASET, ""), run), "data"
        commit = tags.get(names.GIT_COMMIT) or tags.get(names.CODE_COMMIT)
        if commit:
            dirty = " with changes" if tags.get(names.GIT_DIRTY, "").lower() == "true" else ""
            yield self._put(Node(f"commit:{commit}", "commit", f"commit {commit[:12]}{dirty}")), "commit"
        elif version := tags.get(names.VERSION):
            yield self._put(Node(f"commit:d2n-{version}", "commit", f"d2n {version}, no checkout")), "commit"

    def _users_of_version(self, key: str) -> Iterator[tuple[str, str]]:
        name, _, number = key.rpartition("/")
        version = self._resolved(name, number)
        users = dict.fromkeys(version.used_by if version is not None else ())
        if version is not None and version.model_id:
            wanted = names.equals(f"tags.`{names.GENERATOR_MODEL_ID}`", version.model_id)
            users |= dict.fromkeys(run.run_id for run in self._runs_where(wanted))
        for run_id in users:
            yield self._any_run(run_id), "used by"

    def _after_run(self, run_id: str) -> Iterator[tuple[str, str]]:
        for version in self.store.call(versions_of, self.store, run_id):
            yield self._version_node(version.name, version.version, version), "trained by"
        run = self._run(run_id)
        for tag in run.tags if run is not None else ():
            if user := names.run_of_used_by(tag):
                yield self._any_run(user), "used by"
        for child in self._runs_where(names.equals(f"tags.`{names.PARENT_RUN}`", run_id)):
            yield self._run_node(child), "trial of" if names.TRIAL in child.tags else "part of"

    def _version_node(self, name: str, number: str, found: RegisteredVersion | None = None) -> str:
        known = found or self._resolved(name, number)
        aliases = f" ({', '.join(known.aliases)})" if known is not None and known.aliases else ""
        gone = "" if known is not None else ", which is not there"
        facts = {"aliases": ", ".join(known.aliases)} if known is not None and known.aliases else {}
        label = f"{name} version {number}{aliases}{gone}"
        return self._put(
            Node(f"version:{name}/{number}", "version", label, facts, links.version(name, number))
        )

    def _resolved(self, name: str, number: str) -> RegisteredVersion | None:
        try:
            return registered.resolve(self.store, f"{name}/{number}")
        except RegistryError as error:
            self._leave_out(f"{name} version {number}: {error}")
            return None

    def _data_node(self, digest: str, dataset: str, run: RunRecord | None = None) -> str:
        link = self._pages.data(digest, run.experiment) if run is not None else ""
        return self._put(
            Node(f"data:{digest}", "data", f"data {dataset} {digest[:12]}", {"digest": digest}, link)
        )

    def _any_run(self, run_id: str) -> str:
        run = self._run(run_id)
        if run is not None:
            return self._run_node(run)
        return self._put(Node(f"run:{run_id}", "run", f"run {run_id}, which is not there"))

    def _run_node(self, run: RunRecord) -> str:
        self._runs.setdefault(run.run_id, run)
        kind = "trial" if names.TRIAL in run.tags else run.kind or "run"
        facts = {key: f"{100 * value:.1f}" for key, value in run.metrics.items() if key.startswith("map/")}
        facts |= {"status": run.status}
        words = f"{kind} {run.name}" if kind not in run.name else run.name
        label = f"{words} ({run.run_id[:8]})"
        return self._put(Node(f"run:{run.run_id}", kind, label, facts, self._pages.run(run)))

    def _run(self, run_id: str) -> RunRecord | None:
        if run_id not in self._runs:
            try:
                self._runs[run_id] = self.store.get(run_id)
            except TrackingError as error:
                if "no run" not in str(error):
                    raise
                self._runs[run_id] = None
                self._leave_out(str(error))
        return self._runs[run_id]

    def _runs_where(self, wanted: str) -> list[RunRecord]:
        found = self.store.search(wanted, _MOST_RUNS) if wanted else []
        if len(found) == _MOST_RUNS:
            self._leave_out(f"runs beyond the newest {_MOST_RUNS} with {wanted}")
        return found

    def _put(self, node: Node) -> str:
        self.nodes.setdefault(node.id, node)
        return node.id

    def _leave_out(self, line: str) -> None:
        if line not in self.left_out:
            self.left_out.append(line)

    def _absent(self, reference: str) -> str:
        models = ", ".join(registered.list_models(self.store)) or "none"
        digests: dict[str, str] = {}
        for run in self.store.search("", _MOST_RUNS):
            if digest := run.dataset_digest:
                digests.setdefault(digest, run.dataset)
        data = ", ".join(f"{name} {digest[:12]}" for digest, name in digests.items()) or "none"
        return (
            f"{reference!r} is nothing in {self.store.display_uri}: expected MODEL@ALIAS or MODEL/VERSION (models: "
            f"{models}), a run id, or the digest of a data set ({data})"
        )


def versions_of(store: Store, run_id: str) -> list[RegisteredVersion]:
    """Registered versions that a run trained."""
    found = store.client.search_model_versions(names.equals("run_id", run_id), max_results=100)
    return [registered.as_version(version) for version in found]


def _extractor(tags: Mapping[str, str]) -> str:
    """The version of the registry that a translation run was scored with, by its protocol."""
    try:
        values = json.loads(tags.get(names.PROTOCOL_TEXT, "{}"))
        extractor = str(values.get("extractor", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
    named = extractor.removeprefix(names.EXTRACTOR) if extractor.startswith(names.EXTRACTOR) else ""
    return named if "/" in named else ""
