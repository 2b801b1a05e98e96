"""The toy city's colours: sRGB triples in [0, 1], and how they vary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32
Colour = tuple[float, float, float]


def rgb(red: float, green: float, blue: float) -> Floats:
    """A colour as an array (3,)."""
    return np.array((red, green, blue), np.float32)


def jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """The colour, shifted by up to twice the amount a channel."""
    shift = rng.uniform(-amount, amount, 3) + rng.uniform(-amount, amount)
    r, g, b = np.clip(np.array(colour) + shift, 0.04, 1.0)
    return float(r), float(g), float(b)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Between two colours; share 1 is the second."""
    r, g, b = np.array(first) * (1 - share) + np.array(second) * share
    return float(r), float(g), float(b)
