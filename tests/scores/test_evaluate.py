"""All scores at once: values, names, uncertainty, warnings and refusals."""

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores import SCORES
from d2n.scores.evaluate import Beside, Settings, evaluate
from d2n.scores.frechet import frechet_from_features
from d2n.scores.kid import kid
from d2n.scores.prd import prd

N = 60


def protocol(n=N, extractor="inception"):
    return ScoreProtocol(extractor, "a" * 64, "clean@299", n, "b" * 64)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2 * N, 16)), rng.normal(size=(N, 16)) + 2


@pytest.fixture
def pictures():
    return np.random.default_rng(1).integers(0, 256, (4, 165, 165, 3), dtype=np.uint8)


def by_name(evaluation):
    return {score.name: score for score in evaluation.scores}


def test_values_are_those_of_the_single_scores(features):
    pool, fake = features
    real = pool[:N]
    found = by_name(
        evaluate(
            real,
            fake,
            ("fid", "kid", "prd"),
            protocol(),
            Beside(reference_pool=pool),
            Settings(num_clusters=5),
        )
    )
    assert found["fid"].value == frechet_from_features(real, fake)
    assert found["kid"].value == kid(real, fake)[0]
    curve = prd(real, fake, 5, method="fast")
    assert found["prd/f8"].value == curve.f_beta(8)
    assert found["prd/f1_8"].value == curve.f_beta(1 / 8)


def test_fid_has_interval_and_floor_and_kid_its_deviation(features):
    pool, fake = features
    evaluation = evaluate(pool[:N], fake, ("fid", "kid"), protocol(), Beside(reference_pool=pool))
    fid, kernel = evaluation.scores
    assert fid.interval[0] < fid.value < fid.interval[1]
    assert 0 < fid.floor < fid.value / 2
    assert kernel.std > 0
    assert kernel.interval[0] < kernel.value < kernel.interval[1]
    assert evaluation.warnings == ()


def test_without_a_pool_the_floor_is_extrapolated_and_that_is_said(features):
    pool, fake = features
    evaluation = evaluate(pool[:N], fake, ("fid",), protocol())
    assert evaluation.scores[0].floor > 0
    assert any("extrapolated from halves of 30" in warning for warning in evaluation.warnings)


def test_a_score_that_is_mostly_floor_is_warned_of(features):
    pool, _ = features
    evaluation = evaluate(pool[:N], pool[N:], ("fid",), protocol(), Beside(reference_pool=pool))
    assert any("mostly floor" in warning for warning in evaluation.warnings)


def test_every_known_score_is_computed_and_carries_a_protocol(features, pictures):
    pool, fake = features
    evaluation = evaluate(
        pool[:N], fake, tuple(SCORES), protocol(extractor="vgg16"),
        Beside(
            fake_images=pictures, paired_images=(pictures, pictures), probabilities=np.full((N, 4), 0.25),
            scenes=["a", "b"] * 30, night_scenes=["a", "b"] * 30, real_images=pictures, day_images=pictures,
            day_features=pool[N:], maps=lambda: [(np.ones((2, 3, 4, 4)), np.ones((2, 3, 4, 4)))],
        ),
        Settings(num_clusters=5),
    )  # fmt: skip
    found = by_name(evaluation)
    expected = {"fid", "kid", "prd/f8", "prd/f1_8", "precision", "recall", "density", "coverage", "is"}
    expected |= {
        "place/night_to_fake",
        "place/fake_to_day",
        "place/fake_to_fake",
        "fid_infinity",
        "cmmd",
        "structure",
    }
    brightness = {"luminance/distance", "luminance/mean_gap", "luminance/contrast_gap"}
    of_pixels = {"ssim", "ms_ssim", "diversity", "edges", *brightness}
    assert set(found) == {f"{name}.vgg16" for name in expected} | of_pixels
    assert found["ssim"].value == found["ms_ssim"].value == pytest.approx(1)
    assert found["is.vgg16"].value == pytest.approx(1)
    assert found["ssim"].protocol.extractor == "pixels"
    assert found["ssim"].protocol.resize == "none@165x165"
    assert all(score.protocol is not None for score in evaluation.scores)
    assert evaluation.prd is not None


def test_unequal_sizes_are_subsampled_by_seed_and_said(features):
    pool, fake = features
    first = evaluate(pool, fake, ("kid",), protocol(), settings=Settings(seed=3))
    assert any("120 real and 60 fake images: 60 a side" in warning for warning in first.warnings)
    assert evaluate(pool, fake, ("kid",), protocol(), settings=Settings(seed=3)).scores == first.scores
    assert evaluate(pool, fake, ("kid",), protocol(), settings=Settings(seed=4)).scores != first.scores


def test_no_bootstrap_leaves_out_the_interval(features):
    pool, fake = features
    assert (
        evaluate(pool[:N], fake, ("fid",), protocol(), settings=Settings(num_bootstrap=0)).scores[0].interval
        is None
    )


@pytest.mark.parametrize(
    ("names", "knobs", "words"),
    [
        (("fid", "fdi"), {}, "did you mean 'fid'"),
        ((), {}, "expected some of"),
        (("ssim",), {}, "aligned targets"),
        (("diversity",), {}, "no images were given"),
        (("is",), {}, "class probabilities"),
        (
            ("diversity",),
            {"beside": Beside(fake_images=np.zeros((2, 64, 64, 3), np.uint8))},
            "at least 161 px",
        ),
        (("prd",), {"settings": Settings(num_clusters=500)}, "500 clusters with 60 images"),
    ],
)
def test_what_cannot_be_computed_is_refused(features, names, knobs, words):
    pool, fake = features
    with pytest.raises(ScoreError, match=words):
        evaluate(pool[:N], fake, names, protocol(), **knobs)


def test_a_protocol_with_another_number_of_images_is_refused(features):
    pool, fake = features
    with pytest.raises(ScoreError, match="the protocol says 61 images and 60"):
        evaluate(pool[:N], fake, ("fid",), protocol(61))


def test_a_collapsed_generator_gets_its_large_fid_and_a_warning(features):
    """Its covariance is 0: the distance is |mean_a - mean_b|^2 plus the real features' variance."""
    pool, fake = features
    collapsed = np.full((N, 16), 3.0)
    found = evaluate(
        pool[:N], collapsed, ("fid", "kid", "prd", "prdc"), protocol(), settings=Settings(num_bootstrap=20)
    )
    fid = found.scores[0].value
    real = pool[:N]
    assert fid == pytest.approx(((real.mean(0) - 3) ** 2).sum() + real.var(0, ddof=1).sum())
    assert (
        fid > evaluate(real, fake, ("fid",), protocol(), settings=Settings(num_bootstrap=0)).scores[0].value
    )
    assert all(np.isfinite(score.value) for score in found.scores)
    assert any("collapse: all 60 fake images" in warning for warning in found.warnings)


def test_an_extractor_that_ignores_real_images_is_refused(features):
    _, fake = features
    with pytest.raises(ScoreError, match="all 60 real feature vectors are the same"):
        evaluate(np.ones((N, 16)), fake, ("fid",), protocol())
