"""Scenes: painted from their generator alone, each different, with what a street needs."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.datasets.toycity.canvas import (
    ALBEDO,
    GROUND,
    HEIGHT,
    LAMP,
    LIGHT,
    ROAD,
    SKY,
    WIDTH,
    WINDOW,
    Canvas,
    Scene,
)
from d2n.datasets.toycity.scene import paint_scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [paint_scene(np.random.default_rng(number)) for number in range(40)]


def test_the_same_generator_paints_the_same_scene(scenes: list[Scene]) -> None:
    again = paint_scene(np.random.default_rng(7))
    assert np.array_equal(again.layers, scenes[7].layers)
    assert np.array_equal(again.glow, scenes[7].glow)


def test_scenes_differ(scenes: list[Scene]) -> None:
    walls = [scene.layers.reshape(HEIGHT, WIDTH, -1)[60:GROUND, :, ALBEDO].astype(int) for scene in scenes]
    distances = [np.abs(a - b).mean() for i, a in enumerate(walls) for b in walls[:i]]
    assert min(distances) > 15


def test_a_street_has_sky_above_and_road_below(scenes: list[Scene]) -> None:
    for scene in scenes:
        layers = scene.layers.reshape(HEIGHT, WIDTH, -1)
        assert layers[0, :, SKY].mean() > 200
        assert layers[GROUND:, :, SKY].max() == 0
        assert layers[-1, :, ROAD].min() == 255


def test_two_to_five_buildings_with_windows_and_lamps(scenes: list[Scene]) -> None:
    for scene in scenes:
        windows = scene.glow_groups[scene.glow_kinds == WINDOW]
        assert 2 <= scene.glow_groups.max() <= 5
        assert np.count_nonzero(windows) >= 10
        assert np.count_nonzero(scene.glow_kinds == LAMP) >= 2
        assert scene.glow.max() < len(scene.glow_kinds) == len(scene.glow_colours)


def test_lamps_light_the_pavement_unevenly(scenes: list[Scene]) -> None:
    for scene in scenes:
        light = scene.layers.reshape(HEIGHT, WIDTH, -1)[100, :, LIGHT].max(axis=-1) / 255
        assert light.max() ** 2 > 1.5 * light.min() ** 2  # linear


def test_what_stands_in_front_hides_sky_and_glow() -> None:
    canvas = Canvas()
    canvas.plane(SKY)[:] = 1
    behind = canvas.box(10, 20, 10, 20)
    canvas.shine(behind, canvas.new_glow(WINDOW))
    canvas.solid(canvas.box(10, 20, 15, 400), (0.5, 0.25, 1.0))
    scene = canvas.finish()
    glow, layers = scene.glow.reshape(HEIGHT, WIDTH), scene.layers.reshape(HEIGHT, WIDTH, -1)
    assert np.count_nonzero(glow) == 10 * 5
    assert layers[12, 16, ALBEDO].tolist() == [128, 64, 255]
    assert (layers[12, 14, SKY], layers[12, 16, SKY], layers[12, WIDTH - 1, SKY]) == (255, 0, 0)
