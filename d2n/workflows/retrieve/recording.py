"""What a retrieval run is in the tracking store: its params, data, tags, network and measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from d2n.retrieval import network, whitening
from d2n.tracking import links, names, registry, runs, uses
from d2n.tracking.records import RetrievalRecord
from d2n.workflows.retrieve.arm import Arm
from d2n.workflows.saved import FREE_KNOBS

if TYPE_CHECKING:
    from d2n.datasets.index import Index
    from d2n.tracking.runs import Store


def log_start(run: runs.TrackedRun, store: Store, arm: Arm, index: Index) -> bool:
    """What is known before training: knobs, data sets, tags, and what is used, which then names the run.

    Whether the links in the pages were written: a server that is away gets them at the end.
    """
    for benchmark in arm.benchmarks:
        run.log_dataset(benchmark.info, "evaluation")
    run.log_dataset(index.info(), "training")
    RetrievalRecord.begun(arm.experiment, arm.dataset_digest).write(run, changeable=FREE_KNOBS)
    for use in arm.uses:
        uses.record(store, run, use)
    if len(arm.nights) > 1:
        told = [arm.generator_of(number) for number in range(arm.experiment.num_seeds)]
        RetrievalRecord.nights(arm.experiment.seed, [one.origin for one in told if one is not None]).write(
            run
        )
    if run.is_behind:
        return False
    log_links(run, store, arm)
    return True


def log_links(run: runs.TrackedRun, store: Store, arm: Arm) -> None:
    """Links to all that the run uses, and back."""
    links.describe_run(store, run.run_id)
    for use in arm.uses:
        links.describe_used(store, use)


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
    RetrievalRecord.logged_network(model_id).write(run)
    return registry.register(
        store,
        model_name=experiment.register_as,
        run_id=run.run_id,
        model_id=model_id,
        alias=names.BASELINE,
        tags={names.DATASET: experiment.dataset.name, names.DATASET_DIGEST: arm.dataset_digest},
        description=f"{experiment.network.backbone}-GeM trained on {experiment.dataset.name}",
    )
