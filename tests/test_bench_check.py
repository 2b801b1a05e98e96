"""benchmarks/check.py finds a ratio that fell, and docs/results.md shows the ratios that are kept."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "check.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("values", "has_fallen"),
    [
        ([1.2, 1.3, 1.25], True),
        ([1.2, 1.9, 1.25], False),  # once as fast as before: a busy moment
        ([1.78, 1.79, 1.77], False),  # lower, by less than a tenth
        ([2.6, 2.7, 2.8], False),
    ],
)
def test_a_fall_is_below_all_that_was_kept_and_by_a_tenth(
    check: ModuleType, values: list[float], has_fallen: bool
) -> None:
    kept = {"FID": check.Ratio("sqrtm", "test_scores.py", [1.9, 1.8, 2.1])}
    lines = check.fallen({"FID": check.Ratio("sqrtm", "test_scores.py", values)}, kept)
    assert bool(lines) is has_fallen
    assert all("kept was 1.9 [1.8, 2.1] of 3" in line for line in lines)


def test_a_ratio_that_nobody_kept_cannot_fall(check: ModuleType) -> None:
    assert check.fallen({"new": check.Ratio("old", "test_scores.py", [0.1])}, {}) == []


def test_the_documents_show_what_is_kept(check: ModuleType) -> None:
    shown = check.RESULTS.read_text().partition(check.BEGIN)[2].partition(check.END)[0]
    assert shown.strip() == check.table(check.read()).strip()


def test_every_benchmark_that_is_measured_is_there(check: ModuleType) -> None:
    assert all((check.HOME / file).exists() for file in check.FILES)
    for ratios in check.read().values():
        assert all(one.file in check.FILES and min(one.values) > 0 for one in ratios.values())
