"""The real night of each sampled day image, for the report's last row."""

from __future__ import annotations

import numpy as np

from d2n.workflows.evaluation import HeldOut
from d2n.workflows.recording import real_nights


def pixels(*values: int) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])


def held_out(**given: object) -> HeldOut:
    values = {"day_sha256s": ("d0", "d1", "d2"), **given}
    return HeldOut("val", pixels(200, 201, 202), pixels(1, 2, 3), (), "", **values)  # type: ignore[arg-type]


def test_each_day_image_has_its_own_night_or_grey() -> None:
    pairs = pixels(202, 200), pixels(12, 10)
    images = held_out(pairs=pairs, pair_sha256s=(("d2", "n2"), ("d0", "n0")))
    found = real_nights(images, 3)
    assert found is not None
    assert found[:, 0, 0, 0].tolist() == [10, 128, 12]


def test_without_pairs_there_is_no_row() -> None:
    assert real_nights(held_out(), 3) is None
    apart = held_out(pairs=(pixels(9), pixels(8)), pair_sha256s=(("other", "n"),))
    assert real_nights(apart, 3) is None
