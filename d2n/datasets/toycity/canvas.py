"""The toy city's canvas: the layers a scene is painted on, and the finished scene that views are cut from.

Colours are painted as sRGB values in [0, 1]; rendering squares them (gamma 2) to light in linear values.
A glow is a surface that shines by night (a window, a sign, a lamp head): the canvas holds its number and
the pattern of its brightness; whether it is lit, and how, is drawn anew for every photo.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from d2n.datasets.toycity.colour import Colour, Floats

HEIGHT, WIDTH = 128, 208  # px of the canvas; a view shows about half of its width
GROUND = 94  # y of the facades' foot
KERB = 103  # y where the pavement ends and the road begins

WINDOW, SHOP, SIGN, LAMP, CAR = range(5)  # kinds of glow
HEADLIGHT, TAILLIGHT = 1, 2  # the cars' glows, the same numbers in every scene
LIGHT_RANGE = 2.0  # the largest lamp light a layer can hold, linear


@dataclass(frozen=True)
class Scene:
    """A painted street. The layers are flat, one row a canvas pixel, so that a view is one gather."""

    layers: NDArray[np.uint8]  # (HEIGHT * WIDTH, 12), the columns below
    glow: NDArray[np.uint16]  # (HEIGHT * WIDTH,): number of the glow, 0 none
    glow_kinds: NDArray[np.int64]  # (glows + 1,), entry 0 unused
    glow_colours: Floats  # (glows + 1, 3) sRGB; of a window: unused, its light is drawn anew
    glow_groups: NDArray[np.int64]  # (glows + 1,): the building a glow belongs to


ALBEDO = slice(0, 3)  # sRGB
LIGHT = slice(3, 6)  # lamp and flood light arriving by night, square root of its share of LIGHT_RANGE
# share of the sun kept off; brightness of a glow; and masks: sky, cloud, road, distance
SHADE, PATTERN, SKY, CLOUD, ROAD, HAZE = range(6, 12)
COLUMNS = 12
_CAR_GLOWS = ((WINDOW, (0.0, 0.0, 0.0), 0), (CAR, (1.0, 0.97, 0.90), 0), (CAR, (1.0, 0.10, 0.06), 0))


@dataclass(frozen=True)
class Facade:
    """Where a building stands and what it is made of; px of the canvas."""

    left: int
    right: int
    top: int
    wall: Colour
    trim: Colour
    group: int


@dataclass
class Canvas:
    """The layers while they are painted; values in [0, 1], light linear."""

    albedo: Floats = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH, 3), np.float32))
    light: Floats = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH, 3), np.float32))
    planes: Floats = field(default_factory=lambda: np.zeros((6, HEIGHT, WIDTH), np.float32))
    glow: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH), np.uint16))
    glows: list[tuple[int, Colour, int]] = field(default_factory=lambda: list(_CAR_GLOWS))

    def plane(self, column: int) -> Floats:
        """The (HEIGHT, WIDTH) plane of a column such as SHADE."""
        plane: Floats = self.planes[column - SHADE]
        return plane

    def new_glow(self, kind: int, colour: Colour = (0.0, 0.0, 0.0), group: int = 0) -> int:
        """Number of a new glow."""
        self.glows.append((kind, colour, group))
        return len(self.glows) - 1

    def box(self, top: float, bottom: float, left: float, right: float) -> tuple[slice, slice]:
        """Rows and columns of a rectangle, cut at the canvas's edges."""
        rows = slice(min(max(round(top), 0), HEIGHT), min(max(round(bottom), 0), HEIGHT))
        return rows, slice(min(max(round(left), 0), WIDTH), min(max(round(right), 0), WIDTH))

    def solid(self, where: tuple[slice, slice], colour: Colour | Floats, shade: float = 0.0) -> None:
        """Paint something opaque that does not shine: it hides sky and glows behind it."""
        self.albedo[where] = colour
        self.planes[:, *where] = 0
        self.plane(SHADE)[where] = shade
        self.glow[where] = 0

    def solid_mask(
        self, where: tuple[slice, slice], mask: NDArray[np.bool_], colour: Colour | Floats
    ) -> None:
        """Paint the masked part of a rectangle; colour may be one a masked pixel."""
        self.albedo[where][mask] = colour
        self.planes[:, *where][:, mask] = 0
        self.glow[where][mask] = 0

    def shine(self, where: tuple[slice, slice], number: int, pattern: float | Floats = 1.0) -> None:
        """Make a rectangle part of a glow."""
        self.glow[where] = number
        self.plane(PATTERN)[where] = pattern

    def finish(self) -> Scene:
        """The scene as bytes."""
        layers = np.empty((HEIGHT * WIDTH, COLUMNS), np.uint8)
        layers[:, ALBEDO] = _bytes(self.albedo.reshape(-1, 3))
        layers[:, LIGHT] = _bytes(np.sqrt(self.light.reshape(-1, 3) / LIGHT_RANGE))
        layers[:, SHADE:] = _bytes(self.planes.reshape(6, -1).T)
        kinds, colours, groups = zip(*self.glows, strict=True)
        return Scene(
            layers, self.glow.ravel(), np.array(kinds), np.array(colours, np.float32), np.array(groups)
        )


def _bytes(values: Floats) -> NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
