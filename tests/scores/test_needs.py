"""What scores need, against what computing them says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores import SCORES
from d2n.scores.evaluate import Beside, Settings, evaluate
from d2n.scores.needs import Given, least_images, logged_names, unmet_need

PROTOCOL = ScoreProtocol("toy", "0", "none", 8, "r")
GIVEN = Given(
    num_images=8,
    side_px=161,
    has_pairs=True,
    extractor="inception",
    num_clusters=4,
    has_day=True,
    has_answers=True,
    has_siblings=True,
)


def _evaluated(name: str, n: int, side_px: int = 8, num_clusters: int = 4) -> list[str]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, n, side_px, side_px, 3), dtype=np.uint8)
    found = evaluate(
        rng.normal(size=(n, 3)),
        rng.normal(size=(n, 3)),
        [name],
        dataclasses.replace(PROTOCOL, num_images=n),
        Beside(
            None,
            images[0],
            (images[0], images[1]),
            np.full((n, 4), 0.25),
            scenes=["a"] * n,
            night_scenes=["a"] * n,
            real_images=images[1],
            day_images=images[1],
            day_features=rng.normal(size=(n, 3)),
            maps=lambda: [rng.normal(size=(2, n, 3, 2, 2))],
        ),
        Settings(num_clusters=num_clusters, num_bootstrap=0),
    )
    return [score.name for score in found.scores]


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("ms_ssim", "diversity")])
@pytest.mark.parametrize("num_clusters", [2, 9])
def test_a_score_is_had_from_its_least_images_on_and_not_of_fewer(name: str, num_clusters: int) -> None:
    least = least_images(name, num_clusters)
    assert _evaluated(name, least, num_clusters=num_clusters) == list(logged_names(name, ".toy"))
    if least > 2:
        with pytest.raises(ScoreError):
            _evaluated(name, least - 1, num_clusters=num_clusters)


@pytest.mark.parametrize(("name", "smallest"), [("ssim", 7), ("ms_ssim", 161), ("diversity", 161)])
def test_scores_on_pixels_need_a_side(name: str, smallest: int) -> None:
    assert unmet_need(name, dataclasses.replace(GIVEN, side_px=smallest)) == ""
    assert f"at least {smallest} px a side, and these have {smallest - 1}" in unmet_need(
        name, dataclasses.replace(GIVEN, side_px=smallest - 1)
    )
    assert _evaluated(name, 2, side_px=smallest) == [name]
    with pytest.raises(ScoreError, match=f"at least {smallest} px"):
        _evaluated(name, 2, side_px=smallest - 1)


@pytest.mark.parametrize("name", SCORES)
def test_pairs_and_classes(name: str) -> None:
    assert unmet_need(name, GIVEN) == ""
    without_pairs = unmet_need(name, dataclasses.replace(GIVEN, has_pairs=False))
    assert ("no pairs" in without_pairs) == (name in ("ssim", "ms_ssim"))
    trunk = unmet_need(name, dataclasses.replace(GIVEN, extractor="squeezenet1_0"))
    assert ("class probabilities" in trunk) == (name == "is")
    assert unmet_need(name, dataclasses.replace(GIVEN, extractor="random-inception")) == ""
