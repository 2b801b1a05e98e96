"""A retrieval network from wherever it lies: the registry, a run, a folder, or a published file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n.config import NetworkConfig, RetrievalExperiment, build_experiment, stored_experiment
from d2n.datasets import rsfm
from d2n.errors import ConfigError, RegistryError, TrackingError, WeightsError
from d2n.files.json import read_json_object
from d2n.files.scratch import scratch
from d2n.retrieval import network, published
from d2n.retrieval.weights import read_file
from d2n.retrieval.whitening import Whitening
from d2n.tracking import names, registry
from d2n.workflows import light
from d2n.workflows.evaluation import find_folder

if TYPE_CHECKING:
    from d2n.datasets.tuples import RetrievalSet
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store

_RUN_ID = re.compile(r"[0-9a-f]{32}")
STORED, NO_WHITENING = "stored", "none"


@dataclass(frozen=True)
class Model:
    """A network ready to describe images, and where it came from."""

    net: network.RetrievalNetwork
    experiment: RetrievalExperiment  # its knobs, and how it is evaluated
    origin: str
    stored: Whitening | None = None
    meta: published.Meta | None = None
    path: Path | None = None  # of a published file
    version: RegisteredVersion | None = None


def open_model(reference: str, overrides: Iterable[str], store: Store) -> Model:
    """NAME@ALIAS, NAME/VERSION, a run id, a folder that d2n wrote, or a file of cirtorch, mdir, gandtr or torchvision.

    ``overrides`` are knobs of ``network.`` and ``evaluation.``; a run's own are taken else. WeightsError, RegistryError
    or ConfigError in one line.
    """
    overrides = list(overrides)
    strange = [
        one for one in overrides if not one.startswith(("network.", "evaluation.", "training.device="))
    ]
    if strange:
        raise ConfigError(f"--set {strange[0]}: nothing is trained here; expected network.… or evaluation.…")
    path = Path(reference)
    if path.is_dir():
        return _of_folder(path, str(path), _experiment({}, overrides, "options"), store)
    if path.is_file():
        return _of_file(path, overrides, store)
    with scratch("download") as folder:
        if _RUN_ID.fullmatch(reference):
            record = store.get(reference)
            model_id = record.logged_model
            try:
                found = (
                    registry.download_model(store, model_id, folder / "model")
                    if model_id
                    else store.artifact(reference, "network", folder)
                )
            except TrackingError as error:
                raise RegistryError(
                    f"run {reference} ({record.status}) holds no retrieval network; finished `d2n retrieve` runs do"
                ) from error
            return _of_folder(found, f"run {reference}", _of_run(store, reference, overrides), store)
        version = registry.resolve(store, reference)
        found = registry.download(store, version.reference, folder / "model")
        experiment = _of_run(store, version.run_id, overrides)
        origin = f"{version.name} version {version.version}"
        return dataclasses.replace(_of_folder(found, origin, experiment, store), version=version)


def whitening_of(model: Model, wanted: str) -> Whitening | None:
    """The whitening that ``wanted`` names: stored, none, a file of m and P, or a name in the checkpoint's Lw.

    WeightsError where it does not fit the network's descriptors: it belongs to another network.
    """
    if wanted == NO_WHITENING:
        return None
    scales = model.experiment.evaluation.scales
    if wanted != STORED:
        found, source = _named_whitening(model, wanted, scales)
    elif model.stored is not None or model.path is None or model.meta is None:
        found, source = model.stored, model.origin
    else:
        found, source = published.stored_whitening(model.meta, scales, str(model.path)), str(model.path)
        beside = published.whitening_beside(model.path, scales) if found is None else None
        if beside is not None:
            found, source = published.read_whitening(beside), str(beside)
    if found is not None:
        refuse_other_width(found, network.descriptor_dim(model.net), source)
    return found


def whitening_pairs(wanted: str) -> RetrievalSet | None:
    """The images and pairs of a published ``…-whiten.pkl``, which whitening is learned on; None for another name."""
    path = Path(wanted)
    return rsfm.whitening_set(path) if path.name.endswith("-whiten.pkl") else None


def refuse_other_width(whitening: Whitening, dim: int, source: str) -> None:
    """WeightsError unless the whitening was learned on descriptors of that many dimensions."""
    width = whitening.projection.shape[1]
    if width != dim:
        raise WeightsError(
            f"{source}: a whitening of {width} dimensions, and the network's descriptors have {dim}: it belongs to "
            "another network; name its own with --whitening, or none"
        )


def _named_whitening(model: Model, wanted: str, scales: Sequence[float]) -> tuple[Whitening | None, str]:
    if Path(wanted).is_file():
        return published.read_whitening(wanted), wanted
    if model.meta is None or not model.meta.whitenings or model.path is None:
        raise WeightsError(
            f"--whitening {wanted}: no such file, and {model.origin} holds no whitenings by name; expected stored, "
            "none, a file of m and P, or a …-whiten.pkl to learn on"
        )
    return published.stored_whitening(model.meta, scales, str(model.path), wanted), str(model.path)


def _of_folder(folder: Path, origin: str, experiment: RetrievalExperiment, store: Store) -> Model:
    net, config, stored = network.load(find_folder(folder, network.WEIGHTS_FILE))
    asked, _ = light.pulled(experiment.network, store)
    if asked.light != "none" or asked.mean is not None or asked.std is not None:
        told = {
            key: getattr(asked, key)
            for key in ("light", "light_weights", "clahe_clip_limit", "clahe_grid", "gamma_target")
        }
        told |= {key: getattr(asked, key) for key in ("mean", "std") if getattr(asked, key) is not None}
        config = dataclasses.replace(config, **told)
        net = network.as_told(net, config)
    return Model(net, dataclasses.replace(experiment, network=config), origin, stored)


def _of_file(path: Path, overrides: list[str], store: Store) -> Model:
    content = published.inner(read_file(path))
    meta = published.read_meta(content, str(path)) if published.is_published(content) else None
    values: dict[str, Any] = {"network": {"weights": str(path)}}
    if meta is not None and not any(one.startswith("network.backbone=") for one in overrides):
        if not isinstance(meta.architecture, str):
            raise WeightsError(
                f"{path}: does not say its architecture; name it with --set network.backbone=NAME"
            )
        values["network"]["backbone"] = meta.architecture
    elif meta is None and not any(one.startswith("network.backbone=") for one in overrides):
        raise WeightsError(
            f"{path}: weights without a word about their network; name it with --set network.backbone=NAME"
        )
    experiment = _experiment(values, overrides, str(path))
    config, _ = light.pulled(experiment.network, store)
    return Model(network.build(config), experiment, str(path), meta=meta, path=path)


def _of_run(store: Store, run_id: str, overrides: list[str]) -> RetrievalExperiment:
    """The run's knobs under the overrides; defaults where it logged none."""
    values: dict[str, Any] = {}
    if run_id:
        with scratch("config") as folder:
            try:
                path = store.artifact(run_id, names.CONFIG_JSON, folder)
                values = read_json_object(path, TrackingError)
            except (TrackingError, OSError):
                values = {}
    if values and not isinstance(stored_experiment(values, f"run {run_id}"), RetrievalExperiment):
        raise RegistryError(f"run {run_id} trained a translator, expected a retrieval network")
    return _experiment(values, overrides, f"run {run_id}")


def _experiment(values: dict[str, Any], overrides: list[str], source: str) -> RetrievalExperiment:
    experiment = build_experiment({**values, "kind": "retrieval"}, overrides, source)
    if not isinstance(experiment, RetrievalExperiment):
        raise ConfigError(f"{source}: no retrieval experiment")
    return experiment


def network_knobs(model: Model) -> NetworkConfig:
    """The network's knobs, with what its file told."""
    return model.net.knobs or model.experiment.network
