"""What a benchmark's ratio is kept with, the fixture ``ratio``; the checkout's ``tests``, whose servers some take."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Ratio = Callable[[str, str, float], None]  # what, against what, how many times faster than it

_TESTS = str(Path(__file__).resolve().parents[1] / "tests")

# another package may be installed by that name
if _TESTS not in getattr(sys.modules.get("tests"), "__path__", ()):
    ours = ModuleType("tests")
    ours.__path__ = [_TESTS]
    sys.modules["tests"] = ours


@pytest.fixture
def ratio() -> Ratio:
    """Tell a ratio, and keep it as a line of the file that D2N_RATIOS names (benchmarks/check.py reads it)."""

    def tell(what: str, against: str, value: float) -> None:
        print(f"\n{what}: {value:.2f} x {against}")
        if path := os.environ.get("D2N_RATIOS"):
            with Path(path).open("a") as file:
                file.write(json.dumps({"what": what, "against": against, "value": value}) + "\n")

    return tell
