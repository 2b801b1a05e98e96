"""Scores against the usual libraries, in one run: ratios, not absolute times.

pytest benchmarks/test_scores.py -s                 # minutes: the alternatives are slow
pytest benchmarks/test_scores.py -s -k "fid and 300"
"""

from __future__ import annotations

import csv
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from d2n.core import Compute, ScoreProtocol
from d2n.scores.evaluate import Beside, evaluate
from d2n.scores.features import build_extractor, extract
from d2n.scores.frechet import frechet_from_features
from d2n.scores.kid import kid
from d2n.scores.prd import PrdCurve, prd, prd_from_histograms
from d2n.scores.trunks import random_network

if TYPE_CHECKING:
    from benchmarks.conftest import Ratio

DIM = 2048
pytestmark = pytest.mark.timeout(1800)


def features(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Like Inception's: not negative, with an effective rank of a few hundred."""
    mixing = np.random.default_rng(0).normal(size=(281, DIM)) / 15
    rng = np.random.default_rng(seed)
    return np.maximum((rng.normal(size=(n, 281)) + shift) @ mixing + 0.2 * rng.normal(size=(n, DIM)), 0)


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """The shortest of ``repeats`` times in seconds, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def say(what: str, ours_s: float, **others_s: float) -> None:
    """One line: our time, and how many times longer the others take."""
    ratios = ", ".join(f"{name} {s:.3g} s = {s / ours_s:.1f} x" for name, s in others_s.items())
    print(f"\n{what}: d2n {ours_s:.3g} s; {ratios}")


def by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    sx, sy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.trace(scipy.linalg.sqrtm(sx @ sy)).real
    return float(np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(sx) + np.trace(sy) - 2 * root)


@pytest.mark.parametrize("n", [300, 2000, 5000])
def test_fid(n: int, ratio: Ratio) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = features(n, 1), features(n, 2, 0.1)
    ours, value = timed(lambda: frechet_from_features(x, y), 3)
    sqrtm, expected = timed(lambda: by_sqrtm(x, y))
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    fidelity, _ = timed(
        lambda: fid_statistics_to_metric(
            fid_features_to_statistics(tx), fid_features_to_statistics(ty), False
        )
    )
    say(f"FID, d = {DIM}, N = {n}", ours, scipy_sqrtm=sqrtm, torch_fidelity=fidelity)
    ratio(f"FID, d = {DIM}, N = {n}", "torch-fidelity", fidelity / ours)
    assert value == pytest.approx(expected, rel=1e-3)  # sqrtm is the less exact one where N <= d


@pytest.mark.parametrize("n", [300, 5000])
def test_kid(n: int, ratio: Ratio) -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = features(n, 1), features(n, 2, 0.1)
    size = min(n, 1000)
    ours, (value, _) = timed(lambda: kid(x, y))
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    fidelity, theirs = timed(lambda: kid_features_to_metric(tx, ty, kid_subset_size=size, verbose=False))
    say(f"KID, d = {DIM}, N = {n}, 100 subsets of {size}", ours, torch_fidelity=fidelity)
    ratio(f"KID, d = {DIM}, N = {n}", "torch-fidelity", fidelity / ours)
    assert value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=0.1)


def prd_by_minibatch_kmeans(real: np.ndarray, fake: np.ndarray) -> PrdCurve:
    """As the paper's code does: ten seeded MiniBatchKMeans of ten initialisations each."""
    from sklearn.cluster import MiniBatchKMeans

    union, n, curves = np.concatenate([real, fake]), len(real), []
    for seed in range(10):
        labels = MiniBatchKMeans(n_clusters=20, n_init=10, random_state=seed).fit(union).labels_
        shares = [np.bincount(part, minlength=20) / n for part in (labels[:n], labels[n:])]
        curves.append(prd_from_histograms(*shares))
    precision = np.mean([curve.precision for curve in curves], axis=0)
    return PrdCurve(precision, np.mean([curve.recall for curve in curves], axis=0))


@pytest.mark.parametrize(("n", "shift"), [(113, 0.1), (5000, 0.1), (5000, 0.3)])
def test_prd(n: int, shift: float, ratio: Ratio) -> None:
    x, y = features(n, 1), features(n, 2, shift)
    fast, curve = timed(lambda: prd(x, y, method="fast"), 2)
    plain, theirs = timed(lambda: prd_by_minibatch_kmeans(x, y))
    exact, reference = timed(lambda: prd(x, y))
    say(f"PRD fast, d = {DIM}, N = {n}, shift {shift}", fast, MiniBatchKMeans=plain, d2n_exact=exact)
    ratio(f"PRD, d = {DIM}, N = {n}, shift {shift}", "MiniBatchKMeans", plain / fast)
    for name, beta in (("F8", 8), ("F1/8", 1 / 8)):
        values = [found.f_beta(beta) for found in (curve, reference, theirs)]
        print("  {}: fast {:.5f}, exact {:.5f}, MiniBatchKMeans {:.5f}".format(name, *values))
        assert values[0] == pytest.approx(values[1], abs=5e-3)


def test_inception_extraction(tmp_path: Any) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import NoTrainInceptionV3

    net, _ = random_network("inception", seed=0)
    weights = str(tmp_path / "inception.pth")
    torch.save(net.state_dict(), weights)
    images = list(np.random.default_rng(0).integers(0, 256, (48, 256, 256, 3), dtype=np.uint8))
    batches = [
        torch.from_numpy(np.stack(images[i : i + 16]).transpose(0, 3, 1, 2).copy()) for i in range(0, 48, 16)
    ]
    loops = {
        "torch_fidelity": FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path=weights),
        "torchmetrics": NoTrainInceptionV3("i", ["2048"], feature_extractor_weights_path=weights),
    }

    def loop(extractor: Any) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([torch.as_tensor(_first(extractor(batch))) for batch in batches]).numpy()

    ours = dataclasses.replace(build_extractor("random-inception", resize="tf1"), batch_size=16)
    ours_s, found = timed(lambda: extract(ours, images), 2)
    half = dataclasses.replace(
        build_extractor("random-inception", resize="tf1", compute=Compute(precision="bf16")), batch_size=16
    )
    half_s, _ = timed(lambda: extract(half, images), 2)
    others = {name: timed(lambda e=extractor: loop(e), 2) for name, extractor in loops.items()}
    say(
        "Inception features of 48 images",
        ours_s,
        **{name: s for name, (s, _) in others.items()},
        d2n_bf16=half_s,
    )
    print(f"  images/s: d2n {48 / ours_s:.1f}, bf16 {48 / half_s:.1f}", end="")
    print("".join(f", {name} {48 / s:.1f}" for name, (s, _) in others.items()))
    np.testing.assert_allclose(found, others["torch_fidelity"][1], rtol=1e-2, atol=1e-3)


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, tuple) else outputs


