"""The toy city's light: a view photographed by day or by night.

Night is a rendering of its own, not a darkening: windows, signs, lamps and cars shine, lamps throw pools of
light, the sky glows, and the camera blooms, blurs and adds noise. All sums are in linear light.
"""

from __future__ import annotations

import numpy as np
import scipy  # ndimage loads with the first photograph
from numpy.typing import NDArray

from d2n.datasets.toycity.canvas import (
    ALBEDO,
    CLOUD,
    HAZE,
    HEIGHT,
    LIGHT,
    LIGHT_RANGE,
    PATTERN,
    ROAD,
    SHADE,
    SKY,
    WINDOW,
    Scene,
)
from d2n.datasets.toycity.colour import Floats, rgb
from d2n.datasets.toycity.view import IMAGE_SIZE_PX, SAMPLES, View

LINEAR: Floats = (np.arange(256, dtype=np.float32) / 255) ** 2  # a painted byte to linear light
SHARE: Floats = np.arange(256, dtype=np.float32) / 255
_WINDOW_COLOURS = np.array(
    [[1.0, 0.74, 0.38], [1.0, 0.84, 0.56], [1.0, 0.95, 0.82], [0.72, 0.86, 1.0]], np.float32
)


def photograph_day(view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A day photo of the view, (64, 64, 3): sun or overcast, clouds, haze, exposure and white balance."""
    overcast = rng.random() ** 1.5
    sun = rng.uniform(0.4, 0.75) * (1 - overcast) * rgb(1.0, 0.95, rng.uniform(0.74, 0.92))
    ambient = (rng.uniform(0.42, 0.58) + 0.35 * overcast) * rgb(0.95, 1.0, 1.06)
    shade = SHARE[view.layers[..., SHADE]]
    shade = _opposite_shadow(shade, rng) if rng.random() < 0.3 else shade
    light = ambient * (1 - 0.35 * shade[..., None]) + sun * (1 - shade[..., None])
    sky = _day_sky(view, rng, overcast)
    scene = blend(LINEAR[view.layers[..., ALBEDO]] * light, sky, view.layers[..., SKY])
    scene = blend(scene, sky, view.layers[..., HAZE])
    cast = rng.uniform(0.94, 1.06, 3).astype(np.float32)
    photo = shrink(scene) * cast * np.float32(rng.uniform(0.8, 1.2))
    return develop(photo, rng, noise=rng.uniform(0.004, 0.012), contrast=rng.uniform(0.9, 1.1))


def photograph_night(view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A night photo (64, 64, 3) of the view; which windows are lit is drawn anew for each photo."""
    ambient = np.float32(rng.uniform(0.12, 0.26) ** 2) * rgb(0.66, 0.85, 1.45)
    lamps = LINEAR[view.layers[..., LIGHT]] * np.float32(LIGHT_RANGE * rng.uniform(0.55, 1.1))
    surfaces = LINEAR[view.layers[..., ALBEDO]] * (ambient + lamps)
    glow = glow_light(view.scene, rng)[view.glow] * SHARE[view.layers[..., PATTERN], None]
    sky = _night_sky(view, rng)
    scene = blend(surfaces + glow, sky, view.layers[..., SKY])
    scene = blend(scene, sky, view.layers[..., HAZE])
    photo = shrink(scene)
    if rng.random() < 0.4:
        photo += reflections(view, shrink(glow), rng.uniform(0.25, 0.7))
    photo = bloom(photo, rng)
    photo = 1 - np.exp(photo * np.float32(-rng.uniform(1.5, 2.4)))
    return develop(photo, rng, noise=rng.uniform(0.010, 0.028), contrast=rng.uniform(0.95, 1.1))


def blend(scene: Floats, sky: Floats, mask: NDArray[np.uint8]) -> Floats:
    """The sky over the scene, as far as the mask says."""
    share = SHARE[mask][..., None]
    return scene + share * (sky - scene)


def shrink(samples: Floats) -> Floats:
    """The mean of each 2 x 2 samples."""
    rows = samples[0::2] + samples[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _opposite_shadow(shade: Floats, rng: np.random.Generator) -> Floats:
    """The houses across the street keep the sun off the lower storeys."""
    u = np.arange(SAMPLES, dtype=np.float32)
    edge = rng.uniform(0.3, 0.8) * SAMPLES + rng.uniform(-0.4, 0.4) * (u - SAMPLES / 2)
    dark: Floats = np.maximum(shade, np.float32(0.8) * (u[:, None] > edge[None, :]))
    return dark


def gradient(view: View, zenith: Floats, horizon: Floats) -> Floats:
    """A sky colour for every sample by the canvas row it comes from."""
    share = (np.arange(HEIGHT, dtype=np.float32) / 90).clip(0, 1)[:, None] ** 1.3
    return (zenith + share * (horizon - zenith))[view.rows]


def _day_sky(view: View, rng: np.random.Generator, overcast: float) -> Floats:
    grey = np.float32(rng.uniform(0.55, 0.8)) * rgb(0.95, 0.98, 1.0)
    blue = rgb(0.12, 0.30, 0.70) * np.float32(rng.uniform(0.8, 1.2))
    pale = rgb(0.60, 0.75, 0.90)
    sky = gradient(
        view, blue + np.float32(overcast) * (grey - blue), pale + np.float32(overcast) * (grey - pale)
    )
    cloud = np.clip((SHARE[view.layers[..., CLOUD]] - np.float32(rng.uniform(0.35, 0.7))) * 5, 0, 0.9)
    sky += cloud[..., None] * (rgb(0.92, 0.93, 0.95) - sky)
    return sky


def _night_sky(view: View, rng: np.random.Generator) -> Floats:
    glow = np.float32(rng.uniform(0.02, 0.09)) * rgb(1.0, rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.9))
    zenith = np.float32(rng.uniform(0.004, 0.02)) * rgb(0.5, 0.75, 1.7)
    cloud = SHARE[view.layers[..., CLOUD]]
    sky = gradient(view, zenith, glow) * (0.7 + 0.6 * cloud[..., None])
    for _ in range(int(rng.integers(0, 12))):  # stars
        y, x = rng.integers(0, SAMPLES, 2)
        sky[y, x] += np.float32(rng.uniform(0.1, 0.6))
    if rng.random() < 0.4:
        _hang_moon(sky, rng)
    return sky


def _hang_moon(sky: Floats, rng: np.random.Generator) -> None:
    y, x = rng.uniform(4, 40), rng.uniform(4, SAMPLES - 4)
    rows, columns = np.ogrid[:60, :SAMPLES]
    distance = np.sqrt((rows - y) ** 2 + (columns - x) ** 2).astype(np.float32)
    disc = np.clip(5.0 - distance, 0, 1) + 0.06 * np.exp(-distance / 14)
    sky[:60] += disc[..., None] * rgb(0.85, 0.88, 0.95)


def glow_light(scene: Scene, rng: np.random.Generator) -> Floats:
    """Linear light of every glow for one photo: (glows + 1, 3)."""
    kinds, count = scene.glow_kinds, len(scene.glow_kinds)
    share = rng.uniform(0.05, 0.40)  # of the windows
    busy = share * rng.lognormal(0, 0.45, scene.glow_groups.max() + 1)
    chance = np.choose(kinds, (busy[scene.glow_groups], rng.uniform(0.3, 0.95), 0.85, 0.97, 1.0))
    bright = np.choose(kinds, (rng.uniform(0.3, 1.1), rng.uniform(0.5, 1.1), 1.0, 2.2, 2.6))
    light = bright * rng.uniform(0.6, 1.2, count) * (rng.random(count) < chance)
    tints = _WINDOW_COLOURS[rng.choice(4, count, p=(0.45, 0.3, 0.15, 0.1))]
    colours = np.where((kinds == WINDOW)[:, None], tints, scene.glow_colours) ** 2
    table: Floats = (light[:, None] * colours).astype(np.float32)
    table[0] = 0
    return table


def reflections(view: View, glow: Floats, strength: float) -> Floats:
    """The lights again on a wet road, drawn out downwards."""
    rows = np.arange(IMAGE_SIZE_PX)
    mirrored = glow[np.clip(2 * view.kerb - 4 - rows, 0, IMAGE_SIZE_PX - 1)]
    streaks: Floats = scipy.ndimage.gaussian_filter1d(mirrored, 4.0, axis=0, mode="nearest", truncate=2.5)
    seen: Floats = streaks * shrink(SHARE[view.layers[..., ROAD]])[..., None] * np.float32(strength)
    return seen


def bloom(photo: Floats, rng: np.random.Generator) -> Floats:
    """What the lens scatters around lights, and its softness."""
    halo = scipy.ndimage.gaussian_filter(photo, (1.6, 1.6, 0), mode="nearest", truncate=2.5)
    veil = shrink(shrink(photo))
    veil = (
        scipy.ndimage.gaussian_filter(veil, (1.3, 1.3, 0), mode="nearest", truncate=2.5)
        .repeat(4, 0)
        .repeat(4, 1)
    )
    strength = np.float32(rng.uniform(0.7, 1.3))
    mixed: Floats = np.float32(0.72) * photo + strength * (np.float32(0.20) * halo + np.float32(0.08) * veil)
    blur = rng.uniform(0.0, 0.7)
    if blur > 0.25:
        mixed = scipy.ndimage.gaussian_filter(mixed, (blur, blur, 0), mode="nearest", truncate=2.5)
    return mixed


def develop(photo: Floats, rng: np.random.Generator, noise: float, contrast: float) -> NDArray[np.uint8]:
    """Linear light to an 8-bit photo: gamma 2, contrast, sensor noise."""
    photo = np.sqrt(np.maximum(photo, 0))
    photo = (photo - np.float32(0.45)) * np.float32(contrast) + np.float32(0.45)
    photo += np.float32(noise) * rng.standard_normal(photo.shape, dtype=np.float32)
    return (np.clip(photo, 0, 1) * 255 + 0.5).astype(np.uint8)
