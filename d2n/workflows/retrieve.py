"""``d2n retrieve``: a retrieval network fine-tuned, with or without night augmentation, and measured by mAP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from tqdm import tqdm

from d2n.config import (
    NetworkConfig,
    NightConfig,
    RetrievalExperiment,
    TranslationExperiment,
    flatten,
    to_dict,
)
from d2n.datasets.benchmarks import Benchmark, load_benchmarks
from d2n.datasets.images import load_rgb
from d2n.datasets.tuples import RetrievalSet, retrieval_set
from d2n.errors import ConfigError
from d2n.files.writing import folder_aside
from d2n.retrieval import loop, network, night, search, whitening
from d2n.scores import mean_ap
from d2n.tracking import liveness, names, registry, runs
from d2n.tracking.signals import StopRequested, raise_unheard, signals_between_steps
from d2n.translators import checkpoint
from d2n.workflows import evaluation as held
from d2n.workflows import generators, preflight, resuming, retrieval_preflight
from d2n.workflows.progress import Lines, scores_text

if TYPE_CHECKING:
    from d2n.datasets.index import Index
    from d2n.tracking.runs import Store

MAX_WHITENING_IMAGES = 5000


@dataclass(frozen=True)
class RetrieveResult:
    """mAP by benchmark, one value a seed."""

    run_id: str
    url: str
    maps: Mapping[str, tuple[float, ...]]
    generator: registry.RegisteredVersion | None
    registered: registry.RegisteredVersion | None
    seconds: float


@dataclass(frozen=True)
class _Arm:
    """What all seeds share."""

    experiment: RetrievalExperiment
    images: RetrievalSet
    dataset_digest: str
    benchmarks: tuple[Benchmark, ...]
    generator: generators.Generator | None
    query_generator: generators.Generator | None
    device: str
    work: Path


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
    held.use_threads(experiment.training.num_threads)
    data = experiment.dataset
    preflight.check_knobs(experiment)
    index = held.open_dataset(data)
    work_root = work_root or held.work_root(store)
    record = run if isinstance(run, runs.RunRecord) else store.get(run.run_id) if run is not None else None
    generator = _generator(experiment.night, store, record)
    query_translation = experiment.evaluation.query_translation
    arm = _Arm(
        experiment,
        retrieval_set(index),
        index.info().digest,
        _benchmarks(experiment),
        generator,
        generators.load(query_translation, store) if query_translation else None,
        held.device_for(experiment.training.device),
        work_root,
    )
    retrieval_preflight.check_retrieval(experiment, arm.images, arm.benchmarks, MAX_WHITENING_IMAGES)
    with contextlib.ExitStack() as stack:
        if record is not None:
            resuming.refuse_other_knobs(record, flatten(experiment))
            resuming.refuse_other_data(record, index.info())
            stack.enter_context(liveness.locked(work_root / record.run_id, record.run_id))
        own = _opened(run, experiment, store, tags)
        if record is None:
            stack.enter_context(liveness.locked(work_root / own.run_id, own.run_id))
        begun = stack.enter_context(resuming.told_when_interrupted(own.run_id))
        stack.enter_context(own)
        stack.enter_context(liveness.pulse(store, own.run_id))
        _log_start(own, arm, index)
        maps, registered = _all_seeds(arm, own, store, begun, progress)
        own.close("FINISHED")
        begun.is_over = True
    only_maps = {
        key.removeprefix("map/"): tuple(values) for key, values in maps.items() if key.startswith("map/")
    }
    version = generator.version if generator else None
    return RetrieveResult(own.run_id, own.url, only_maps, version, registered, time.monotonic() - started)


def _opened(
    run: runs.TrackedRun | runs.RunRecord | None,
    experiment: RetrievalExperiment,
    store: Store,
    tags: Mapping[str, str] | None,
) -> runs.TrackedRun:
    if isinstance(run, runs.TrackedRun):
        return run
    if run is not None:
        return store.resume_run(run.run_id)
    known = {names.KIND: experiment.kind, names.EXPERIMENT_NAME: experiment.name, **(tags or {})}
    return store.start_run(names.experiment(experiment.dataset.name), experiment.name, tags=known, params={})


def _all_seeds(
    arm: _Arm, run: runs.TrackedRun, store: Store, begun: resuming.Begun, progress: bool
) -> tuple[dict[str, list[float]], registry.RegisteredVersion | None]:
    """Every measure, one value a seed, logged; and what was registered."""
    folder, registered = arm.work / run.run_id, None
    maps: dict[str, list[float]] = {}
    for number in range(arm.experiment.num_seeds):
        seed = arm.experiment.seed + number
        net, learned = _one_seed(arm, run, folder / str(seed), number, begun, progress)
        measured = _measure(arm, net, learned, progress)
        run.log_metrics({f"seed/{key}": value for key, value in measured.items()}, step=number)
        shown = {key: value for key, value in measured.items() if key.startswith(("map/", "recall1/"))}
        Lines(f"{arm.experiment.name}, seed {seed}", 0, wanted=progress).say(scores_text(shown))
        for key, value in measured.items():
            maps.setdefault(key, []).append(value)
        if number == 0:
            registered = _log_network(run, store, arm, net, learned, folder)
    _log_means(run, maps)
    return maps, registered


def _generator(
    config: NightConfig, store: Store, record: runs.RunRecord | None
) -> generators.Generator | None:
    if config.augmentation != "generator":
        return None
    if not config.generator:
        raise ConfigError(
            "night.augmentation is generator, but night.generator names none; expected models:/NAME@ALIAS"
        )
    used = record.tags if record is not None else {}
    if used.get(names.GENERATOR_NAME) and used.get(names.GENERATOR_VERSION):
        return generators.load(f"{used[names.GENERATOR_NAME]}/{used[names.GENERATOR_VERSION]}", store)
    return generators.load(config.generator, store)


def _benchmarks(experiment: RetrievalExperiment) -> tuple[Benchmark, ...]:
    """Every benchmark asked for; the training set's own lies where the training set lies."""
    split = experiment.evaluation.split
    found = [
        load_benchmarks(name, root=root, split=split, index=index)
        for name, root, index in preflight.benchmark_places(experiment)
    ]
    return tuple(one for several in found for one in several)


