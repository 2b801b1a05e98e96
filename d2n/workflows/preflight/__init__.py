"""What can be refused before anything heavy is imported: wrong names, files and folders that are not there.

Neither torch (but to ask for an accelerator that is named) nor mlflow nor optuna is loaded here; the command line
asks first, then says what it starts.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from d2n import datasets, naming, shipped
from d2n.config import (
    DatasetConfig,
    Experiment,
    NetworkConfig,
    PromotionConfig,
    RetrievalExperiment,
    TranslationExperiment,
    nearest,
    read_yaml,
)
from d2n.devices import require_device
from d2n.errors import ConfigError, D2NError, DataError, StudyError, TrackingError, WeightsError
from d2n.retrieval.vectors import require_store
from d2n.scores import SCORES
from d2n.tracking.names import EXTRACTOR

_REGISTERED = re.compile(r"(models:/)?[^/@]+(@[^/@]+|/[0-9]{1,9})|[0-9a-f]{32}")
_RUN = re.compile(r"[0-9a-f]{32}")
STORE, STUDIES = Path("mlruns/mlflow.db"), Path("mlruns/optuna.db")


class NotHereYetError(DataError):
    """The embedded data set, or a network trained on it, has yet to be made; the message says how."""


def translation(experiment: Experiment, tracking_uri: str | None = None) -> TranslationExperiment:
    """The experiment, if `d2n train` can take it: its kind, scores, weights file, data set, extractor's store."""
    if isinstance(experiment, RetrievalExperiment):
        raise ConfigError(f"{experiment.name} is a retrieval experiment; run it with `d2n retrieve`")
    require_device(experiment.training.device)
    evaluation = experiment.evaluation
    check_scores(evaluation.scores)
    _weights(evaluation.weights)
    named = (
        [evaluation.extractor.removeprefix(EXTRACTOR)] if evaluation.extractor.startswith(EXTRACTOR) else []
    )
    _made_first(experiment.dataset, named, tracking_uri)
    return experiment


def retrieval(experiment: Experiment, tracking_uri: str | None = None) -> RetrievalExperiment:
    """The experiment, if `d2n retrieve` can take it: its kind, weights file, data set, benchmarks, generators."""
    if isinstance(experiment, TranslationExperiment):
        raise ConfigError(f"{experiment.name} is a translation experiment; run it with `d2n train`")
    require_device(experiment.training.device)
    check_knobs(experiment)
    night, evaluation = experiment.night, experiment.evaluation
    if night.augmentation == "generator" and not night.generator:
        raise ConfigError(
            "night.augmentation is generator, but night.generator names none; expected models:/NAME@ALIAS"
        )
    start = start_reference(experiment.network)
    _weights(None if start or experiment.network.weights == "none" else experiment.network.weights)
    registered = light_reference(experiment.network)
    _weights(None if registered else experiment.network.light_weights)
    by_night = night.generator if night.augmentation == "generator" else None
    wanted = (by_night, evaluation.query_translation, registered, start)
    _made_first(
        experiment.dataset, [name for name in wanted if name and not Path(name).exists()], tracking_uri
    )
    if night.augmentation == "oracle":
        data = experiment.dataset
        datasets.require_true_nights(datasets.open_index(data.name, root=data.root, index=data.index))
    for name, root, index in benchmark_places(experiment):
        datasets.open_index(name, root=root, index=index)
    return experiment


def check_knobs(experiment: RetrievalExperiment) -> None:
    """Refuse what the knobs alone tell: no benchmark, folders of none, scales that are none, a name that is none."""
    config = experiment.evaluation
    if experiment.register_as is not None:
        naming.checked_network(experiment.register_as, "register_as")
    _check_light(experiment.network)
    _check_patience(experiment)
    if not config.benchmarks:
        raise ConfigError("evaluation.benchmarks is empty, expected at least one to measure")
    stray = [name for name in config.roots if name not in config.benchmarks]
    if stray:
        known = ", ".join(config.benchmarks)
        raise ConfigError(
            f"evaluation.roots names {stray[0]!r}, which is none of evaluation.benchmarks ({known})"
        )
    wrong = [scale for scale in config.scales if not (math.isfinite(scale) and scale > 0)]
    if wrong:
        raise ConfigError(
            f"evaluation.scales holds {wrong[0]}, expected numbers above 0, such as 1.0 and 0.5"
        )


def _check_patience(experiment: RetrievalExperiment) -> None:
    training = experiment.training
    if training.patience and not experiment.evaluation.validate_every_epochs:
        raise ConfigError(
            f"training.patience is {training.patience}, and evaluation.validate_every_epochs is 0: nothing tells when "
            "to stop; set how often validation queries are measured"
        )
    if training.patience and training.average_last > 1:
        raise ConfigError(
            f"training.patience {training.patience} ends with the best weights and training.average_last "
            f"{training.average_last} with the mean of the last epochs' weights: set one of them to 0"
        )


