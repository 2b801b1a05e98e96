"""``d2n demo``: the whole road on the toy city, stage by stage; interrupted and started again, it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import d2n
from d2n import shipped
from d2n.config import PromotionConfig, RetrievalExperiment, load_experiment
from d2n.errors import ConfigError, DataError
from d2n.files.json import read_json_object
from d2n.files.writing import make_folder, require_writable, write_text
from d2n.signals import raise_unheard
from d2n.tracking import names

STATE = Path("mlruns/demo.json")
DATASET = "toycity"
METHODS = ("pix2pix", "cyclegan")
METRIC = "place/night_to_fake"  # chooses the champion; the studies minimise FID
_NO_KNOBS: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Scale:
    """How much of the road is walked."""

    cities: float  # share of the toy city's scenes
    trials: Mapping[str, int]
    translation: Mapping[str, Mapping[str, Any]]  # overrides of the studies' experiments, by method
    retrieval: Mapping[str, Any]
    minutes: Mapping[str, float]  # what each stage takes on two cores


FULL = Scale(
    cities=1.0,
    trials={"pix2pix": 2, "cyclegan": 2},
    translation={
        "pix2pix": {},
        "cyclegan": {"training.n_epochs": 2, "evaluation.every_epochs": 2},
    },
    retrieval={},
    minutes={
        "city": 0.3,
        "baseline": 1.8,
        "further": 0.7,
        "photometric": 0.7,
        "pix2pix": 2.5,
        "cyclegan": 1.7,
        "promotion": 0.5,
        "champion": 0.9,
        "report": 0.1,
    },
)
QUICK = Scale(
    cities=0.2,
    trials={"pix2pix": 1, "cyclegan": 1},
    translation={
        "pix2pix": {"training.n_epochs": 3, "evaluation.every_epochs": 3},
        "cyclegan": {"training.n_epochs": 1},
    },
    retrieval={"training.n_epochs": 2, "training.num_queries": 250},
    minutes={
        "city": 0.1,
        "baseline": 0.3,
        "further": 0.1,
        "photometric": 0.2,
        "pix2pix": 0.7,
        "cyclegan": 0.7,
        "promotion": 0.2,
        "champion": 0.2,
        "report": 0.1,
    },
)


def demo(root: Path, *, quick: bool, seed: int, workers: int) -> Iterator[str]:
    """Walk the road below ``root``; yields what a person reads. A quick walk keeps to a folder of its own."""
    experiments, studies = _project_folders()
    root = root / "demo-quick" if quick else root
    require_writable(root)
    make_folder(root)
    with contextlib.chdir(root):
        yield from _Road(experiments, studies, QUICK if quick else FULL, quick, seed, workers).walk()


class _Road:
    """The stages, and the file that remembers which of them are done."""

    def __init__(
        self, experiments: Path, studies: Path, scale: Scale, quick: bool, seed: int, workers: int
    ) -> None:
        self.experiments, self.studies, self.scale = experiments, studies, scale
        self.quick, self.seed, self.workers = quick, seed, workers
        self.state = self._load_state()

    def walk(self) -> Iterator[str]:
        stages: list[tuple[str, str, Callable[[], dict[str, Any]]]] = [
            ("city", "render the toy city by day and by night", self._city),
            ("baseline", "train the baseline retrieval network on day photographs", self._baseline),
            *[(method, f"search {method}: a study of trials", self._study(method)) for method in METHODS],
            ("promotion", "promote the best generator to champion", self._promotion),
            ("further", "train the day network further on day photographs", self._without("further", "none")),
            (
                "photometric",
                "train it further with darkened photographs",
                self._without("photometric", "photometric"),
            ),
            ("champion", "train it further with the champion's nights", self._champion),
            ("report", "write the report", self._report),
        ]
        minutes = self.scale.minutes
        left = [key for key, _, _ in stages if key not in self.state["stages"]]
        yield f"d2n {d2n.__version__}, the whole road on the toy city, seed {self.seed}, in {Path.cwd()}"
        if self.quick:
            yield "--quick: a fifth of the city, short trials, weaker results than the full road"
        total = sum(minutes[key] for key in left)
        yield f"{len(left)} of {len(stages)} stages to go, about {total:.0f} minutes on 2 cores"
        for number, (key, title, work) in enumerate(stages, 1):
            if key not in left:
                yield f"[{number}/{len(stages)}] {title}: done before"
                continue
            yield f"[{number}/{len(stages)}] {title} (about {_duration(60 * minutes[key])}) …"
            started, used = time.monotonic(), _processor_s()
            found = work()
            found |= {"seconds": time.monotonic() - started, "processor_s": _processor_s() - used}
            self._remember(key, found)
            raise_unheard()
            yield f"      {found['said']} ({_duration(found['seconds'])})"
        yield from self._closing()

    def _city(self) -> dict[str, Any]:
        from d2n.datasets import toycity

        index = toycity.make(
            Path("data") / DATASET,
            seed=self.seed,
            scale=self.scale.cities,
            workers=self.workers,
            progress=True,
        )
        return {"said": f"{len(index.rows)} photographs, {len(index.pairs)} day/night pairs"}

    def _baseline(self) -> dict[str, Any]:
        return self._retrieve("baseline", self.experiments / "retrieval_toycity_baseline.yaml")

    def _without(self, key: str, augmentation: str) -> Callable[[], dict[str, Any]]:
        """The champion's knobs without its nights, so that the arm is there in a folder of one's own experiments."""
        knobs = {
            "name": f"retrieval_{DATASET}_{key}",
            "night.augmentation": augmentation,
            "night.generator": None,
        }
        return lambda: self._retrieve(key, self.experiments / f"retrieval_{DATASET}.yaml", knobs)

    def _champion(self) -> dict[str, Any]:
        return self._retrieve("champion", self.experiments / "retrieval_toycity.yaml")

    def _retrieve(self, key: str, path: Path, knobs: Mapping[str, Any] = _NO_KNOBS) -> dict[str, Any]:
        """One arm; its run id is remembered at once, so that an interrupted arm goes on in the same run."""
        from d2n.tracking import runs
        from d2n.workflows import retrieve

        experiment = load_experiment(path, {**self.scale.retrieval, **knobs, "seed": self.seed})
        if not isinstance(experiment, RetrievalExperiment):
            raise ConfigError(f"{path}: expected a retrieval experiment")
        store = runs.open_store(None)
        begun = self.state["runs"].get(key)
        run: runs.TrackedRun | runs.RunRecord
        if begun:
            run = store.get(begun)
        else:
            run = store.start_run(
                names.experiment(DATASET), experiment.name, tags={names.KIND: "retrieval"}, params={}
            )
            self.state["runs"][key] = run.run_id
            self._save()
        done = retrieve.retrieve(experiment, store=store, run=run, progress=True)
        maps = {name: float(np.mean(values)) for name, values in done.maps.items()}
        said = ", ".join(f"mAP {name} {100 * value:.1f}" for name, value in maps.items())
        return {
            "said": said,
            "maps": maps,
            "share": experiment.night.probability,
            "url": done.url,
            "run_id": done.run_id,
        }

    def _study(self, method: str) -> Callable[[], dict[str, Any]]:
        def work() -> dict[str, Any]:
            from d2n.workflows import search

            overrides = {
                **self.scale.translation[method],
                "seed": self.seed,
                "study.stop.trials": self.scale.trials[method],
            }
            request = search.SearchRequest(
                self.studies / f"{method}_toycity.yaml",
                workers=self.workers,
                overrides=[f"{key}={json.dumps(value)}" for key, value in overrides.items()],
                progress=True,
            )
            found = search.search(request)
            return {"said": found[-1]}

        return work

    def _promotion(self) -> dict[str, Any]:
        from d2n.tracking import runs
        from d2n.workflows import promote

        # One seed of each setting: training more would take the road's time twice over. Lit windows in dark walls are
        # the day's negative, so that an alarm of inversion says nothing here. Whether a true night finds the generated
        # one of its place goes with mAP before FID does (docs/results.md).
        rule = PromotionConfig(metric=(METRIC,), settings=4, retrain=False, refuse_alarms=())
        done = promote.promote(DATASET, store=runs.open_store(None), rule=rule)
        winner = done.decision.winner
        score = winner.score
        return {
            "said": f"{winner.method} with {score.name} {score.value:.4g} is {done.model_name}@{names.CHAMPION}",
            "method": winner.method,
            "score": score.value,
            "score_name": score.name,
            "reasons": list(done.decision.reasons),
        }

    def _report(self) -> dict[str, Any]:
        from d2n.workflows import report

        return {"said": str(report.report_command(Path("report"), dataset=None, tracking_uri=None))}

    def _closing(self) -> Iterator[str]:
        stages = self.state["stages"]
        baseline, champion, promoted = stages["baseline"], stages["champion"], stages["promotion"]
        columns = list(baseline["maps"])
        labels = {name: f"mAP {name.removeprefix(DATASET + '/')}" for name in columns}
        yield ""
        yield f"what was found (toy city, seed {self.seed}{', quick' if self.quick else ''}; mAP in percent)"
        yield ""
        yield f"{'training of the retrieval network':44}" + "".join(f"{labels[name]:>12}" for name in columns)
        arms = (
            ("day photographs only", baseline),
            ("the same, trained further by day alone", stages["further"]),
            (f"{_share(stages['photometric'])} darkened at random (photometric)", stages["photometric"]),
            (f"{_share(champion)} by night, {promoted['method']} (champion)", champion),
        )
        for label, arm in arms:
            yield f"{label:44}" + "".join(f"{100 * arm['maps'][name]:12.1f}" for name in columns)
        ratios = [champion["maps"][name] / max(baseline["maps"][name], 1e-9) for name in columns]
        yield f"{'ratio of the champion to day only':44}" + "".join(f"{ratio:11.2f}x" for ratio in ratios)
        yield ""
        yield f"champion: {promoted['score_name']} = {promoted['score']:.4g} on the test split"
        yield ""
        d2n_here = f"cd demo-quick && {_script()}" if self.quick else _script()
        yield "next"
        yield f"  {d2n_here} ui    (runs, curves, sample grids at http://127.0.0.1:5000)"
        yield f"  {d2n_here} search status    (the studies, and whether the leader leads by more than noise)"
        yield f"  {d2n_here} translate d2n-toycity@champion data/toycity OUT    (day photographs to night)"
        yield f"  open {stages['report']['said']}"

    def _load_state(self) -> dict[str, Any]:
        fresh = {"seed": self.seed, "quick": self.quick, "stages": {}, "runs": {}}
        if not STATE.exists():
            return fresh
        state = read_json_object(STATE, DataError)
        if not all(isinstance(state.get(key), type(value)) for key, value in fresh.items()):
            raise DataError(
                f"{STATE.resolve()}: no state of a demo, expected {', '.join(fresh)}; remove it, or name another "
                "folder with --out"
            )
        if state["seed"] != self.seed:
            raise DataError(
                f"{STATE.resolve()}: a demo with seed {state['seed']} lies here, asked was seed {self.seed}; "
                "name another folder with --out"
            )
        return state

    def _remember(self, key: str, found: dict[str, Any]) -> None:
        self.state["stages"][key] = found
        self._save()

    def _save(self) -> None:
        write_text(STATE, json.dumps(self.state, indent=2), durable=True)


def _project_folders() -> tuple[Path, Path]:
    """Experiments and studies of the current folder if it has all that are walked, else those that come with d2n."""
    pairs = [f"{method}_{DATASET}" for method in METHODS]
    walked = {
        "experiments": [*pairs, f"retrieval_{DATASET}", f"retrieval_{DATASET}_baseline"],
        "optuna_studies": pairs,
    }
    is_whole = all(Path(kind, f"{name}.yaml").is_file() for kind, names_ in walked.items() for name in names_)
    homes = [Path(kind) if is_whole else shipped.folder(kind) for kind in shipped.KINDS]
    return homes[0].resolve(), homes[1].resolve()


def _script() -> str:
    """How this command is called again: .venv/bin/d2n where make set it up."""
    local = Path(".venv/bin/d2n")
    return str(local) if local.exists() else "d2n"


def _share(arm: Mapping[str, Any]) -> str:
    return f"{100 * arm.get('share', 0.15):.0f} %"  # 15 % where a release before this one walked it


def _processor_s() -> float:
    """Seconds of processors that this process and the ended ones that it started have used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
