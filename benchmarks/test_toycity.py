"""How fast the toy city is rendered: photos a second on one core, saving included."""

from __future__ import annotations

import time
from pathlib import Path

from d2n.datasets.toycity import make, photograph, plan

SCALE = 0.15  # 975 photos


def test_photos_a_second(tmp_path: Path) -> None:
    start = time.process_time()
    index = make(tmp_path / "toycity", scale=SCALE, workers=1)
    whole = time.process_time() - start
    start = time.process_time()
    rendered = sum(1 for job in plan(SCALE) for _ in photograph(0, job))
    alone = time.process_time() - start
    start = time.process_time()
    again = make(tmp_path / "toycity", scale=SCALE, workers=1)
    second = time.process_time() - start
    assert again.digest == index.digest
    assert rendered == len(index.rows)
    print(f"\ntoy city, one core: {len(index.rows) / whole:.0f} photos/s of CPU, rendered and saved")
    print(
        f"toy city, one core: {rendered / alone:.0f} photos/s of CPU, only rendered ({whole / alone:.2f} x faster)"
    )
    print(
        f"toy city, second call: {second * 1e3:.0f} ms of CPU, {whole / second:.0f} x faster than the first"
    )