def _check_light(network: NetworkConfig) -> None:
    is_own = (
        network.weights is not None and network.weights != "none"
    )  # its file may hold the photometric one
    if network.light == "photometric" and network.light_weights is None and not is_own:
        raise ConfigError(
            "network.light is photometric, and network.light_weights names no file of its network"
        )
    if network.light != "photometric" and network.light_weights is not None:
        raise ConfigError(
            f"network.light_weights is {network.light_weights}, and network.light {network.light} takes none; set "
            "network.light=photometric, or leave the file out"
        )


def light_reference(network: NetworkConfig) -> str | None:
    """NAME@ALIAS, NAME/VERSION or a run id that network.light_weights names; None of a file, and of nothing."""
    named = network.light_weights
    if named is None or Path(named).exists() or not _REGISTERED.fullmatch(named):
        return None
    return named


def start_reference(network: NetworkConfig) -> str | None:
    """NAME@ALIAS or NAME/VERSION of a registered network that network.weights names; None of a file, and of nothing."""
    named = network.weights
    if named is None or Path(named).exists() or not _REGISTERED.fullmatch(named) or _RUN.fullmatch(named):
        return None
    return named


def benchmark_places(experiment: RetrievalExperiment) -> list[tuple[str, str | None, str | None]]:
    """Name, root and index of every benchmark asked for; the training set's own lies where the training set lies."""
    data, evaluation = experiment.dataset, experiment.evaluation
    return [
        (
            name,
            evaluation.roots.get(name, data.root if name == data.name else None),
            data.index if name == data.name else None,
        )
        for name in evaluation.benchmarks
    ]


def study(path: Path, overrides: Iterable[str] = (), tracking_uri: str | None = None) -> str:
    """The name of the study, if `d2n search` can take it: its YAML, every dimension, its experiment."""
    from d2n.studies.loading import load_study

    definition = load_study(path, overrides)
    experiment, arm = definition.experiment, definition.arm
    if isinstance(experiment, TranslationExperiment):
        translation(experiment, tracking_uri)
    else:
        retrieval(experiment, tracking_uri)
    if arm is not None:  # each trial's generator is its night
        night = dataclasses.replace(arm.night, augmentation="none", generator=None)
        retrieval(dataclasses.replace(arm, night=night), tracking_uri)
    return definition.config.name


def scoring(
    names: Sequence[str],
    run_id: str | None,
    real: Path | None,
    fake: Path | None,
    weights: Path | None = None,
    tracking_uri: str | None = None,
) -> None:
    """`d2n score` takes a run or two folders, with known scores."""
    check_scores(names)
    if (run_id is None) == (real is None and fake is None) or (real is None) != (fake is None):
        raise ConfigError("expected either a RUN_ID, or --real DIR with --fake DIR")
    _weights(weights)
    for folder in (real, fake):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    if run_id is not None:
        store(tracking_uri)


def scoring_elsewhere(run_id: str | None, dataset: str | None, root: Path | None) -> None:
    """`d2n score --on` scores a run's generator on a data set that is prepared here."""
    if dataset is None:
        if root is not None:
            raise ConfigError(f"--root {root} says where the data set of --on lies: add --on NAME")
        return
    if run_id is None:
        raise ConfigError(f"--on {dataset} scores the generator of a run: expected a RUN_ID")
    from d2n import datasets

    datasets.open_index(dataset, root=str(root) if root is not None else None)


def promoting(rule: PromotionConfig, tracking_uri: str | None = None) -> None:
    """`d2n promote` decides by scores that there are, within bounds that can be read."""
    from d2n import promotion

    metrics = [metric.name for metric in promotion.parse_metrics(rule.metric)]
    bounds = [bound.name for bound in promotion.parse_constraints(rule.constraints)]
    known = {base for kind in SCORES.values() for base in kind.bases}
    for name in (*metrics, *bounds):
        if not name.startswith("map/") and name.split(".")[0] not in known:
            listed = ", ".join(sorted(known))
            raise ConfigError(f"metric {name!r}{nearest(name, known)} (known: {listed}, map/<benchmark>)")
    store(tracking_uri)


def translating(model: str, source: Path, device: str = "auto", tracking_uri: str | None = None) -> None:
    """`d2n translate` reads what is there, with a generator from a folder or from a store, on a device that is here."""
    require_device(device)
    if not model:
        raise ConfigError(
            "MODEL is empty, expected NAME@ALIAS, a run id, or a folder with generator.safetensors"
        )
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if not Path(model).exists():
        store(tracking_uri)


