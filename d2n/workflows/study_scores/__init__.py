"""``d2n study-scores``: which score goes with mAP.

Generators are scored, each gives its nights to retrieval networks of several seeds, and ranks are compared.
Every finished line is in the table at once; the next call goes on from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n import config
from d2n.config import MACHINE_KNOBS, RetrievalExperiment, TranslationExperiment
from d2n.errors import ConfigError, D2NError, RegistryError
from d2n.files.reading import file_sha256
from d2n.files.writing import write_text
from d2n.tracking import names, runs
from d2n.workflows import evaluation as held
from d2n.workflows import generators, preflight, retrieve
from d2n.workflows.preflight import translator as translator_preflight
from d2n.workflows.progress import Lines
from d2n.workflows.study_scores import answer as answering
from d2n.workflows.study_scores import table

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

_FREE = ("name", "seed", "num_seeds", "register_as", "night.augmentation", "night.generator", *MACHINE_KNOBS)


@dataclass(frozen=True)
class Request:
    """What `d2n study-scores` is asked."""

    retrieval: Path  # the arm: a retrieval experiment
    scored_by: Path  # a translation experiment, whose evaluation scores every generator
    table: Path
    out: Path
    generators: tuple[str, ...] = ()  # (): every finished one of the data set in the store
    names: Mapping[str, str] = field(default_factory=dict)  # of generators, by reference, in the table
    scores: tuple[str, ...] = ()  # (): the evaluation's
    seeds: int = 3
    overrides: tuple[str, ...] = ()  # of the arm
    only_answer: bool = False  # train nothing: what does the table say?


def study_scores_command(request: Request, *, tracking_uri: str | None, progress: bool) -> list[str]:
    """Score, train, answer; lines for people."""
    if request.only_answer:
        return _answered(request, table.read(request.table))
    return study_scores(request, runs.open_store(tracking_uri), tracking_uri, progress=progress)


def study_scores(
    request: Request, store: Store, tracking_uri: str | None = None, *, progress: bool = False
) -> list[str]:
    """As study_scores_command, in a store that is open."""
    arm, translation = _experiments(request, tracking_uri)
    index = held.open_dataset(translation.dataset)
    translator_preflight.check_scores(translation.evaluation, translator_preflight.given(translation, index))
    evaluator = held.build_evaluator(translation, index, store, store.work_root)
    settings = _settings(arm, evaluator)
    rows = table.read(request.table, settings)
    chosen = _generators(request, store, translation.dataset.name)
    missing = _missing(request, store, arm, chosen, rows)
    shown = Lines("study-scores", len(missing), wanted=progress)
    for done, row in enumerate(_made(missing, store, arm, evaluator, rows, settings), 1):
        rows.append(row)
        table.write(request.table, rows)
        shown.tell(f"{row.name}, seed {row.seed}: {done} of {len(missing)}", done)
    return _answered(request, rows)


def _experiments(
    request: Request, tracking_uri: str | None
) -> tuple[RetrievalExperiment, TranslationExperiment]:
    overrides = [f"evaluation.scores=[{', '.join(request.scores)}]"] if request.scores else []
    translation = preflight.translation(config.load_experiment(request.scored_by, overrides), tracking_uri)
    found = config.load_experiment(request.retrieval, [*request.overrides, "register_as=null"])
    if not isinstance(found, RetrievalExperiment):
        raise ConfigError(f"{request.retrieval} is of kind {found.kind}, expected a retrieval experiment")
    night = dataclasses.replace(found.night, augmentation="none", generator=None)
    return preflight.retrieval(dataclasses.replace(found, night=night), tracking_uri), translation


def _settings(arm: RetrievalExperiment, evaluator: held.Evaluator) -> str:
    """Of all that the rows of a table share."""
    shared = [
        counted_knobs(arm),
        evaluator.protocol.identity,
        evaluator.images.queries_digest,
        list(evaluator.names),
    ]
    return hashlib.sha256(json.dumps(shared, sort_keys=True, default=str).encode()).hexdigest()[:16]


def counted_knobs(arm: RetrievalExperiment) -> dict[str, Any]:
    """The knobs that rows of one table share: those that are not their defaults, so that a new knob orphans no table.

    A weights file counts by what is in it, wherever it lies.
    """
    defaults = config.flatten(RetrievalExperiment())
    set_here = {key: value for key, value in config.flatten(arm).items() if value != defaults[key]}
    knobs: dict[str, Any] = {key: value for key, value in set_here.items() if key not in _FREE}
    for key in ("network.weights", "network.light_weights"):
        if key in knobs and Path(str(knobs[key])).is_file():
            knobs[key] = file_sha256(Path(str(knobs[key])))
    return knobs


def _generators(request: Request, store: Store, dataset: str) -> list[tuple[str, str]]:
    """Reference and name of each."""
    if request.generators:
        return [(one, request.names.get(one, one)) for one in dict.fromkeys(request.generators)]
    tags = {names.KIND: "translation", names.DATASET: dataset}
    found = sorted(
        store.find_runs(tags=tags, status="FINISHED"), key=lambda one: (one.start_time, one.run_id)
    )
    chosen = [(one.run_id, one.name) for one in found if one.logged_model]
    if len(chosen) < 2:
        raise D2NError(
            f"{store.display_uri} has {len(chosen)} finished generators of {dataset}, expected two at least: "
            "train some (d2n train, d2n search), or name them with --generator"
        )
    return chosen


def _missing(
    request: Request,
    store: Store,
    arm: RetrievalExperiment,
    chosen: Sequence[tuple[str, str]],
    known: Sequence[table.Row],
) -> dict[tuple[str, int], tuple[str, str]]:
    """(generator's key, seed) of the rows that the table lacks, each with the generator's reference and name.

    The first seed of every generator is before the second of any. Each generator is loaded once, so that one which
    does not load is refused before anything is trained.
    """
    keys = {reference: generators.load(reference, store).sha256[:16] for reference, _ in chosen}
    done = {(row.generator, row.seed) for row in known}
    wanted = {
        (keys[reference], seed): (reference, name)
        for seed in range(arm.seed, arm.seed + request.seeds)
        for reference, name in reversed(chosen)  # of two names of one generator the first holds
    }
    order = list(dict.fromkeys(keys[reference] for reference, _ in chosen))
    missing = sorted(wanted.keys() - done, key=lambda one: (one[1], order.index(one[0])))
    return {one: wanted[one] for one in missing}


def _made(
    missing: Mapping[tuple[str, int], tuple[str, str]],
    store: Store,
    arm: RetrievalExperiment,
    evaluator: held.Evaluator,
    known: Sequence[table.Row],
    settings: str,
) -> Iterator[table.Row]:
    """Each row: a generator's scores, taken once, and the mAP of a network trained by its nights."""
    scores = {row.generator: row.scores for row in known}
    for (key, seed), (reference, name) in missing.items():
        if key not in scores:
            found = evaluator(generators.load(reference, store).translate).evaluation.scores
            scores[key] = {one.name: one.value for one in found if one.value == one.value}
        yield table.Row(key, name, seed, settings, {**scores[key], **_maps(arm, reference, seed, store)})


def _maps(arm: RetrievalExperiment, reference: str, seed: int, store: Store) -> dict[str, float]:
    """A network of this seed by the generator's nights, as a run of its own."""
    night = dataclasses.replace(arm.night, augmentation="generator", generator=reference)
    one = dataclasses.replace(arm, night=night, seed=seed, num_seeds=1, name=f"{arm.name}-study-scores")
    result = retrieve.retrieve(one, store=store)
    return {f"{table.MAP}{benchmark}": values[0] for benchmark, values in result.maps.items()}


def references(path: Path) -> dict[str, str]:
    """The generators of a YAML by reference, with the names that it gives them, else as they are referred to."""
    from d2n.files.yaml import read_yaml

    listed = read_yaml(path, RegistryError)
    named = (
        listed.items()
        if isinstance(listed, dict)
        else [(one, one) for one in (listed if isinstance(listed, list) else ())]
    )
    if (
        not named
        or not isinstance(listed, list | dict)
        or not all(_is_text(one) for pair in named for one in pair)
    ):
        raise ConfigError(
            f"{path}: expected a list of generators (run ids, models:/NAME@ALIAS or folders), or NAME: GENERATOR"
        )
    return {reference: name for name, reference in named}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _answered(request: Request, rows: Sequence[table.Row]) -> list[str]:
    """The answer as text, JSON and a figure."""
    from d2n.plots import agreement
    from d2n.plots.style import write_html

    found = answering.answer(rows)
    told = answering.lines(found)
    written = [
        write_text(request.out / "scores.txt", "\n".join([*told, ""])),
        write_text(request.out / "scores.json", json.dumps(found.as_json(), indent=2)),
        write_html(agreement.agreement_figure(found.correlations), request.out / "scores.html"),
    ]
    return [*told, "", *(f"wrote {path}" for path in written)]
