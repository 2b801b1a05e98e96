"""A retrieval network in training: an iterator of its steps. Who consumes it logs, reports, stops.

    work = RetrievalTraining(experiment, data, seed, folder)
    with contextlib.closing(fine_tune(work)) as found:
        for one in found:
            ...

It knows no tracking and no study: mlflow, optuna and pydantic may be absent. What a seed needs to go on lies in its
folder, saved after every epoch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from d2n.config import NetworkConfig, NightConfig, RetrievalExperiment, to_dict
from d2n.core import StepResult
from d2n.datasets.images import load_rgb
from d2n.datasets.tuples import RetrievalSet
from d2n.files.reading import file_sha256
from d2n.files.writing import folder_aside
from d2n.retrieval import loop, network, night
from d2n.retrieval.images import ImageStore
from d2n.translators import checkpoint
from d2n.workflows.saved import Saved, refuse_other_checkpoint, saved_state

_LATER = (
    "light_weights",
    "pooling",
    "mix_side",
    "mix_depth",
    "mix_outputs",
    "mix_rows",
)  # knobs of a network


@dataclass(frozen=True)
class TrainingData:
    """What the network of every seed is trained on."""

    images: RetrievalSet
    digest: str  # of the data set
    work: Path  # where what arms share is kept
    device: str
    generator: torch.nn.Module | None = None  # by which images turn to night
    stride: int = 1  # of the generator
    true_nights: Mapping[Path, Path] | None = None  # by their day image


class RetrievalTraining:
    """One seed's network and how far it is: pretrained where asked, or gone on with where its folder says it was."""

    def __init__(
        self,
        experiment: RetrievalExperiment,
        data: TrainingData,
        seed: int,
        folder: Path,
        *,
        saved: Saved | None = None,
        progress: bool = False,
    ) -> None:
        self.experiment, self.seed, self.folder, self.saved = experiment, seed, folder, saved or Saved()
        found = saved_state(folder) if folder.exists() else None
        if found is not None and "experiment" in found.meta:
            refuse_other_checkpoint(found.meta["experiment"], to_dict(experiment), folder.parent.name)
        self.net = (
            _pretrained(experiment, data, seed, progress)
            if found is None
            else network.build(experiment.network, seed=seed)
        )
        self.net.to(data.device)
        images = data.images
        self.session = loop.finetune(
            self.net,
            loop.TrainingImages(
                images.paths, images.clusters, images.query_idx, images.positive_idx, load_rgb
            ),
            experiment.training,
            night=_augmentation(experiment.night, data, seed),
            mine_through=experiment.night.mine_through,
            seed=seed,
            state=found.state if found is not None else None,
        )
        if found is not None:
            self._tell_saved()

    @property
    def is_done(self) -> bool:
        """Whether all epochs are trained."""
        return self.session.is_done

    def save(self) -> None:
        """A checkpoint of where it stands, between two steps."""
        meta = {"epoch": self.session.epoch, "experiment": to_dict(self.experiment)}
        checkpoint.save(self.folder, self.session.state(), meta)
        self._tell_saved()

    def _tell_saved(self) -> None:
        total = self.experiment.training.n_epochs * self.session.steps_per_epoch
        self.saved.text = f"saved at step {self.session.steps_done} of {total} of seed {self.seed}"


def fine_tune(work: RetrievalTraining, *, progress: bool = False) -> Generator[StepResult, None, None]:
    """Fine-tune from where the work stands to its last epoch; yields between its steps, and after each epoch.

    An epoch is saved when the consumer comes back from it. Who leaves earlier saves by ``work.save()``.
    """
    n_epochs = work.experiment.training.n_epochs
    with _bar(f"fine-tuning, seed {work.seed}", work.session.epoch, n_epochs, progress) as bar:
        for found in work.session:
            yield found
            if (epoch := found.epoch) is not None:
                work.save()
                loss = f"{epoch.losses[work.experiment.training.loss]:.3g}"
                bar.set_postfix(loss=loss, images_per_s=f"{epoch.images_per_s:.0f}")
                bar.update()


def _pretrained(
    experiment: RetrievalExperiment, data: TrainingData, seed: int, progress: bool
) -> network.RetrievalNetwork:
    """The starting network; scene-classifier pretraining is done once for all arms of one seed and data set."""
    if not experiment.pretraining.n_epochs:
        return network.build(experiment.network, seed=seed)
    knobs = {
        "network": _identity(experiment.network),
        "pretraining": to_dict(experiment.pretraining),
        "image_size_px": experiment.training.image_size_px,
        "dataset": data.digest,
        "seed": seed,
    }
    key = hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:16]
    folder = data.work / "pretrained" / key
    if folder.exists():
        return network.load(folder)[0]
    net = network.build(experiment.network, seed=seed)
    pretraining = loop.pretrain(
        net.to(data.device),
        ImageStore(data.images.paths, load_rgb, experiment.training.image_size_px),
        data.images.clusters,
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


def _identity(config: NetworkConfig) -> dict[str, Any]:
    """Its knobs; the file of its photometric network where it has one, by what is in it.

    Knobs that came later enter where they are set: what was pretrained before is found.
    """
    usual, known = to_dict(NetworkConfig()), to_dict(config)
    if (path := known["light_weights"]) is not None:
        known["light_weights"] = file_sha256(Path(path))
    return {key: value for key, value in known.items() if key not in _LATER or value != usual[key]}


def _keep(folder: Path, net: network.RetrievalNetwork, config: NetworkConfig) -> None:
    try:
        with folder_aside(folder) as part:
            network.save(part, net, config)
    except OSError:
        if not folder.exists():  # else another process was faster, between the look and the rename
            raise


def _bar(title: str, done: int, total: int, progress: bool) -> tqdm[NoReturn]:
    return tqdm(total=total, initial=done, desc=title, unit="epoch", disable=None if progress else True)


def _augmentation(config: NightConfig, data: TrainingData, seed: int) -> night.NightAugmentation | None:
    if data.true_nights is not None:
        known = {night.image_name(day): path for day, path in data.true_nights.items()}
        return night.build(config, nights=known, load=load_rgb, seed=seed)
    if data.generator is None:
        return night.build(config, seed=seed)
    return night.build(config, translate=data.generator.to(data.device), stride=data.stride, seed=seed)
