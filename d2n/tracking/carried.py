"""A run's working files in the artifact store, so that a machine with an empty disk can go on with it.

Files stand under ``resume/`` by their sha256, and manifests beside them say which files belong together: a manifest is
written after all of its files, so that whoever reads the newest one finds a whole. Files that no manifest names, and
older manifests, are removed after that; all of it when the run is over.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from d2n.errors import DataError, TrackingError
from d2n.files.json import read_json
from d2n.files.reading import file_sha256
from d2n.files.scratch import scratch
from d2n.files.writing import aside
from d2n.tracking.connection import Connection

logger = logging.getLogger(__name__)
FOLDER = "resume"
_MANIFEST = re.compile(r"manifest-(\d{8})\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_READS = 5  # of files that are replaced meanwhile
_T = TypeVar("_T")


@dataclass(frozen=True)
class Manifest:
    """Files that belong together: their paths in the run's folder, and their sums."""

    number: int
    sums: Mapping[str, str]


def unreplaced(store: Connection, run_id: str, read: Callable[[], _T]) -> _T:
    """What ``read`` gives; it is asked again where what it was reading went, since its sender stored newer files."""
    for left in reversed(range(_READS)):
        stored = _stored(store, run_id)
        try:
            return read()
        except TrackingError:
            if not left or stored <= _stored(store, run_id):
                raise
    raise AssertionError("unreachable")


def newest(store: Connection, run_id: str) -> Manifest | None:
    """The last whole one; None where the run has none."""

    def read() -> Manifest | None:
        stored = _stored(store, run_id)
        whole = (one for one in _manifests(store, run_id, stored) if set(one.sums.values()) <= stored)
        return next(whole, None)

    return unreplaced(store, run_id, read)


def put(store: Connection, run_id: str, files: Mapping[str, Path]) -> Manifest:
    """Store files by their paths in the run's folder; what is there already is not sent again.

    The files must not change meanwhile. TrackingError where the store does not take them.
    """
    sums = {name: file_sha256(path) for name, path in files.items()}
    stored = _stored(store, run_id)
    for name, sha256 in sums.items():
        if sha256 not in stored:
            _send(store, run_id, files[name], sha256)
            stored.add(sha256)
    number = 1 + max((_number(name) for name in stored), default=0)
    text = json.dumps({"files": dict(sorted(sums.items()))}, indent=1)
    store.call(store.client.log_text, run_id, text, f"{FOLDER}/manifest-{number:08d}.json")
    _remove(store, run_id, stored - set(sums.values()))
    return Manifest(number, sums)


def get(store: Connection, run_id: str, manifest: Manifest, folder: Path) -> None:
    """Bring the files of a manifest into the run's folder, each held against its sum; TrackingError else.

    Call it in ``unreplaced`` where the run's sender may live.
    """
    for name, sha256 in manifest.sums.items():
        target = folder / name
        if target.is_file() and file_sha256(target) == sha256:
            continue
        with scratch("resume") as above:
            got = Path(store.call(store.client.download_artifacts, run_id, f"{FOLDER}/{sha256}", str(above)))
            if file_sha256(got) != sha256:
                raise TrackingError(f"run {run_id}: {FOLDER}/{sha256} is damaged in the artifact store")
            target.parent.mkdir(parents=True, exist_ok=True)
            with aside(target, durable=True) as part, got.open("rb") as source, part.open("wb") as sink:
                while block := source.read(1 << 20):
                    sink.write(block)


def drop(store: Connection, run_id: str) -> None:
    """Remove all of it; what the store does not remove is logged, and left."""
    stored = _stored(store, run_id)
    if stored:
        manifests = {name for name in stored if _MANIFEST.fullmatch(name)}
        _remove(store, run_id, manifests)  # first: nobody takes what is about to go
        _remove(store, run_id, stored - manifests)


def _stored(store: Connection, run_id: str) -> set[str]:
    """Names below the folder."""
    listed = store.call(store.client.list_artifacts, run_id, FOLDER)
    return {PurePosixPath(one.path).name for one in listed if not one.is_dir}


def _manifests(store: Connection, run_id: str, stored: set[str]) -> Iterator[Manifest]:
    """Those that can be read, the newest first."""
    for name in sorted((name for name in stored if _MANIFEST.fullmatch(name)), reverse=True):
        sums: Mapping[str, str] = {}
        with scratch("manifest") as above, contextlib.suppress(DataError, OSError):
            path = store.call(store.client.download_artifacts, run_id, f"{FOLDER}/{name}", str(above))
            sums = _sums(read_json(path, DataError))
        if sums:
            yield Manifest(_number(name), sums)


def _sums(content: Any) -> dict[str, str]:
    """{} for what is no manifest: a path that leads out of the folder is none."""
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        return {}
    for name, sha256 in files.items():
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name.startswith("/")
            or ".." in parts
            or "\\" in name
            or not _SHA256.fullmatch(str(sha256))
        ):
            return {}
    return files


def _number(name: str) -> int:
    found = _MANIFEST.fullmatch(name)
    return int(found[1]) if found else 0


def _send(store: Connection, run_id: str, path: Path, sha256: str) -> None:
    """Under its sum's name: MLflow keeps that of the file."""
    named = path.with_name(sha256)
    path.rename(named)
    try:
        store.call(store.client.log_artifact, run_id, str(named), FOLDER)
    finally:
        named.rename(path)


def _remove(store: Connection, run_id: str, names: set[str]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if not names:
        return
    uri = store.call(store.client.get_run, run_id).info.artifact_uri
    repository = get_artifact_repository(uri, tracking_uri=store.uri)
    for name in sorted(names):
        try:
            store.call(repository.delete_artifacts, f"{FOLDER}/{name}")
        except (TrackingError, NotImplementedError) as error:
            logger.warning("run %s: %s/%s stays in the artifact store: %s", run_id, FOLDER, name, error)
            return
