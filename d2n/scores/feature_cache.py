"""Features on disk, keyed by what they were computed from; bounded, atomic, shared by processes without a lock."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from d2n.errors import ScoreError
from d2n.files.npz import json_text, read_npz
from d2n.files.refusals import refusal
from d2n.files.writing import aside

_GONE = "was dropped meanwhile"
logger = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]


class FeatureCache:
    """One .npz a set of images and extractor, with its provenance; the least recently used go first.

    Files are written aside and renamed, so a reader sees a whole file or none; a damaged one is dropped and
    computed again; one that may not be read stays. Two processes that miss at once both compute and write the
    same bytes.
    """

    def __init__(self, folder: str | Path, max_mb: float = 512) -> None:
        self.folder, self.max_mb = Path(folder), max_mb

    def get(self, identity: Mapping[str, str], sha256s: Sequence[str]) -> Features | None:
        """(N, D) in the order of ``sha256s``, or None; the order at writing does not matter."""
        path = self._path(identity, sha256s)
        features = _read(path, identity)
        order = sorted(set(sha256s))
        if features is None or len(features) != len(order):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        place = {sha: i for i, sha in enumerate(order)}
        return features[[place[sha] for sha in sha256s]]

    def put(self, identity: Mapping[str, str], sha256s: Sequence[str], features: Features) -> None:
        """Keep (N, D) features; a full or read-only disk is logged and nothing is kept."""
        place = {sha: i for i, sha in enumerate(sha256s)}
        rows = features[[place[sha] for sha in sorted(place)]]
        path = self._path(identity, sha256s)
        try:
            _write(path, rows, identity)
            self._evict(keep=path)
        except OSError as error:
            logger.warning("%s: features are not cached (%s)", self.folder, refusal(error) or error)

    def _path(self, identity: Mapping[str, str], sha256s: Sequence[str]) -> Path:
        text = json.dumps([dict(identity), sorted(set(sha256s))], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

    def _evict(self, keep: Path) -> None:
        """Delete the longest unused files until the bound holds; others may be deleting too."""
        entries = []
        for path in self.folder.glob("*.npz"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                entries.append((stat.st_mtime, stat.st_size, path))
        excess = sum(size for _, size, _ in entries) - self.max_mb * 2**20
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            if path != keep or size > self.max_mb * 2**20:
                path.unlink(missing_ok=True)
                excess -= size


def _read(path: Path, identity: Mapping[str, str]) -> Features | None:
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return None
    except OSError as error:  # another user's, or a disk that is away: the file may well be whole
        logger.warning("%s: cannot be read (%s); the features are computed", path, error.strerror or error)
        return None
    try:
        arrays = read_npz(path, ("features", "provenance"), ScoreError, _GONE)
        features, provenance = arrays["features"], json_text(arrays["provenance"])
    except (ScoreError, LookupError, ValueError) as error:
        if str(error).endswith(_GONE) or not path.exists():  # another process made room
            return None
        logger.warning("%s: a damaged cache file, computed again (%s)", path, error)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    valid = provenance == dict(identity) and features.ndim == 2 and features.dtype == np.float32
    return features if valid else None


def _write(path: Path, features: Features, identity: Mapping[str, str]) -> None:
    with aside(path) as part, part.open("wb") as file:
        np.savez(file, features=features, provenance=json.dumps(dict(identity)))