def _log_start(run: runs.TrackedRun, arm: _Arm, index: Index) -> None:
    experiment = arm.experiment
    run.log_params(flatten(experiment), resuming.FREE_KNOBS)
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


def _one_seed(
    arm: _Arm, run: runs.TrackedRun, folder: Path, number: int, begun: resuming.Begun, progress: bool
) -> tuple[network.RetrievalNetwork, whitening.Whitening | None]:
    """The trained network of one seed; what is trained of it is on disk, and an interrupted run goes on from there."""
    experiment = arm.experiment
    seed = experiment.seed + number
    saved = resuming.saved_state(folder) if folder.exists() else None
    if saved is not None and "experiment" in saved.meta:
        resuming.refuse_other_checkpoint(saved.meta["experiment"], to_dict(experiment), run.run_id)
    net = _pretrained(arm, seed, progress) if saved is None else network.build(experiment.network, seed=seed)
    net.to(arm.device)
    with signals_between_steps() as stop:
        session = loop.finetune(
            net,
            arm.images.paths,
            arm.images.clusters,
            arm.images.query_idx,
            arm.images.positive_idx,
            experiment.training,
            load_image=load_rgb,
            night=_augmentation(experiment.night, arm.generator, seed, arm.device),
            mine_through=experiment.night.mine_through,
            seed=seed,
            device=arm.device,
            state=saved.state if saved is not None else None,
            should_stop=stop.is_set,
        )

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
    return net, _whitening(arm, net, progress)


def _pretrained(arm: _Arm, seed: int, progress: bool) -> network.RetrievalNetwork:
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
        net,
        arm.images.paths,
        arm.images.clusters,
        experiment.pretraining,
        image_size_px=experiment.training.image_size_px,
        load_image=load_rgb,
        seed=seed,
        device=arm.device,
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


