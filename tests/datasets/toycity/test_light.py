"""Light: night is a rendering of its own of the view that day shows."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.datasets.toycity.canvas import WINDOW
from d2n.datasets.toycity.light import photograph_day, photograph_night
from d2n.datasets.toycity.scene import paint_scene
from d2n.datasets.toycity.view import IMAGE_SIZE_PX, View, frame


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [frame(paint_scene(np.random.default_rng(n)), np.random.default_rng(1000 + n)) for n in range(30)]


def _photos(views: list[View], take: object, seed: int = 0) -> np.ndarray:
    return np.stack([take(view, np.random.default_rng([seed, n])) for n, view in enumerate(views)])  # type: ignore[operator]  # either photograph function


def test_photos_are_uint8_and_repeatable(views: list[View]) -> None:
    for take in (photograph_day, photograph_night):
        first, again, other = _photos(views, take), _photos(views, take), _photos(views, take, seed=1)
        assert first.shape == (30, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_night_is_dark_with_lights_and_day_is_neither(views: list[View]) -> None:
    day, night = (_photos(views, take).mean(axis=-1) for take in (photograph_day, photograph_night))
    assert 100 < day.mean() < 190
    assert 20 < night.mean() < 75
    bright = (night > 150).mean(axis=(1, 2))
    assert np.median(bright) > 0.002
    assert bright.max() < 0.25


def test_night_is_no_darkened_day(views: list[View]) -> None:
    """No monotone curve of a day photo gives the night photo: rank correlation of their pixels is low."""
    day, night = (
        _photos(views, take).mean(axis=-1).reshape(30, -1) for take in (photograph_day, photograph_night)
    )
    ranks = [[np.argsort(np.argsort(photo)) for photo in photos] for photos in (day, night)]
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]
    darkened = [
        np.corrcoef(np.argsort(np.argsort(0.3 * photo**1.5)), a)[0, 1]
        for photo, a in zip(day, ranks[0], strict=True)
    ]
    assert np.mean(correlation) < 0.4
    assert min(darkened) > 0.99


def test_day_sky_is_the_brightest_part_and_night_sky_is_not(views: list[View]) -> None:
    day, night = (_photos(views, take).mean(axis=-1) for take in (photograph_day, photograph_night))
    assert np.mean(day[:, :6].mean(axis=(1, 2)) > day[:, 30:].mean(axis=(1, 2))) > 0.8
    assert np.mean(night[:, :6].mean(axis=(1, 2)) < night[:, 30:].mean(axis=(1, 2))) > 0.8


def test_unlit_night_is_bluish(views: list[View]) -> None:
    night = _photos(views, photograph_night)[:, :5].astype(float)  # the top of the sky, far from lamps
    assert night[..., 2].mean() > night[..., 0].mean() + 2


def test_windows_are_lit_anew_in_each_photo(views: list[View]) -> None:
    """Over many nights of one view, window pixels vary far more than walls."""
    view = views[3]
    nights = np.stack([photograph_night(view, np.random.default_rng(n)) for n in range(40)]).mean(axis=-1)
    kinds = np.where(view.glow > 0, view.scene.glow_kinds[view.glow], -1)
    kinds = (
        kinds.reshape(IMAGE_SIZE_PX, 2, IMAGE_SIZE_PX, 2)
        .swapaxes(1, 2)
        .reshape(IMAGE_SIZE_PX, IMAGE_SIZE_PX, 4)
    )
    windows, walls = (kinds == WINDOW).all(axis=-1), (kinds == -1).all(axis=-1)
    skyless = np.arange(IMAGE_SIZE_PX)[:, None] > 15
    spread = nights.std(axis=0)
    assert np.count_nonzero(windows) > 30
    assert spread[windows].mean() > 1.5 * spread[walls & skyless].mean()
    lit = (nights[:, windows] > 140).mean()
    assert 0.02 < lit < 0.5


def test_days_of_one_view_vary_in_light_but_keep_their_outlines(views: list[View]) -> None:
    days = np.stack([photograph_day(views[0], np.random.default_rng(n)) for n in range(20)]).astype(float)
    assert days.mean(axis=(1, 2, 3)).std() > 5
    ground = days.mean(axis=-1)[:, 40:].reshape(20, -1)
    assert np.corrcoef(ground).min() > 0.6
