"""Sample sheets: which image lies where; and scores that joined the list of a run that went on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from d2n.core import Score
from d2n.workflows.recording import Recorder, sample_sheet


def row(count: int, first: int) -> np.ndarray:
    """(count, 4, 4, 3): image i is filled with first + i."""
    values = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, 4, 4, 3)).copy()


def test_a_short_sheet_is_one_band() -> None:
    sheet = sample_sheet(row(2, 10), row(2, 20))
    assert sheet.shape == (10, 10, 3)  # two images of 4 and a gap of 2, either way
    assert [sheet[y, x, 0] for y in (0, 6) for x in (0, 6)] == [10, 11, 20, 21]
    assert (sheet[4:6] == 255).all()


def test_long_rows_are_broken_together_into_a_square() -> None:
    sheet = sample_sheet(row(8, 10), row(8, 20))
    assert sheet.shape == (22, 22, 3)
    assert sheet[::6, ::6, 0].tolist() == [
        [10, 11, 12, 13],
        [20, 21, 22, 23],
        [14, 15, 16, 17],
        [24, 25, 26, 27],
    ]


@pytest.mark.parametrize(("count", "rows"), [(1, 3), (5, 1), (7, 2), (8, 3), (23, 2)])
def test_every_image_is_on_the_sheet_once_and_what_is_over_is_white(count: int, rows: int) -> None:
    sheet = sample_sheet(*(row(count, 1 + 40 * number) for number in range(rows)))
    found = sorted(int(value) for value in sheet[::6, ::6, 0].ravel() if value != 255)
    assert found == sorted(1 + 40 * number + i for number in range(rows) for i in range(count))
    height, width = sheet.shape[:2]
    assert max(height, width) <= 2 * min(height, width) + 4 or count == 1


class Run:
    """Keeps the metrics that are logged."""

    def __init__(self) -> None:
        self.metrics: dict[int | None, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.setdefault(step, {}).update(metrics)


def test_a_score_that_joined_after_the_best_step_is_known_of_it_too() -> None:
    run: Any = Run()
    work: Any = SimpleNamespace(experiment=None, found=SimpleNamespace(best_scores={"4": {"fid": 3.0}}))
    scored: Any = SimpleNamespace(
        evaluation=SimpleNamespace(
            scores=(Score("fid", 3.1), Score("edges", 0.5), Score("kid", float("nan")))
        )
    )
    recorder = Recorder(work, run, None, None)  # type: ignore[arg-type] # neither is asked
    assert recorder._with_later_scores(scored, 4) == {"fid": 3.0, "edges": 0.5}
    assert work.found.best_scores["4"]["edges"] == 0.5  # a study's constraint may be by it
    assert run.metrics == {4: {"score/edges": 0.5}}