def _whitening(arm: _Arm, net: network.RetrievalNetwork, progress: bool) -> whitening.Whitening | None:
    """Whitening learned on training pairs, of at most MAX_WHITENING_IMAGES images."""
    kind = arm.experiment.evaluation.whitening
    if kind == "none":
        return None
    images = arm.images
    pairs = list(zip(images.query_idx, images.positive_idx, strict=True))
    rng = np.random.default_rng(arm.experiment.seed)
    used: dict[int, int] = {}
    kept: list[tuple[int, int]] = []
    for position in rng.permutation(len(pairs)):
        query, positive = pairs[position]
        if len(used | {query: 0, positive: 0}) > MAX_WHITENING_IMAGES:
            break
        kept.append((used.setdefault(query, len(used)), used.setdefault(positive, len(used))))
    descriptors = _extract(arm, net, [images.paths[i] for i in used], None, load_rgb, progress)
    if kind == "pca":
        return whitening.learn_pca_whitening(descriptors)
    query_idx, positive_idx = (np.array(side) for side in zip(*kept, strict=True))
    return whitening.learn_whitening(descriptors, query_idx, positive_idx)


def _measure(
    arm: _Arm, net: network.RetrievalNetwork, learned: whitening.Whitening | None, progress: bool
) -> dict[str, float]:
    """mAP and mean precision at k of every benchmark; database descriptors shared by benchmarks are taken once."""
    dim = arm.experiment.evaluation.whitening_dim
    known: dict[tuple[Path, ...], np.ndarray] = {}
    measured: dict[str, float] = {}
    for benchmark in arm.benchmarks:
        if benchmark.database not in known:
            known[benchmark.database] = _extract(arm, net, list(benchmark.database), None, load_rgb, progress)
        database = known[benchmark.database]
        load_query = load_rgb if arm.query_generator is None else _by_day(arm.query_generator)
        queries = _extract(arm, net, list(benchmark.queries), benchmark.boxes, load_query, progress)
        if learned is not None:
            database = whitening.apply_whitening(database, learned, dim)
            queries = whitening.apply_whitening(queries, learned, dim)
        measured |= _scores(benchmark, search.rank(queries, database))
    return measured


def _scores(benchmark: Benchmark, ranks: np.ndarray) -> dict[str, float]:
    name = benchmark.name
    if benchmark.kind == "place":
        recalls = mean_ap.recall_at(ranks, benchmark.ground_truth)
        return {f"recall{k}/{name}": value for k, value in recalls.items()}
    if benchmark.kind == "revisited":
        parts = mean_ap.revisited(ranks, benchmark.ground_truth)
        values = {f"map_{part}/{name}": result.map for part, result in parts.items()}
        return {f"map/{name}": parts["medium"].map, **values}
    result = mean_ap.mean_average_precision(ranks, benchmark.ground_truth)
    return {f"map/{name}": result.map, **{f"mp{k}/{name}": value for k, value in result.mp_at.items()}}


def _extract(
    arm: _Arm,
    net: network.RetrievalNetwork,
    paths: list[Path],
    boxes: Any,
    load_image: Callable[[Path], np.ndarray],
    progress: bool,
) -> np.ndarray:
    config = arm.experiment.evaluation
    return search.extract(
        net,
        paths,
        load_image=load_image,
        image_size_px=config.image_size_px,
        scales=config.scales,
        boxes=boxes,
        square=config.square,
        device=arm.device,
        progress=progress,
    )


def _by_day(generator: generators.Generator) -> Callable[[Path], np.ndarray]:
    """Night queries through a night-to-day generator before they are described."""

    def load(path: Path) -> np.ndarray:
        by_day: np.ndarray = held.to_night(generator.translate, load_rgb(path)[None])[0]
        return by_day

    return load


def _log_network(
    run: runs.TrackedRun,
    store: Store,
    arm: _Arm,
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


def _log_means(run: runs.TrackedRun, values: Mapping[str, list[float]]) -> None:
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
