"""Did anything become slow? Ratios to the alternatives, measured now, beside those that were kept.

    make bench-check                              # measure, and hold against data/ratios.json
    python benchmarks/check.py --keep             # measure, and keep what was measured
    python benchmarks/check.py --table            # the kept ratios as the table of docs/results.md
    python benchmarks/check.py --only "fid or kid"

Ratios of one run, never times: both sides see the same machine. They belong to a processor all the same, so that a
kept ratio is only held against one of the same processor with as many cores. A ratio has fallen where every new
measurement lies below every kept one, and their median by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOME = Path(__file__).resolve().parent
KEPT = HOME / "data" / "ratios.json"
RESULTS = HOME.parent / "docs" / "results.md"
BEGIN, END = "<!-- ratios: python benchmarks/check.py --table -->", "<!-- end of ratios -->"
MARGIN = 0.1  # of a median, by which it has to fall as well
FILES = {  # the tests of each that take seconds
    "test_scores.py": "((fid or kid) and 300) or (prd and 113)",
    "test_retrieval.py": "search or mining",
    "test_tracking.py": "epoch_of_metrics",
    "test_datasets.py": "images_per_second",
    "test_translators.py": "coarse or winograd or (training_step and (pix2pix or cyclegan) and 64)",
}


@dataclass
class Ratio:
    """How many times faster than the alternative, by the measurements."""

    against: str
    file: str
    values: list[float] = field(default_factory=list)

    def told(self) -> str:
        """The median, and the span of what was measured."""
        low, high, count = min(self.values), max(self.values), len(self.values)
        return f"{statistics.median(self.values):.3g} [{low:.3g}, {high:.3g}] of {count}"


Ratios = dict[str, Ratio]


def processor() -> str:
    """What kept ratios belong to."""
    model, flags = "unknown", ""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        key, _, value = line.partition(":")
        model = value.strip() if key.strip() == "model name" else model
        flags = value if key.strip() == "flags" else flags
    fast = " with bf16" if "avx512_bf16" in flags.split() else ""
    return f"{model}{fast}, {len(os.sched_getaffinity(0))} cores"


def measured(rounds: int, only: str) -> Ratios:
    """Each benchmark so many times, each time in a process of its own."""
    found: Ratios = {}
    for number in range(rounds):
        for file, tests in FILES.items():
            wanted = f"({tests}) and ({only})" if only else tests
            print(f"round {number + 1} of {rounds}: {file}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                lines = Path(folder) / "ratios"
                command = [sys.executable, "-m", "pytest", str(HOME / file), "-q", "-m", "", "-k", wanted]
                done = subprocess.run(
                    [*command, "-p", "no:xdist", "-p", "no:cacheprovider"],
                    env={**os.environ, "D2N_RATIOS": str(lines)},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=False,
                )
                if done.returncode not in (0, 5):  # 5: none of its tests is wanted
                    sys.exit(f"{file} failed:\n{done.stdout[-3000:]}")
                for line in lines.read_text().splitlines() if lines.exists() else ():
                    one = json.loads(line)
                    found.setdefault(one["what"], Ratio(one["against"], file)).values.append(one["value"])
    return found


def fallen(now: Mapping[str, Ratio], kept: Mapping[str, Ratio]) -> list[str]:
    """A line for each ratio that is lower than it was beyond its spread."""
    return [
        f"{what}: {one.told()} x {one.against}, kept was {kept[what].told()}"
        for what, one in now.items()
        if what in kept
        and max(one.values) < min(kept[what].values)
        and statistics.median(one.values) < (1 - MARGIN) * statistics.median(kept[what].values)
    ]


def table(kept: Mapping[str, Mapping[str, Ratio]]) -> str:
    """As Markdown, a block a processor."""
    blocks = []
    for name, ratios in kept.items():
        rows = [
            f"| {what} | {one.against} | {one.told()} | `pytest benchmarks/{one.file} -s` |"
            for what, one in ratios.items()
        ]
        head = ["| what | against | ratio, and span of so many runs | command |", "|---|---|---|---|"]
        blocks.append("\n".join([f"{name}:", "", *head, *rows]))
    return "\n\n".join(blocks)


def read() -> dict[str, Ratios]:
    """The kept ratios by processor."""
    if not KEPT.exists():
        return {}
    return {
        name: {what: Ratio(**one) for what, one in ratios.items()}
        for name, ratios in json.loads(KEPT.read_text()).items()
    }


def keep(all_kept: dict[str, Ratios], now: Ratios) -> None:
    """Add what was measured, and write the table of docs/results.md anew."""
    here = all_kept.setdefault(processor(), {})
    for what, one in now.items():
        here.setdefault(what, Ratio(one.against, one.file)).values += [
            round(value, 4) for value in one.values
        ]
    plain = {name: {what: vars(one) for what, one in ratios.items()} for name, ratios in all_kept.items()}
    KEPT.write_text(json.dumps(plain, indent=1) + "\n")
    before, _, rest = RESULTS.read_text().partition(BEGIN)
    RESULTS.write_text(f"{before}{BEGIN}\n\n{table(all_kept)}\n\n{END}{rest.partition(END)[2]}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="tests, as pytest's -k takes them")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args(arguments)
    kept = read()
    if asked.table:
        print(table(kept))
        return 0
    here = kept.get(processor(), {})
    if not asked.keep and not here:
        print(
            f"no ratio of this processor ({processor()}) is kept: `python benchmarks/check.py --keep` keeps them"
        )
        return 2
    now = measured(asked.rounds, asked.only)
    for what, one in now.items():
        print(f"{what}: {one.told()} x {one.against}")
    if asked.keep:
        keep(kept, now)
        return 0
    lines = fallen(now, here)
    print("\n".join(["", *(f"FALLEN {line}" for line in lines)]) if lines else "\nno ratio has fallen")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
