"""Reference statistics: computed once a data set and protocol, kept as .npz in the common mu / sigma format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from d2n.core import ScoreProtocol
from d2n.errors import ProtocolMismatchError, ScoreError
from d2n.files.fields import check_fields
from d2n.files.npz import json_text, read_npz
from d2n.files.reading import reason
from d2n.files.writing import aside
from d2n.scores.frechet import FeatureStats


def save_statistics(path: str | Path, stats: FeatureStats, protocol: ScoreProtocol | None = None) -> None:
    """Write ``mu`` (D,), ``sigma`` (D, D) and, as JSON text, the provenance; readers of mu and sigma ignore it."""
    path = Path(path)
    provenance = {
        "num_images": stats.num_images,
        "protocol": None if protocol is None else protocol.known,
    }
    with aside(path) as part, part.open("wb") as file:
        np.savez(file, mu=stats.mean, sigma=stats.covariance, provenance=json.dumps(provenance))


def load_statistics(path: str | Path, protocol: ScoreProtocol | None = None) -> FeatureStats:
    """Read mu and sigma, this project's or another's.

    With ``protocol``, files of another protocol or without one are refused (ProtocolMismatchError).
    Raises ScoreError for a file that is absent, damaged or without mu and sigma.
    """
    path = Path(path)
    absent = "no such statistics file; expected an .npz with mu and sigma"
    try:
        arrays = read_npz(path, ("mu", "sigma", "provenance"), ScoreError, absent, "not statistics")
        mu, sigma = (np.asarray(arrays[name], dtype=np.float64) for name in ("mu", "sigma"))
        provenance = json_text(arrays["provenance"]) if "provenance" in arrays else {}
        num_images = provenance.get("num_images")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ScoreError(
            f"{path}: not statistics ({reason(error)}); expected an .npz with mu (D,) and sigma (D, D)"
        ) from error
    if protocol is not None:
        _refuse_other(path, provenance.get("protocol"), protocol)
    return FeatureStats.from_moments(mu, sigma, num_images if isinstance(num_images, int) else None)


def reference_statistics(features: Any, protocol: ScoreProtocol, folder: str | Path) -> FeatureStats:
    """Statistics of the reference's (N, D) features: read from ``folder`` when made under this protocol before.

    ``features`` may be a function that computes them, called only when they are needed.
    """
    path = Path(folder) / f"reference-{protocol.identity}.npz"
    if path.is_file():
        return load_statistics(path, protocol)
    stats = FeatureStats.from_features(features() if callable(features) else features)
    save_statistics(path, stats, protocol)
    return stats


def _refuse_other(path: Path, found: Any, expected: ScoreProtocol) -> None:
    if found is not None:
        check_fields(ScoreProtocol, found, f"{path}: not statistics", ScoreError)
    try:
        made = None if found is None else ScoreProtocol(**found)
    except TypeError:
        made = None
    if made is None or made.identity != expected.identity:
        described = "an unknown protocol" if made is None else made.describe()
        raise ProtocolMismatchError(
            f"{path}: statistics of {described}, expected {expected.describe()}; compute them again"
        )
