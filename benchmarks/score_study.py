"""The experiment of docs/results.md: which score goes with mAP, and what cures CycleGAN on the toy city.

    d2n demo --out DEMO                                        # its trials' generators take part
    python benchmarks/score_study.py --work FOLDER --demo DEMO # goes on where it was stopped; hours on one core
    python benchmarks/score_study.py --work FOLDER --only arms # beside another process that trains the generators
    python benchmarks/score_study.py --work FOLDER --held-out  # generators that had no part in choosing a score
    python benchmarks/score_study.py --together                # the answer of both tables
    python benchmarks/score_study.py --work FOLDER --others    # the arms without a generator, beside the same network

data/score_study/design.yaml says which generators, scores, seeds and arm. FOLDER gets the city, the runs and the
answer; the tables of finished rows, data/score_study/*.csv, are kept here and are what a later call goes on from.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2n.config import RetrievalExperiment, TranslationExperiment, load_experiment
from d2n.datasets import toycity
from d2n.errors import ConfigError, RegistryError
from d2n.files.yaml import read_yaml
from d2n.tracking import names, registry, runs
from d2n.workflows import retrieve, study_scores, train
from d2n.workflows.study_scores import answer, table

HOME = Path(__file__).resolve().parent / "data" / "score_study"
ARM = "retrieval_toycity_baseline"
EXTRACTOR = "d2n-retrieval-toycity"


def overrides(knobs: Mapping[str, Any]) -> list[str]:
    """Knobs as the command line takes them; a text is YAML already."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in knobs.items()]


def prepared(design: Mapping[str, Any]) -> runs.Store:
    """The city, and the day network in the registry: the scores' extractor."""
    toycity.make(Path("data/toycity"), workers=1)
    store = runs.open_store(None)
    try:
        registry.resolve(store, f"{EXTRACTOR}@baseline")
    except RegistryError:
        knobs = {**arm_knobs(design), "training.n_epochs": 0, "register_as": EXTRACTOR, "name": "day-network"}
        experiment = load_experiment(ARM, overrides(knobs))
        assert isinstance(experiment, RetrievalExperiment)
        print("\n".join(retrieve.summary(retrieve.retrieve(experiment, store=store))), flush=True)
    return store


def arm_knobs(design: Mapping[str, Any]) -> dict[str, Any]:
    """The arm's knobs, its first weights by their place in this repository."""
    return {**design["arm"], "network.weights": str(HOME / design["day_network"])}


def finished(store: runs.Store) -> dict[str, runs.RunRecord]:
    """Trained generators by name."""
    found = store.find_runs(tags={names.KIND: "translation", names.DATASET: "toycity"}, status="FINISHED")
    return {one.name: one for one in found if one.tags.get(names.MODEL_ID)}


def experiments(design: Mapping[str, Any]) -> dict[str, TranslationExperiment]:
    """How each generator of the design is trained, by name; the name begins with the method."""
    found = {}
    for name, knobs in design["generators"].items():
        method = name.split("-")[0]
        wanted = {**design["common"], **design["methods"].get(method, {}), **knobs, "name": name}
        experiment = load_experiment(f"{method}_toycity", overrides(wanted))
        assert isinstance(experiment, TranslationExperiment)
        found[name] = experiment
    return found


def trained(design: Mapping[str, Any], store: runs.Store) -> Iterator[str]:
    """Train what is missing, one after the other; yields the name of each."""
    for name, experiment in experiments(design).items():
        if name in finished(store):
            continue
        started = time.monotonic()
        done = train.train(experiment, store=store)
        said = ", ".join(f"{key} {value:.4g}" for key, value in sorted(done.scores.items()))
        print(f"{name}: {time.monotonic() - started:.0f} s, {said}", flush=True)
        yield name


def of_demo(folder: Path) -> dict[str, str]:
    """The finished generators of a demo's trials: folder by name."""
    store = runs.open_store(f"sqlite:///{folder.resolve()}/mlruns/mlflow.db")
    models = folder.resolve() / "mlruns" / "artifacts" / "d2n-toycity" / "models"
    found = {}
    for name, one in finished(store).items():
        (place,) = (models / one.tags[names.MODEL_ID]).rglob("generator.safetensors")
        found[str(place.parent)] = f"demo-{name.replace('_toycity', '')}"
    return found


def held_out(design: Mapping[str, Any]) -> dict[str, Any]:
    """The design of the generators that had no part in choosing a score."""
    return {**design, **design["held_out"], "table": "held_out.csv"}


