"""Processor seconds of whole commands, this checkout's against those of another, such as the release before.

    git worktree add ../before 0.1.0
    python benchmarks/releases.py ../before             what takes longer now, and by how much
    python benchmarks/releases.py ../before --pairs 9   closer; --only prd for one of them

The two run in turn, the first of a pair changing, each in a process of its own and on one thread; a pair's ratio is
this checkout's user and system seconds over the other's. Told are the median of the ratios and its interval (binomial,
at least 90 %): at 1.03 or less nothing got slower by more than that. The other checkout needs no installation: the
packages are those of this Python.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
_ONE_THREAD = ["--set", "training.num_threads=1"]
_CODE = {
    "fid": """
from d2n.scores.frechet import frechet_from_features
for _ in range(8): frechet_from_features(x, y)
""",
    "kid": """
from d2n.scores.kid import kid
for seed in range(8): kid(x, y, seed=seed)
""",
    "prd": """
from d2n.scores.prd import prd
prd(x, y, num_runs=4, method="exact"); prd(x, y, method="fast")
""",
    "ranking": """
from d2n.scores.mean_ap import mean_average_precision
truth = [{"ok": list(range(q, q + 20)), "junk": [q + 20]} for q in range(200)]
ranks = np.argsort(-x[:1800] @ y[:200].T, axis=0)
for _ in range(8): mean_average_precision(ranks, truth)
""",
    "whitening": """
from d2n.retrieval.whitening import apply_whitening, learn_whitening
for _ in range(8): apply_whitening(x, learn_whitening(x, np.arange(900), np.arange(900, 1800)))
""",
}
_DATA = """
import numpy as np
rng = np.random.default_rng(0)
x, y = (rng.normal(size=(2000, 256)) + shift for shift in (0, 0.1))
"""


def commands(tree: Path, n_steps: int) -> dict[str, list[str]]:
    """What is timed, by name."""
    d2n = [sys.executable, "-m", "d2n"]
    experiments = tree / "experiments"
    short = ["--set", f"training.steps_per_epoch={n_steps}", "--set", "training.n_epochs=1", *_ONE_THREAD]
    whole = ["--set", "evaluation.every_epochs=1", "--set", "evaluation.num_bootstrap=0"]
    whole += ["--set", "evaluation.scores=[fid, kid, prd]"]  # those that every release has
    arm = ["--set", "pretraining.n_epochs=1", "--set", "training.n_epochs=1", *_ONE_THREAD]
    return {
        "help": [*d2n, "--help"],
        "retrieve": [*d2n, "retrieve", str(experiments / "retrieval_toycity_baseline.yaml"), *arm],
        "pix2pix": [*d2n, "train", str(experiments / "pix2pix_toycity.yaml"), *short, *whole],
        "cyclegan": [*d2n, "train", str(experiments / "cyclegan_toycity.yaml"), *short, *whole],
        **{name: [sys.executable, "-c", _DATA + code] for name, code in _CODE.items()},
    }


def processor_s(command: Sequence[str], tree: Path, folder: Path) -> float:
    """User and system seconds of a command and its children."""
    settings = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = folder / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} of {tree} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return used.ru_utime + used.ru_stime


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Of the median, by order statistics: the narrowest that covers at least 90 %, the whole range below five."""
    ordered, n = sorted(ratios), len(ratios)
    for k in range((n - 1) // 2, 0, -1):
        outside = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        if outside <= 0.1:
            return ordered[k], ordered[n - 1 - k]
    return ordered[0], ordered[-1]


def compared(
    name: str, other: Path, n_pairs: int, n_steps: int, folders: Callable[[Path], Path]
) -> tuple[float, list[float]]:
    """Median seconds of this checkout, and each pair's ratio."""
    seconds: dict[Path, list[float]] = {HERE: [], other: []}
    for number in range(n_pairs):
        for tree in (HERE, other) if number % 2 else (other, HERE):
            seconds[tree].append(processor_s(commands(tree, n_steps)[name], tree, folders(tree)))
    ratios = [ours / theirs for ours, theirs in zip(seconds[HERE], seconds[other], strict=True)]
    return statistics.median(seconds[HERE]), ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the checkout that this one is held against")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="of each training")
    parser.add_argument("--only", action="append", help="such as prd; may be repeated")
    asked = parser.parse_args()
    other = asked.other.resolve()
    if not (other / "d2n" / "__init__.py").is_file():
        parser.error(f"{other} is no checkout of d2n")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {HERE: Path(scratch) / "this", other: Path(scratch) / "other"}
        for tree, folder in folders.items():
            folder.mkdir()
            processor_s([sys.executable, "-m", "d2n", "data", "make", "toycity"], tree, folder)
            processor_s(
                commands(tree, asked.steps)["retrieve"], tree, folder
            )  # what the trainings' scores see with
        print(f"{'':12}{'seconds':>9}{'ratio':>8}   interval of {asked.pairs} pairs", flush=True)
        for name in commands(HERE, asked.steps):
            if asked.only and name not in asked.only:
                continue
            here_s, ratios = compared(name, other, asked.pairs, asked.steps, folders.__getitem__)
            low, high = interval(ratios)
            print(
                f"{name:12}{here_s:9.2f}{statistics.median(ratios):8.3f}   {low:.3f} to {high:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
