"""``d2n retrieve``: a retrieval network fine-tuned, with or without night augmentation, and measured by mAP."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2n.config import RetrievalExperiment, TranslationExperiment, flatten
from d2n.devices import use_threads
from d2n.tracking import liveness, registry, runs
from d2n.workflows import evaluation as held
from d2n.workflows import preflight, resuming
from d2n.workflows.preflight import network as network_preflight
from d2n.workflows.progress import Lines, scores_text
from d2n.workflows.retrieve.arm import Arm, open_arm
from d2n.workflows.retrieve.measuring import MAX_WHITENING_IMAGES, learn_whitening, measure
from d2n.workflows.retrieve.recording import log_means, log_network, log_start, open_run
from d2n.workflows.retrieve.training import train_seed

if TYPE_CHECKING:
    from d2n.tracking.runs import Store


@dataclass(frozen=True)
class RetrieveResult:
    """mAP by benchmark, one value a seed."""

    run_id: str
    url: str
    maps: Mapping[str, tuple[float, ...]]
    generator: registry.RegisteredVersion | None
    registered: registry.RegisteredVersion | None
    seconds: float


def retrieve_command(
    experiment: RetrievalExperiment | TranslationExperiment,
    *,
    tracking_uri: str | None,
    resume: str | None,
    progress: bool,
) -> RetrieveResult:
    """Fine-tune and measure as the command line asks."""
    store = runs.open_store(tracking_uri)
    run = resuming.interrupted_run(store, resume, experiment) if resume is not None else None
    experiment = preflight.retrieval(experiment, tracking_uri)
    return retrieve(experiment, store=store, run=run, progress=progress)


def retrieve(
    experiment: RetrievalExperiment,
    *,
    store: Store,
    run: runs.TrackedRun | runs.RunRecord | None = None,
    work_root: Path | None = None,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> RetrieveResult:
    """One arm: every seed pretrained (where asked), fine-tuned, whitened, measured; one tracked run.

    A given run is one that was interrupted (its record is taken up when nothing is left that could refuse it): of
    seeds it finished the networks are read, the one under way goes on at its last step. The generator's version is
    recorded in the run and the run in the version's tags; a resumed run keeps its version, wherever an alias points.
    """
    started = time.monotonic()
    use_threads(experiment.training.num_threads)
    preflight.check_knobs(experiment)
    index = held.open_dataset(experiment.dataset)
    work_root = work_root or store.work_root
    record = run if isinstance(run, runs.RunRecord) else store.get(run.run_id) if run is not None else None
    arm = open_arm(experiment, index, store, record, work_root)
    network_preflight.check_retrieval(experiment, arm.images, arm.benchmarks, MAX_WHITENING_IMAGES)
    with contextlib.ExitStack() as stack:
        if record is not None:
            resuming.refuse_other_knobs(record, flatten(experiment))
            resuming.refuse_other_data(record, index.info())
            stack.enter_context(liveness.locked(work_root / record.run_id, record.run_id))
        own = open_run(run, experiment, store, tags)
        if record is None:
            stack.enter_context(liveness.locked(work_root / own.run_id, own.run_id))
        begun = stack.enter_context(resuming.told_when_interrupted(own.run_id))
        stack.enter_context(own)
        stack.enter_context(liveness.pulse(store, own.run_id))
        log_start(own, arm, index)
        maps, registered = _all_seeds(arm, own, store, begun, progress)
        own.close("FINISHED")
        begun.is_over = True
    only_maps = {
        key.removeprefix("map/"): tuple(values) for key, values in maps.items() if key.startswith("map/")
    }
    version = arm.generator.version if arm.generator else None
    return RetrieveResult(own.run_id, own.url, only_maps, version, registered, time.monotonic() - started)


def _all_seeds(
    arm: Arm, run: runs.TrackedRun, store: Store, begun: resuming.Begun, progress: bool
) -> tuple[dict[str, list[float]], registry.RegisteredVersion | None]:
    """Every measure, one value a seed, logged; and what was registered."""
    folder, registered = arm.work / run.run_id, None
    maps: dict[str, list[float]] = {}
    for number in range(arm.experiment.num_seeds):
        seed = arm.experiment.seed + number
        net = train_seed(arm, run, folder / str(seed), number, begun, progress)
        learned = learn_whitening(arm, net, progress)
        measured = measure(arm, net, learned, progress)
        run.log_metrics({f"seed/{key}": value for key, value in measured.items()}, step=number)
        shown = {key: value for key, value in measured.items() if key.startswith(("map/", "recall1/"))}
        Lines(f"{arm.experiment.name}, seed {seed}", 0, wanted=progress).say(scores_text(shown))
        for key, value in measured.items():
            maps.setdefault(key, []).append(value)
        if number == 0:
            registered = log_network(run, store, arm, net, learned, folder)
    log_means(run, maps)
    return maps, registered


def summary(result: RetrieveResult) -> list[str]:
    """mAP by benchmark, in percent."""
    lines = [f"run {result.run_id} after {result.seconds:.0f} s"]
    for benchmark, values in result.maps.items():
        deviation = (
            f" ± {100 * np.std(values, ddof=1):.1f} over {len(values)} seeds" if len(values) > 1 else ""
        )
        lines.append(f"  mAP {benchmark} = {100 * np.mean(values):.1f}{deviation}")
    if result.generator is not None:
        lines.append(f"augmented by {result.generator.name} version {result.generator.version}")
    if result.registered is not None:
        lines.append(f"registered {result.registered.name} version {result.registered.version}")
    return lines
