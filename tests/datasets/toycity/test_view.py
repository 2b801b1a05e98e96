"""Views: repeatable, within the canvas, and never painted into the scene."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.datasets.toycity.canvas import GROUND, HEADLIGHT, ROAD, SKY, TAILLIGHT, Scene
from d2n.datasets.toycity.scene import paint_scene
from d2n.datasets.toycity.view import IMAGE_SIZE_PX, SAMPLES, frame


@pytest.fixture(scope="module")
def scene() -> Scene:
    return paint_scene(np.random.default_rng(0))


def test_framing_leaves_the_scene_as_it_was(scene: Scene) -> None:
    layers, glow = scene.layers.copy(), scene.glow.copy()
    for number in range(20):
        frame(scene, np.random.default_rng(number))
    assert np.array_equal(scene.layers, layers)
    assert np.array_equal(scene.glow, glow)


def test_the_same_generator_gives_the_same_view(scene: Scene) -> None:
    first, again, other = (frame(scene, np.random.default_rng(number)) for number in (5, 5, 6))
    assert np.array_equal(first.layers, again.layers)
    assert not np.array_equal(first.rows, other.rows)


def test_every_view_shows_sky_facades_and_road(scene: Scene) -> None:
    for number in range(100):
        view = frame(scene, np.random.default_rng(number))
        assert view.layers.shape[:2] == view.glow.shape == (SAMPLES, SAMPLES)
        assert np.mean(view.layers[..., SKY] > 0) > 0.02
        assert np.mean(view.rows < GROUND) > 0.4
        assert np.mean(view.layers[..., ROAD] > 0) > 0.01
        assert IMAGE_SIZE_PX / 2 < view.kerb < IMAGE_SIZE_PX


def test_some_views_have_cars_with_lights_and_some_have_none(scene: Scene) -> None:
    lights = [
        {HEADLIGHT, TAILLIGHT} & set(np.unique(frame(scene, np.random.default_rng(number)).glow).tolist())
        for number in range(60)
    ]
    assert 10 < sum(bool(found) for found in lights) < 55
    assert {HEADLIGHT, TAILLIGHT} in lights