def others(design: Mapping[str, Any], store: runs.Store, seeds: int) -> list[str]:
    """The arms that need no generator, a row a seed, the missing ones trained; mean and deviation of each."""
    path = HOME / "others.csv"
    rows = table.read(path)
    done = {(row.name, row.seed) for row in rows}
    for seed in range(seeds):
        for name, knobs in design["others"].items():
            if (name, seed) in done:
                continue
            wanted = {
                **arm_knobs(design),
                **knobs,
                "register_as": None,
                "seed": seed,
                "name": f"other-{name}",
            }
            if by := wanted.pop("queries_by", None):
                wanted["evaluation.query_translation"] = translator_of(by, design, store)
            if by := wanted.pop("light_by", None):
                wanted |= {
                    "network.light": "photometric",
                    "network.light_weights": translator_of(by, design, store),
                }
            experiment = load_experiment(ARM, overrides(wanted))
            assert isinstance(experiment, RetrievalExperiment)
            found = retrieve.retrieve(experiment, store=store).maps
            values = {f"{table.MAP}{key}": each[0] for key, each in found.items()}
            rows.append(table.Row("none", name, seed, "others", values))
            table.write(path, rows)
            print(f"{name}, seed {seed}: {shown(values)}", flush=True)
    return [
        f"{name}: {shown(means)} ({len(each)} seeds; deviations {shown(spread)})"
        for name in design["others"]
        if (each := [row.maps for row in rows if row.name == name])
        for means in [{key: statistics.fmean(one[key] for one in each) for key in each[0]}]
        for spread in [{key: statistics.stdev([one[key] for one in each]) for key in each[0]}]
        if len(each) > 1
    ]


def translator_of(name: str, design: Mapping[str, Any], store: runs.Store) -> str:
    """The run of a translator of that experiment (from night to day, of light), trained where it is not there."""
    if name in (known := finished(store)):
        return known[name].run_id
    wanted = {**design["common"], "training.batch_size": 1, "evaluation.every_epochs": 8, "name": name}
    experiment = load_experiment(name, overrides(wanted))
    assert isinstance(experiment, TranslationExperiment)
    return train.train(experiment, store=store).run_id


def shown(maps: Mapping[str, float]) -> str:
    """mAP in percent."""
    return ", ".join(f"{key.removeprefix(table.MAP)} {100 * value:.1f}" for key, value in maps.items())


def measured(design: Mapping[str, Any], store: runs.Store, seeds: int, demo: Mapping[str, str]) -> list[str]:
    """Rows that are missing, of the generators that are there; the answer of all."""
    own = {one.run_id: name for name, one in finished(store).items() if name in design["generators"]}
    there = {**demo, **own}
    if len(there) < 2:
        return []
    request = study_scores.Request(
        Path(ARM),
        Path(design["scored_by"]),
        HOME / design.get("table", "rows.csv"),
        Path("answer"),
        generators=tuple(there),
        names=there,
        scores=tuple(design["scores"]),
        seeds=seeds,
        overrides=tuple(overrides(arm_knobs(design))),
    )
    return study_scores.study_scores(request, store, progress=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", choices=("generators", "arms"))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--held-out", action="store_true", help="the design's held_out generators")
    which.add_argument(
        "--together", action="store_true", help="train nothing: the answer of both tables at once"
    )
    which.add_argument("--others", action="store_true", help="the design's arms without a generator")
    parser.add_argument("--seeds", type=int, help="[default: the design's]")
    parser.add_argument("--demo", type=Path, help="a folder where `d2n demo` was walked")
    asked = parser.parse_args()
    if asked.together:
        both = [*table.read(HOME / "rows.csv"), *table.read(HOME / "held_out.csv")]
        print("\n".join(answer.lines(answer.answer(both))))
        return
    if asked.work is None:
        parser.error("--work FOLDER is needed where something is measured")
    design = read_yaml(HOME / "design.yaml", ConfigError)
    design = held_out(design) if asked.held_out else design
    asked.work.mkdir(parents=True, exist_ok=True)
    seeds = asked.seeds or design["seeds"]
    demo = of_demo(asked.demo) if asked.demo is not None else {}
    with contextlib.chdir(asked.work):
        store = prepared(design)
        told: list[str] = others(design, store, seeds) if asked.others else []
        if asked.others:
            print("\n".join(told))
            return
        if asked.only != "arms":
            for _ in trained(design, store):
                told = measured(design, store, 1, demo) if asked.only is None else []
        if asked.only != "generators":
            told = measured(design, store, seeds, demo)
        print("\n".join(told))


if __name__ == "__main__":
    main()
