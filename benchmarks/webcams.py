"""Real photographs: networks trained on one fold's scenes, night queries of the other fold's, every arm of night.

    python benchmarks/webcams.py FOLDER --weights FILE --work OUT            # goes on where it was stopped
    python benchmarks/webcams.py FOLDER --weights FILE --work OUT --answer   # the table so far

FOLDER holds images/ and labels.csv (image, domain, scene, fold with A and B) and FILE a SqueezeNet 1.0 for inputs of
0-255 less their means. A pix2pix of each fold's scenes makes the generator's nights; no tested scene is seen.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from d2n.config import RetrievalExperiment, TranslationExperiment, load_experiment
from d2n.datasets import prepare
from d2n.scores.resampling import mean_interval, paired_difference
from d2n.tracking import runs
from d2n.workflows import evaluate, retrieve, train

FOLDS = {"A": "B", "B": "A"}  # trained on, tested on
ARMS: Mapping[str, Mapping[str, Any]] = {
    "untrained": {"training.n_epochs": 0},
    "day only": {},
    "photometric": {"night.augmentation": "photometric"},
    "CLAHE": {"network.light": "clahe"},
    "pix2pix": {"night.augmentation": "generator"},
}
TRAINED = {
    "training.n_epochs": 2, "training.num_queries": 60, "training.num_negatives": 3, "training.image_size_px": 160,
    "training.lr": 1e-5, "training.num_threads": 1, "night.probability": 0.3, "evaluation.image_size_px": 224,
}  # fmt: skip
GENERATOR = {
    "training.n_epochs": 20, "training.num_threads": 1, "training.precision": "fp32", "evaluation.num_bootstrap": 0,
    "evaluation.every_epochs": 20,
}  # fmt: skip
COLUMNS = ("tested", "arm", "seed", "scene", "map_night")
BEFORE = "day only"  # what the other arms are held against


def overrides(knobs: Mapping[str, Any]) -> list[str]:
    """Knobs as the command line takes them."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in knobs.items()]


class Webcams:
    """The photographs, the store of the work folder, and the table of what is measured."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.folder, self.weights = folder, weights
        self.store = runs.open_store(None)
        self.table = Path("webcams.csv")
        self.rows: list[dict[str, str]] = []
        if self.table.exists():
            with self.table.open() as file:
                self.rows = list(csv.DictReader(file))

    def given(self, fold: str) -> dict[str, Any]:
        """The knobs of the data set with this fold to train on."""
        rule = {"train_folds": [fold], "test_folds": [FOLDS[fold]], "pairs": "scenes"}
        index = Path(f"index{fold}").resolve()
        if not index.exists():
            prepare("folders", self.folder, index, rule, as_name="amos")
        return {"dataset.root": str(self.folder), "dataset.index": str(index)}

    def generator(self, fold: str) -> str:
        """The run of a pix2pix of the fold's scenes, trained where it is not there."""
        name = f"webcams-{fold}"
        known = [one for one in self.store.find_runs(status="FINISHED") if one.name == name]
        if known:
            return known[-1].run_id
        wanted = {**self.given(fold), **GENERATOR, "name": name, "evaluation.weights": str(self.weights)}
        experiment = load_experiment("pix2pix_amos", overrides({**wanted, "evaluation.input": "caffe"}))
        assert isinstance(experiment, TranslationExperiment)
        return train.train(experiment, store=self.store, progress=True).run_id

    def measure(self, fold: str, arm: str, seed: int) -> None:
        """Train a network on the fold, and find day photographs by the other fold's night photographs."""
        knobs = {
            **self.given(fold),
            **TRAINED,
            **ARMS[arm],
            "seed": seed,
            "network.weights": str(self.weights),
        }
        knobs |= {"network.input": "caffe", "register_as": "d2n-retrieval-amos", "name": f"{fold}-{arm}"}
        if arm == "pix2pix":
            knobs["night.generator"] = self.generator(fold)
        experiment = load_experiment("retrieval_amos", overrides(knobs))
        assert isinstance(experiment, RetrievalExperiment)
        made = retrieve.retrieve(experiment, store=self.store).registered
        assert made is not None
        asked = evaluate.Request(
            f"{made.name}/{made.version}", str(Path(f"index{fold}") / "d2n-index-amos.csv"), root=self.folder
        )
        found = evaluate.evaluate(asked, store=self.store)
        with tempfile.TemporaryDirectory() as folder:
            path = self.store.artifact(found.run_id, "tables/scenes-amos-night.json", Path(folder))
            told = json.loads(path.read_text())
        for scene, value in told["data"]:
            self.rows.append(
                dict(zip(COLUMNS, (FOLDS[fold], arm, str(seed), scene, repr(value)), strict=True))
            )
        with self.table.open("w") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        print(
            f"fold {fold}, {arm}, seed {seed}: {100 * np.mean([value for _, value in told['data']]):.1f}",
            flush=True,
        )

    def missing(self, seeds: int) -> list[tuple[int, str, str]]:
        """Seed, fold and arm of what is not measured, the first seed of all before the second of any."""
        done = {(int(row["seed"]), row["tested"], row["arm"]) for row in self.rows}
        wanted = [(seed, fold, arm) for seed in range(seeds) for arm in ARMS for fold in FOLDS]
        return [
            one
            for one in wanted
            if (one[0], FOLDS[one[1]], one[2]) not in done and (one[2] != "untrained" or not one[0])
        ]

    def answer(self) -> list[str]:
        """The mean over scenes of each arm with its interval over scenes, and its difference to day alone."""
        lines, base = [], self._values(BEFORE)
        for arm in ARMS:
            values = self._values(arm)
            if not len(values):
                continue
            low, high = mean_interval(values.mean(axis=0), 2000) or (np.nan, np.nan)
            line = f"{arm}: {100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"
            if len(values) > 1:
                line += f", over {len(values)} seeds {100 * values.mean(axis=1).std(ddof=1):.1f}"
            if arm != BEFORE and len(base):
                gain, ends = paired_difference(values, base)
                shown = f" [{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]" if ends else ""
                line += f"; beside {BEFORE} {100 * gain:+.1f}{shown}"
            lines.append(line)
        return [
            f"{len({row['scene'] for row in self.rows})} scenes, mAP by night, mean over scenes [95 % over scenes]",
            *lines,
        ]

    def _values(self, arm: str) -> np.ndarray:
        """(seeds, scenes) of those that both folds have."""
        each: dict[str, dict[str, float]] = {}
        for row in self.rows:
            if row["arm"] == arm:
                each.setdefault(row["seed"], {})[row["scene"]] = float(row["map_night"])
        scenes = sorted({row["scene"] for row in self.rows})
        return np.array(
            [[one[scene] for scene in scenes] for one in each.values() if set(one) == set(scenes)]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--answer", action="store_true")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    folder, weights = asked.folder.resolve(), asked.weights.resolve()
    with contextlib.chdir(asked.work):
        webcams = Webcams(folder, weights)
        for seed, fold, arm in [] if asked.answer else webcams.missing(asked.seeds):
            webcams.measure(fold, arm, seed)
        print("\n".join(webcams.answer()))


if __name__ == "__main__":
    main()
