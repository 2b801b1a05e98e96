"""The toy city by dusk and in rain: further conditions, with random streams of their own.

Dusk: the sun is gone, the sky still lights the street, the first windows and all lamps are on. Rain: an overcast
day without shadows, a wet road that mirrors the fronts, haze, streaks and soft contours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy  # ndimage loads with the first photograph
from numpy.typing import NDArray

from d2n.datasets.toycity import light
from d2n.datasets.toycity.canvas import ALBEDO, CLOUD, HAZE, LIGHT, LIGHT_RANGE, PATTERN, ROAD, SHADE, SKY
from d2n.datasets.toycity.colour import Floats, rgb
from d2n.datasets.toycity.view import IMAGE_SIZE_PX, View

Photograph = Callable[[View, np.random.Generator], NDArray[np.uint8]]


def photograph_dusk(view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A photo of the view in the blue hour, (64, 64, 3)."""
    ambient = np.float32(rng.uniform(0.09, 0.2)) * rgb(0.72, 0.85, 1.25)
    shade = light.SHARE[view.layers[..., SHADE]]
    lamps = light.LINEAR[view.layers[..., LIGHT]] * np.float32(LIGHT_RANGE * rng.uniform(0.3, 0.6))
    surfaces = light.LINEAR[view.layers[..., ALBEDO]] * (ambient * (1 - 0.3 * shade[..., None]) + lamps)
    dimmed = np.float32(rng.uniform(0.35, 0.65))
    glow = (
        light.glow_light(view.scene, rng)[view.glow] * light.SHARE[view.layers[..., PATTERN], None] * dimmed
    )
    sky = _dusk_sky(view, rng)
    scene = light.blend(surfaces + glow, sky, view.layers[..., SKY])
    scene = light.blend(scene, sky, view.layers[..., HAZE])
    photo = light.bloom(light.shrink(scene), rng)
    photo = 1 - np.exp(photo * np.float32(-rng.uniform(1.7, 2.4)))
    return light.develop(photo, rng, noise=rng.uniform(0.006, 0.018), contrast=rng.uniform(0.95, 1.1))


def photograph_rain(view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A photo of the view on a rainy day, (64, 64, 3)."""
    ambient = np.float32(rng.uniform(0.42, 0.6)) * rgb(0.92, 1.0, 1.08)
    shade = light.SHARE[view.layers[..., SHADE]]
    wet = 1 - np.float32(0.35) * light.SHARE[view.layers[..., ROAD]]
    surfaces = light.LINEAR[view.layers[..., ALBEDO]] * wet[..., None]
    surfaces = surfaces * ambient * (1 - 0.25 * shade[..., None])
    grey = np.float32(rng.uniform(0.4, 0.6)) * rgb(0.95, 0.98, 1.02)
    sky = light.gradient(view, grey * np.float32(0.85), grey)
    sky *= (0.85 + 0.25 * light.SHARE[view.layers[..., CLOUD]])[..., None]
    scene = light.blend(surfaces, sky, view.layers[..., SKY])
    scene = light.blend(scene, sky, view.layers[..., HAZE])
    photo = light.shrink(scene)
    photo += light.reflections(view, photo, rng.uniform(0.25, 0.45))
    veil = np.float32(rng.uniform(0.12, 0.28))
    photo = photo + veil * (grey - photo) + _streaks(rng)
    return light.develop(photo, rng, noise=rng.uniform(0.006, 0.014), contrast=rng.uniform(0.85, 0.98))


PHOTOGRAPHS: Mapping[str, Photograph] = {"dusk": photograph_dusk, "rain": photograph_rain}


def _dusk_sky(view: View, rng: np.random.Generator) -> Floats:
    zenith = np.float32(rng.uniform(0.06, 0.14)) * rgb(0.5, 0.75, 1.6)
    horizon = np.float32(rng.uniform(0.25, 0.5)) * rgb(1.15, rng.uniform(0.55, 0.75), rng.uniform(0.4, 0.6))
    cloud = light.SHARE[view.layers[..., CLOUD]]
    return light.gradient(view, zenith, horizon) * (0.85 + 0.3 * cloud[..., None])


def _streaks(rng: np.random.Generator) -> Floats:
    """Drops drawn out downwards, (64, 64, 1)."""
    drops = rng.random((IMAGE_SIZE_PX, IMAGE_SIZE_PX), dtype=np.float32) < np.float32(rng.uniform(0.01, 0.03))
    drawn: Floats = scipy.ndimage.gaussian_filter1d(
        drops.astype(np.float32), 2.5, axis=0, mode="wrap", truncate=2.0
    )
    return drawn[..., None] * np.float32(rng.uniform(0.3, 0.6))
