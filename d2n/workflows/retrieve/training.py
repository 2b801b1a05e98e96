"""One seed's network: pretrained where asked, fine-tuned, saved after every epoch, gone on with where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from d2n.config import NetworkConfig, NightConfig, to_dict
from d2n.datasets.images import load_rgb
from d2n.files.writing import folder_aside
from d2n.retrieval import loop, network, night
from d2n.retrieval.images import ImageStore
from d2n.tracking import names, runs
from d2n.tracking.signals import StopRequested, raise_unheard, signals_between_steps
from d2n.translators import checkpoint
from d2n.workflows import generators, resuming
from d2n.workflows.progress import Lines
from d2n.workflows.retrieve.arm import Arm


def train_seed(
    arm: Arm, run: runs.TrackedRun, folder: Path, number: int, begun: resuming.Begun, progress: bool
) -> network.RetrievalNetwork:
    """The trained network of one seed; what is trained of it is on disk, and an interrupted run goes on from there."""
    experiment, images = arm.experiment, arm.images
    seed = experiment.seed + number
    saved = resuming.saved_state(folder) if folder.exists() else None
    if saved is not None and "experiment" in saved.meta:
        resuming.refuse_other_checkpoint(saved.meta["experiment"], to_dict(experiment), run.run_id)
    net = _pretrained(arm, seed, progress) if saved is None else network.build(experiment.network, seed=seed)
    net.to(arm.device)
    with signals_between_steps() as stop:
        session = loop.finetune(
            net,
            loop.TrainingImages(
                images.paths, images.clusters, images.query_idx, images.positive_idx, load_rgb
            ),
            experiment.training,
            night=_augmentation(experiment.night, arm.generator, seed, arm.device),
            mine_through=experiment.night.mine_through,
            seed=seed,
            state=saved.state if saved is not None else None,
        )
        session.should_stop = stop.is_set

        def save() -> None:
            checkpoint.save(
                folder, session.state(), {"epoch": session.epoch, "experiment": to_dict(experiment)}
            )
            tell()

        def tell() -> None:
            total = experiment.training.n_epochs * session.steps_per_epoch
            begun.saved = f"saved at step {session.steps_done} of {total} of seed {seed}"

        if saved is not None:
            tell()
        n_epochs = experiment.training.n_epochs
        lines = Lines(f"{experiment.name}, seed {seed}", n_epochs, session.epoch, wanted=progress)
        with _bar(f"fine-tuning, seed {seed}", session.epoch, n_epochs, progress) as bar:
            for epoch in session:
                metrics = {f"{names.loss(key)}/seed{number}": value for key, value in epoch.losses.items()}
                run.log_metrics(
                    metrics | {f"{names.IMAGES_PER_S}/seed{number}": epoch.images_per_s}, step=epoch.epoch
                )
                save()
                bar.set_postfix(
                    loss=f"{epoch.losses['contrastive']:.3g}", images_per_s=f"{epoch.images_per_s:.0f}"
                )
                bar.update()
                lines.tell(
                    f"epoch {epoch.epoch} of {n_epochs}: loss {epoch.losses['contrastive']:.3g}", epoch.epoch
                )
        if not session.is_done:
            save()
            raise StopRequested
    raise_unheard()
    return net


def _pretrained(arm: Arm, seed: int, progress: bool) -> network.RetrievalNetwork:
    """The starting network; scene-classifier pretraining is done once for all arms of one seed and data set."""
    experiment = arm.experiment
    if not experiment.pretraining.n_epochs:
        return network.build(experiment.network, seed=seed)
    knobs = {
        "network": to_dict(experiment.network),
        "pretraining": to_dict(experiment.pretraining),
        "image_size_px": experiment.training.image_size_px,
        "dataset": arm.dataset_digest,
        "seed": seed,
    }
    key = hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:16]
    folder = arm.work / "pretrained" / key
    if folder.exists():
        return network.load(folder)[0]
    net = network.build(experiment.network, seed=seed)
    pretraining = loop.pretrain(
        net.to(arm.device),
        ImageStore(arm.images.paths, load_rgb, experiment.training.image_size_px),
        arm.images.clusters,
        experiment.pretraining,
        seed=seed,
    )
    with _bar(f"pretraining, seed {seed}", 0, experiment.pretraining.n_epochs, progress) as bar:
        for epoch in pretraining:
            bar.set_postfix({key: f"{value:.3g}" for key, value in epoch.losses.items()})
            bar.update()
    if not folder.exists():  # else another process was faster
        _keep(folder, net, experiment.network)
    return net


def _keep(folder: Path, net: network.RetrievalNetwork, config: NetworkConfig) -> None:
    try:
        with folder_aside(folder) as part:
            network.save(part, net, config)
    except OSError:
        if not folder.exists():  # else another process was faster, between the look and the rename
            raise


def _bar(title: str, done: int, total: int, progress: bool) -> tqdm[NoReturn]:
    return tqdm(total=total, initial=done, desc=title, unit="epoch", disable=None if progress else True)


def _augmentation(
    config: NightConfig, generator: generators.Generator | None, seed: int, device: str
) -> night.NightAugmentation | None:
    if generator is None:
        return night.build(config, seed=seed)
    return night.build(config, translate=generator.module.to(device), stride=generator.stride, seed=seed)