def evaluating(
    model: str, root: Path | None, overrides: Sequence[str], tracking_uri: str | None = None
) -> None:
    """`d2n evaluate` reads a network that is there, or one of a store that is there."""
    if not model:
        raise ConfigError("MODEL is empty, expected NAME@ALIAS, a run id, a folder or a file of weights")
    if root is not None and not root.is_dir():
        raise DataError(f"--root {root}: no such folder")
    if not Path(model).exists():
        if "/" in model.removeprefix("models:/") and Path(model).suffix:
            raise WeightsError(
                f"{model}: no such file; name a network's file or folder, NAME@ALIAS or a run id"
            )
        store(tracking_uri)


def finding(photo: Path, folder: Path, model: str | None, tracking_uri: str | None = None) -> None:
    """`d2n find` reads a photograph and a folder that are there, with a network that is."""
    if not photo.is_file():
        raise DataError(f"{photo}: no such photograph")
    folder_of_photographs(folder)
    if model is None:
        store(tracking_uri)
    else:
        evaluating(model, None, (), tracking_uri)


def searching(url: str | None, approximate: bool, *, is_there: bool = False) -> None:
    """Search through a vector store that is there; ConfigError for --approximate without one."""
    if url is not None:
        require_store(url, is_there=is_there or approximate)
    elif approximate:
        raise ConfigError("--approximate: search in memory is exact; name a vector store with --vectors")


def folder_of_photographs(folder: Path) -> None:
    """DataError where there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")


def store(tracking_uri: str | None = None) -> None:
    """TrackingError where the store is the default one and nothing was ever tracked in this folder."""
    if not _has_store(tracking_uri):
        raise TrackingError(
            f"{STORE}: no such file: nothing was tracked in {Path.cwd()} yet; go to the folder you trained in, "
            "name its store with --tracking-uri, or begin with `d2n demo` or `d2n train`"
        )


def studies(study_storage: str | None = None) -> None:
    """StudyError where the storage is the default one and no study was ever started in this folder."""
    if not (study_storage or os.environ.get("D2N_STUDY_STORAGE") or STUDIES.exists()):
        raise StudyError(
            f"no studies yet: {STUDIES} does not exist in {Path.cwd()}; `d2n search STUDY` starts one"
        )


def check_scores(names: Sequence[str]) -> None:
    """ConfigError that names the nearest known score."""
    for name in names:
        if name not in SCORES:
            raise ConfigError(f"unknown score {name!r}{nearest(name, SCORES)} (known: {', '.join(SCORES)})")


def _has_store(tracking_uri: str | None) -> bool:
    return bool(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")) or STORE.exists()


def _weights(path: str | Path | None) -> None:
    if path is not None and not Path(path).is_file():
        raise WeightsError(
            f"{path}: no such weights file; leave it out for torchvision's own, or name a file"
        )


def _made_first(data: DatasetConfig, models: Sequence[str], tracking_uri: str | None) -> None:
    """Refuse in one line what is not here, with every command that makes it."""
    missing: list[str] = []
    commands: list[str] = []
    if _is_unmade(data):
        missing.append(f"data/{data.name}: no index of {data.name}")
        commands.append(f"`d2n data make {data.name}`")
    else:
        datasets.open_index(data.name, root=data.root, index=data.index, rule=dict(data.rule) or None)
    if models and not _has_store(tracking_uri):
        missing.append(f"{STORE}: no store to take {' and '.join(models)} from")
        commands += [command for model in models for command in _makers(model, data.name)]
    if commands:
        raise NotHereYetError(f"{', '.join(missing)}; run first {', then '.join(dict.fromkeys(commands))}")


def _is_unmade(data: DatasetConfig) -> bool:
    """A set that is rendered, in its own place, and not there yet."""
    kind = datasets.SETS.get(data.name)
    if kind is None or kind.listing is not None or data.root is not None or data.index is not None:
        return False
    home = Path(os.environ.get("D2N_DATA", "data")) / data.name
    return not datasets.index_path(home, data.name).exists()


def _makers(model: str, dataset: str) -> list[str]:
    """The commands that register a model: the retrieval experiment that names it, else a promotion."""
    bare = model.removeprefix("models:/").partition("@")[0].partition("/")[0]
    for name in shipped.names("experiments"):
        try:
            values = read_yaml(shipped.find("experiments", name))
        except D2NError:
            continue
        if values.get("register_as") == bare:
            return [f"`d2n retrieve {name}`"]
    trained = f"cyclegan_{dataset}"
    first = [f"`d2n train {trained}`"] if trained in shipped.names("experiments") else []
    return [*first, f"`d2n promote {dataset}`"]