@pytest.mark.shared_data
def test_real_photographs() -> None:
    """SqueezeNet features of webcams by day and by night: an order of distances that makes sense."""
    root = os.environ.get("D2N_TEST_DATA")
    if not root:
        pytest.skip("D2N_TEST_DATA names no folder")
    data, weights = Path(root) / "amos_daynight", Path(root) / "weights/squeezenet1_0"
    extractor = build_extractor(
        "squeezenet1_0", weights=weights / "squeezenet1_0_fp32_torchvision.pth", input="caffe"
    )
    with (data / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["twilight"] == "0"]
    pixels = {row["image"]: np.asarray(Image.open(data / row["image"]).convert("RGB")) for row in rows}
    sets = {
        (domain, fold): extract(extractor, [pixels[r["image"]] for r in _of(rows, domain, fold)])
        for domain in ("day", "night")
        for fold in "AB"
    }
    dark = {fold: [_darkened(pixels[r["image"]]) for r in _of(rows, "day", fold)] for fold in "AB"}
    darkened = {fold: extract(extractor, images) for fold, images in dark.items()}
    night = np.concatenate([sets["night", "A"], sets["night", "B"]])
    day, dark_day = (np.concatenate([part["A"], part["B"]]) for part in (_days(sets), darkened))
    order = np.random.default_rng(0).permutation(len(night))
    n = min(len(night) // 2, len(sets["night", "A"]), len(sets["night", "B"]))
    pairs = {
        "night against night, random halves": (night[order[:n]], night[order[n : 2 * n]]),
        "night fold A against fold B (other scenes)": (sets["night", "A"], sets["night", "B"]),
        "darkened day against night": (night, dark_day),
        "day against night": (night, day),
    }
    found = {name: _score(real, fake, night, extractor, n) for name, (real, fake) in pairs.items()}
    print(f"\nwebcams, squeezenet1_0, N = {n}")
    for name, scores in found.items():
        fid, kernel, f8, f1_8 = (scores[key] for key in ("fid", "kid", "prd/f8", "prd/f1_8"))
        assert fid.interval is not None
        print(
            f"  {name:43} FID {fid.value:8.1f} [{fid.interval[0]:8.1f}, {fid.interval[1]:8.1f}] floor {fid.floor:.1f}  "
            f"KID {kernel.value:9.3g} ± {kernel.std:.2g}  F8 {f8.value:.3f}  F1/8 {f1_8.value:.3f}"
        )
    values = [scores["fid"].value for scores in found.values()]
    assert values[0] < min(values[1:])
    assert found["darkened day against night"]["kid"].value < found["day against night"]["kid"].value


def _of(rows: list[dict[str, str]], domain: str, fold: str) -> list[dict[str, str]]:
    return [row for row in rows if (row["domain"], row["fold"]) == (domain, fold)]


def _days(sets: dict[tuple[str, str], np.ndarray]) -> dict[str, np.ndarray]:
    return {fold: sets["day", fold] for fold in "AB"}


def _darkened(image: np.ndarray) -> np.ndarray:
    """Day with gamma 2.2 at half brightness: what darkness alone gives, without lights."""
    return np.asarray(((image / 255.0) ** 2.2 * 0.5 * 255).round(), dtype=np.uint8)


def _score(real: np.ndarray, fake: np.ndarray, pool: np.ndarray, extractor: Any, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    real, fake = (side[np.sort(rng.choice(len(side), n, replace=False))] for side in (real, fake))
    protocol = ScoreProtocol(**extractor.identity, num_images=n, reference_digest="webcams by night")
    scores = evaluate(real, fake, ("fid", "kid", "prd"), protocol, Beside(reference_pool=pool)).scores
    return {score.name.removesuffix(".squeezenet1_0"): score for score in scores}
