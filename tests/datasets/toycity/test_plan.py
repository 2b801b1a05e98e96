"""The plan of the toy city: counts at any scale, and roles."""

from __future__ import annotations

from collections import Counter

import pytest

from d2n.datasets.toycity.plan import Job, benchmark, day_side, oracle_job, plan


@pytest.mark.parametrize(
    ("scale", "scenes"), [(0.5, (150, 125, 25, 50)), (0.001, (8, 8, 4, 4)), (2, (600, 500, 100, 200))]
)
def test_scale_shrinks_every_split_down_to_a_minimum(scale: float, scenes: tuple[int, ...]) -> None:
    found = Counter(job.split for job in plan(scale))
    retrieval, train, val, test = scenes
    assert found == {"retrieval": retrieval, "train": train, "val": 5 * val, "test": 5 * test}


def test_no_photo_is_taken_twice() -> None:
    paths = [shot.path for job in plan(0.2) for shot in job.shots]
    assert len(set(paths)) == len(paths)


def test_a_small_city_is_the_beginning_of_a_larger_one() -> None:
    small, large = (
        {(j.split, j.number): j for j in plan(scale) if j.split in ("retrieval", "train")}
        for scale in (0.1, 1)
    )
    assert small.items() <= large.items()


def test_oracle_keeps_scene_and_views() -> None:
    job = plan(0.02)[3]
    night = oracle_job(job)
    assert (night.split, night.number) == (job.split, job.number)
    assert [shot.view for shot in night.shots] == [shot.view for shot in job.shots]
    assert {shot.domain for shot in night.shots} == {"night"}


def test_benchmark_of_one_scene_and_one_distractor() -> None:
    jobs = [job for job in plan(0.02) if job.split == "test"]
    chosen = [jobs[1], jobs[-1]]
    found = benchmark(chosen)
    assert found["database"] == [f"test/day/0001_{view}.png" for view in range(4)] + ["test/day/0019_0.png"]
    assert found["queries"] == {
        "day": ["test/day/0001_4.png", "test/day/0001_5.png"],
        "night": ["test/night/0001_4.png", "test/night/0001_5.png"],
    }
    assert found["ground_truth"]["night"] == [{"ok": [0, 1, 2, 3], "junk": []}] * 2


def test_only_aligned_night_photos_have_a_day_side() -> None:
    job = next(job for job in plan(0.02) if job.split == "train")
    sides = [day_side(shot) for shot in job.shots]
    assert sides == [None] * 7 + ["train/day/0000_6.png"]
    assert all(day_side(shot) is None for shot in Job("retrieval", 0, plan(0.02)[0].shots).shots)
