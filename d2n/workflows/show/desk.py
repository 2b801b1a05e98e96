"""What lies on the page: the last photographs, their nights, their hits. Nothing is written to disk and kept."""

from __future__ import annotations

import io
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from d2n.datasets.batches import shrunk
from d2n.errors import ImageError
from d2n.pixels import decode_rgb
from d2n.translators.export import SMALLEST_SIDE_PX
from d2n.translators.translate import translate_image
from d2n.workflows.show.champions import Champion
from d2n.workflows.show.hits import Hits

MAX_BYTES = 32 << 20  # of one photograph as it is sent
MOST_PIXELS = 4_000_000  # of what is translated, after it was made smaller
_KEPT = 8  # photographs at once
TOP = 6
DAY = "day"


@dataclass
class Photograph:
    """A photograph by day and what was made of it, as JPEGs."""

    image: np.ndarray  # (H, W, 3) uint8
    jpegs: dict[str, bytes] = field(default_factory=dict)  # "day", or a champion's number
    nights: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass
class Desk:
    """The page's state; one photograph is translated at a time."""

    champions: Sequence[Champion]
    hits: Hits | None
    shorter_side_px: int
    _photographs: OrderedDict[str, Photograph] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, content: bytes) -> str:
        """A photograph as it was sent, under a name that cannot be guessed; ImageError where it is none."""
        name = "the photograph"
        if not content:
            raise ImageError(f"{name}: is empty, expected an image file")
        image = np.asarray(decode_rgb(content, name, self.shorter_side_px))
        image = shrunk(image, self.shorter_side_px)
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST_SIDE_PX or height * width > MOST_PIXELS:
            raise ImageError(
                f"{name}: {width} x {height} pixels after it was made smaller, expected sides of "
                f"{SMALLEST_SIDE_PX} at least and {MOST_PIXELS:,} pixels at most; cut it"
            )
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._photographs[key] = Photograph(image)
            while len(self._photographs) > _KEPT:
                self._photographs.popitem(last=False)
        return key

    def get(self, key: str) -> Photograph | None:
        """A photograph that is still here."""
        with self._lock:
            return self._photographs.get(key)

    def warnings(self, photograph: Photograph) -> list[str | None]:
        """For each champion, whether the photograph is unlike what it was trained on; None where it is not."""
        return [
            f"unlike the photographs that {one.name} was trained on: expect little of this night"
            if one.likeness is not None and one.likeness.is_unlike(photograph.image)
            else None
            for one in self.champions
        ]

    def picture(self, photograph: Photograph, which: str) -> bytes:
        """``day`` or a champion's number, as a JPEG; KeyError where there is no such champion."""
        if which not in photograph.jpegs:
            buffer = io.BytesIO()
            Image.fromarray(self._image(photograph, which)).save(buffer, "JPEG", quality=92)
            photograph.jpegs[which] = buffer.getvalue()
        return photograph.jpegs[which]

    def found(self, photograph: Photograph, which: str) -> list[dict[str, object]]:
        """The folder's photographs most like it; nothing without a folder."""
        if self.hits is None:
            return []
        image = self._image(photograph, which)
        with self._lock:
            ranked = self.hits.of(image, TOP)
        return [
            {"number": number, "name": self.hits.names[number], "similarity": round(similarity, 4)}
            for number, similarity in ranked
        ]

    def _image(self, photograph: Photograph, which: str) -> np.ndarray:
        if which == DAY:
            return photograph.image
        number = int(which) if which.isdecimal() and len(which) < 5 else -1
        if not 0 <= number < len(self.champions):
            raise KeyError(which)
        with self._lock:
            if number not in photograph.nights:
                made = self.champions[number].generator
                photograph.nights[number] = translate_image(
                    made.module, photograph.image, made.stride, MOST_PIXELS
                )
            return photograph.nights[number]
