"""The registered retrieval network that ``network.weights`` names, as a file of this machine: where a run begins."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from d2n.config import NetworkConfig
from d2n.errors import ConfigError, DataError
from d2n.files.reading import file_sha256
from d2n.files.scratch import scratch
from d2n.files.writing import write_bytes
from d2n.retrieval import network as retrieval_network
from d2n.tracking import models, registry, uses
from d2n.workflows.evaluation import find_folder
from d2n.workflows.preflight import start_reference

if TYPE_CHECKING:
    from pathlib import Path

    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)
FOLDER = "networks"  # below the work folder: by the digest of what is in it
_PREPARING = ("input", "mean", "std", "light", "pooling", "gem_per_channel")  # what weights are used to


def pulled(
    network: NetworkConfig, store: Store, reference: str | None = None
) -> tuple[NetworkConfig, uses.Use | None]:
    """The knobs with a file in the place of what ``weights`` names in the registry, and its use; else as they are.

    ``reference`` goes before the knobs': what an interrupted run began with. ConfigError where it is no retrieval
    network. Where its images were prepared otherwise, a warning.
    """
    named = start_reference(network)
    if named is None:
        return network, None
    version = registry.resolve(store, reference or named)
    with scratch("download") as folder:
        found = registry.download(store, version.reference, folder / "model")
        models.make_safe(found)
        try:
            inside = find_folder(found, retrieval_network.WEIGHTS_FILE)
        except DataError:
            raise ConfigError(
                f"network.weights: {version.name} version {version.version} is no retrieval network; expected one that "
                "`d2n retrieve` registered (register_as)"
            ) from None
        _, config, _ = retrieval_network.load(inside)
        _tell_preparation(network, config, f"{version.name} version {version.version}")
        path = _kept(inside / retrieval_network.WEIGHTS_FILE, store.work_root / FOLDER)
    use = uses.Use(
        uses.START, "version", version.name, version.version, version.run_id, version.model_id, path.stem
    )
    return dataclasses.replace(network, weights=str(path)), use


def _kept(file: Path, folder: Path) -> Path:
    path = folder / f"{file_sha256(file)}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, file.read_bytes())
    return path


def _tell_preparation(asked: NetworkConfig, own: NetworkConfig, told: str) -> None:
    other = [name for name in _PREPARING if getattr(asked, name) != getattr(own, name)]
    if other:
        knobs = ", ".join(f"network.{name}={getattr(own, name)}" for name in other)
        logger.warning("network.weights: %s was trained with %s; this run has others", told, knobs)
