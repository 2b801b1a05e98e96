"""The whole road over several seeds: what it finds, and what each stage takes.

    make speedrun                                        seeds 0, 1 and 2 in speedrun/, then the table
    python benchmarks/speedrun.py FOLDER --seeds 5       more seeds; what is walked already is not walked again
    python benchmarks/speedrun.py FOLDER --quick         the short road, to try this out

Each seed is `d2n demo --seed N` in a folder of its own: a city of that seed, a day network, studies of pix2pix and
CycleGAN, a promotion without retraining, a network with the champion's nights. A stage that was interrupted and gone
on with has the seconds of its last part alone: such a seed is left out of the seconds, and said.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

_ARMS = {
    "baseline": "day photographs only",
    "further": "further by day alone",
    "photometric": "further, darkened",
    "champion": "further, champion's nights",
}
_CONDITIONS = ("toycity/day", "toycity/night")
_BESIDE = ("further", "photometric", "report")  # stages that no network with nights needs
_BEGUN = "begun.json"


def walked(folder: Path, seed: int, *, quick: bool) -> dict[str, Any]:
    """The stages of one seed's demo, walked where that is not done; ``is_whole``: in one go."""
    home = folder / f"seed{seed}"
    state_file = home / ("demo-quick" if quick else ".") / "mlruns" / "demo.json"
    begun = home / _BEGUN
    state = json.loads(state_file.read_text()) if state_file.exists() else {"stages": {}}
    if "report" not in state["stages"]:
        is_first = not begun.exists()
        home.mkdir(parents=True, exist_ok=True)
        begun.write_text(json.dumps({"is_whole": is_first}))
        command = [sys.executable, "-m", "d2n", "demo", "--seed", str(seed), "--out", str(home)]
        subprocess.run([*command, *(["--quick"] if quick else [])], check=True)
        state = json.loads(state_file.read_text())
    return {**state["stages"], "is_whole": json.loads(begun.read_text())["is_whole"]}


def interval(values: Sequence[float]) -> str:
    """Mean and the half width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):.1f} ± {half:.1f}"


def table(seeds: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Lines for people: mAP over seeds, then seconds of each stage."""
    lines = [f"{'':28}{'mAP day':>16}{'mAP night':>16}   {len(seeds)} seeds, mean and 95 % interval"]
    maps = {
        arm: {name: [100 * stages[arm]["maps"][name] for stages in seeds.values()] for name in _CONDITIONS}
        for arm in _ARMS
    }
    for arm, label in _ARMS.items():
        lines.append(f"{label:28}" + "".join(f"{interval(maps[arm][name]):>16}" for name in _CONDITIONS))
    for name, told in zip(_CONDITIONS, ("day points lost", "night, times the baseline's"), strict=True):
        pairs = list(zip(maps["baseline"][name], maps["champion"][name], strict=True))
        values = [before - after if name.endswith("day") else after / before for before, after in pairs]
        lines.append(f"{told:28}{interval(values) if name.endswith('day') else _ratio(values):>16}")
    whole = {seed: stages for seed, stages in seeds.items() if stages["is_whole"]}
    lines += [
        "",
        f"{'stage':14}{'seconds':>10}{'processor s':>13}   mean of {len(whole)} seeds walked in one go",
    ]
    totals = {"the road": np.zeros(2), "all": np.zeros(2)}
    for stage in next(iter(seeds.values())):
        if stage == "is_whole" or not whole:
            continue
        took = np.mean([[one[stage]["seconds"], one[stage]["processor_s"]] for one in whole.values()], axis=0)
        totals["all"] += took
        totals["the road"] += took * (stage not in _BESIDE)
        lines.append(f"{stage:14}{took[0]:10.1f}{took[1]:13.1f}")
    return [*lines, *(f"{name:14}{sums[0]:10.1f}{sums[1]:13.1f}" for name, sums in totals.items())]


def _ratio(values: Sequence[float]) -> str:
    return interval([100 * value for value in values]).replace(" ±", " % ±") + " %"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    seeds = {seed: walked(asked.folder.resolve(), seed, quick=asked.quick) for seed in range(asked.seeds)}
    print("\n".join(["", *table(seeds)]))


if __name__ == "__main__":
    main()
