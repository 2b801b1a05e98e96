"""How far one arm's night mAP lies from another seed's, and what that costs to bring down.

    python benchmarks/arm_noise.py --work FOLDER --generator RUN_ID --seeds 4
    python benchmarks/arm_noise.py --work FOLDER --generator RUN_ID --seeds 4 --set training.lr_end=0.2

FOLDER is where d2n's stores lie and the city was made. Each seed is trained once and read in several ways: the last
weights, the means of the weights over the last 2, 3 and 5 epochs (Izmailov et al., 2018), each with learned whitening
and without. Finished seeds are kept in FOLDER/arm_noise.jsonl, from which a later call goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from d2n.config import RetrievalExperiment, load_experiment
from d2n.devices import use_threads
from d2n.plots.agreement import seed_deviation, seeds_needed
from d2n.tracking import runs
from d2n.workflows import evaluation as held
from d2n.workflows.retrieval import RetrievalTraining, fine_tune
from d2n.workflows.retrieve.arm import Arm, open_arm
from d2n.workflows.retrieve.measuring import learn_whitening, measure

KEPT = Path("arm_noise.jsonl")
MEANS, WHITENINGS = (1, 2, 3, 5), ("learned", "none")
NIGHT, DAY = "map/toycity/night", "map/toycity/day"


def readings(experiment: RetrievalExperiment) -> Iterator[dict[str, Any]]:
    """One training of the experiment's seed; what it is worth by each way of reading its last weights."""
    store = runs.open_store(None)
    arm = open_arm(experiment, held.open_dataset(experiment.dataset), store, None, store.work_root)
    work = RetrievalTraining(
        experiment, arm.data, experiment.seed, store.work_root / f"noise-{time.time_ns()}"
    )
    last: deque[dict[str, torch.Tensor]] = deque(maxlen=max(MEANS))
    with contextlib.closing(fine_tune(work)) as steps:
        for step in steps:
            if step.epoch is not None:
                last.append({name: p.detach().double().clone() for name, p in work.net.named_parameters()})
    for count in (count for count in MEANS if count <= len(last)):
        with torch.no_grad():
            for name, parameter in work.net.named_parameters():
                parameter.copy_(sum(one[name] for one in list(last)[-count:]) / count)
        for whitening in WHITENINGS:
            found = measure(
                read := _with(arm, whitening), work.net, learn_whitening(read, work.net, False), False
            )
            yield {
                "mean_of": count,
                "whitening": whitening,
                NIGHT: found.values[NIGHT],
                DAY: found.values[DAY],
            }


def _with(arm: Arm, whitening: str) -> Arm:
    evaluation = dataclasses.replace(arm.experiment.evaluation, whitening=whitening)
    return dataclasses.replace(arm, experiment=dataclasses.replace(arm.experiment, evaluation=evaluation))


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Mean and deviation of each way of reading, and the seeds that a difference of 5 points needs by it."""
    told = []
    for key in dict.fromkeys((row["mean_of"], row["whitening"]) for row in rows):
        values = [row[NIGHT] for row in rows if (row["mean_of"], row["whitening"]) == key]
        deviation = seed_deviation([values])
        noise = (
            f" ± {100 * deviation:.1f}, 5 points need {seeds_needed(deviation, 0.05)} seeds an arm"
            if deviation is not None
            else ""
        )
        count = f"the last {key[0]} epochs' mean" if key[0] > 1 else "the last weights"
        told.append(f"{count}, whitening {key[1]}: night {100 * statistics.fmean(values):.1f}{noise}")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--generator", required=True, help="a run id, models:/NAME@ALIAS or a folder; none: by day"
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], help="a knob of retrieval_toycity")
    asked = parser.parse_args()
    night = "night.augmentation=none" if asked.generator == "none" else f"night.generator={asked.generator}"
    about = {"generator": asked.generator, "set": sorted(asked.set)}
    with contextlib.chdir(asked.work):
        use_threads(1)
        known = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
        rows = [one for one in known if {key: one[key] for key in about} == about]
        for seed in sorted(set(range(asked.seeds)) - {row["seed"] for row in rows}):
            experiment = load_experiment("retrieval_toycity", [night, f"seed={seed}", *asked.set])
            assert isinstance(experiment, RetrievalExperiment)
            found = [{**about, "seed": seed, **one} for one in readings(experiment)]
            with KEPT.open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(one)}\n" for one in found)
            rows += found
            print(
                f"seed {seed}: {100 * found[0][NIGHT]:.1f} by night, {100 * found[0][DAY]:.1f} by day",
                flush=True,
            )
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
