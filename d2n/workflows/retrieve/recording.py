"""What a retrieval run is in the tracking store: its params, data, tags, network and measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from d2n.config import flatten, to_dict
from d2n.core import EpochResult
from d2n.retrieval import network, whitening
from d2n.tracking import names, registry, runs
from d2n.workflows.retrieve.arm import Arm
from d2n.workflows.saved import FREE_KNOBS

if TYPE_CHECKING:
    from d2n.datasets.index import Index
    from d2n.tracking.runs import Store


def log_start(run: runs.TrackedRun, arm: Arm, index: Index) -> None:
    """What is known before training: knobs, data sets, tags, the generator."""
    experiment = arm.experiment
    run.log_params(flatten(experiment), FREE_KNOBS)
    for benchmark in arm.benchmarks:
        run.log_dataset(benchmark.info, "evaluation")
    run.log_dataset(index.info(), "training")
    run.set_tags(
        {
            names.KIND: "retrieval",
            names.DATASET: experiment.dataset.name,
            names.DATASET_DIGEST: arm.dataset_digest,
            names.EXPERIMENT_NAME: experiment.name,
            names.ARM: experiment.night.augmentation,
        }
    )
    run.log_text(json.dumps(to_dict(experiment), indent=2), names.CONFIG_JSON)
    version = arm.generator.version if arm.generator is not None else None
    if version is not None:
        run.log_generator(version.name, version.version, version.model_id)


def log_epoch(run: runs.TrackedRun, epoch: EpochResult, number: int) -> None:
    """An epoch's losses of the seed of that number."""
    metrics = {f"{names.loss(key)}/seed{number}": value for key, value in epoch.losses.items()}
    run.log_metrics(metrics | {f"{names.IMAGES_PER_S}/seed{number}": epoch.images_per_s}, step=epoch.epoch)


def log_network(
    run: runs.TrackedRun,
    store: Store,
    arm: Arm,
    net: network.RetrievalNetwork,
    learned: whitening.Whitening | None,
    folder: Path,
) -> registry.RegisteredVersion | None:
    """The first seed's network; registered with the alias ``baseline`` where the experiment names a model."""
    experiment = arm.experiment
    saved = folder / "network"
    network.save(saved, net, experiment.network, learned)
    if experiment.register_as is None:
        run.log_file(saved)
        return None
    side = min(experiment.training.image_size_px, 128)
    model_id = run.log_model(
        net.cpu().eval(),
        name="retrieval",
        step=experiment.training.n_epochs,
        example=np.zeros((2, 3, side, side), np.float32),
        output_shape=(-1, net(torch.zeros(1, 3, side, side)).shape[1]),
        extra_files=sorted(saved.iterdir()),
        metadata={"backbone": experiment.network.backbone},
    )
    run.set_tags({names.MODEL_ID: model_id})
    return registry.register(
        store,
        model_name=experiment.register_as,
        run_id=run.run_id,
        model_id=model_id,
        alias=names.BASELINE,
        tags={names.DATASET: experiment.dataset.name, names.DATASET_DIGEST: arm.dataset_digest},
        description=f"{experiment.network.backbone}-GeM trained on {experiment.dataset.name}",
    )


def log_means(run: runs.TrackedRun, values: Mapping[str, list[float]]) -> None:
    """Means over the seeds, the deviations of mAP, and all values as a table."""
    means = {key: float(np.mean(series)) for key, series in values.items()}
    spread = {
        key.replace("map/", "map_std/", 1): float(np.std(series, ddof=1))
        for key, series in values.items()
        if key.startswith("map/") and len(series) > 1
    }
    run.log_metrics(means | spread)
    table: dict[str, list[Any]] = {"measure": list(values)}
    for number in range(len(next(iter(values.values())))):
        table[f"seed{number}"] = [series[number] for series in values.values()]
    run.log_table(table, "tables/map.json")
