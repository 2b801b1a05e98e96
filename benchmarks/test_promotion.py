"""The promotion rule on planted numbers: how often equal candidates win, when a true gain is found, what reuse does.

pytest benchmarks/test_promotion.py -s               # about fifteen minutes on one core
pytest benchmarks/test_promotion.py -s -k reuse
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from d2n import promotion
from d2n.scores.frechet import frechet_from_features
from d2n.scores.paired import resampled

pytestmark = pytest.mark.timeout(3600)
NUM_IMAGES, DIM, LEVEL = 48, 8, 0.025
NUM_EQUAL, NUM_BETTER, NUM_KNOWN = 1200, 500, 2000
SHIFT = 0.9  # of every generator's nights from the real ones, in each of the features' own deviations
# seeds of a setting, how much a seed moves its nights (deviation), settings scored beside the two
CASES = {"one seed": (1, 0.0, 0), "three seeds": (3, 0.03, 2), "three seeds that vary much": (3, 0.1, 2)}
Case = tuple[int, float, int]


def drawn(rng: np.random.Generator, case: Case, better: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Real features, and fakes of the candidate's seeds, the champion's, the others'; half of each is the day's."""
    num_seeds, spread, others = case
    falling = 1 / np.arange(1, DIM + 1)
    days = rng.normal(size=(NUM_IMAGES, DIM))
    real = rng.normal(size=days.shape) * falling
    means = [SHIFT - better, *[SHIFT] * (1 + others)]
    shifts = [mean + spread * rng.normal() for mean in means for _ in range(num_seeds)]
    own = [np.sqrt(0.5) * (days + rng.normal(size=days.shape)) for _ in shifts]
    return real, [(night + shift) * falling for night, shift in zip(own, shifts, strict=True)]


def gain_alone(rng: np.random.Generator, case: Case, better: float) -> float:
    """The estimated gain without its noise: cheap, for its distribution."""
    real, fakes = drawn(rng, (case[0], case[1], 0), better)
    values = [frechet_from_features(real, fake) for fake in fakes]
    return float(np.mean(values[case[0] :]) - np.mean(values[: case[0]]))


def compared(rng: np.random.Generator, case: Case, better: float) -> promotion.Comparison:
    """The rule itself, from features."""
    real, fakes = drawn(rng, case, better)
    draws = resampled("fid", real, fakes, 1000, seed=int(rng.integers(2**31)))
    groups = np.split(draws.values, range(case[0], len(fakes), case[0]))
    known = promotion.Resampled(draws.linear, draws.whole, NUM_IMAGES)
    return promotion.compare(
        "fid", groups[0], groups[1], known, lower_is_better=True, level=LEVEL, others=groups[2:]
    )


def exact_interval(hits: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson, 1934, 95 %."""
    found = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
    return float(found.low), float(found.high)


def planted(case: Case, deviations: float) -> float:
    """How much nearer the candidate's nights must be for a true gain of so many deviations of the estimate."""
    low, high = 0.0, SHIFT
    for _ in range(8):
        middle = (low + high) / 2
        found = [gain_alone(np.random.default_rng([1, i]), case, middle) for i in range(NUM_KNOWN // 4)]
        low, high = (middle, high) if np.mean(found) < deviations * np.std(found) else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize("name", CASES)
def test_equal_candidates_and_true_gains(name: str) -> None:
    """A/A rate with its exact interval; power beside that of one-sided paired tests of the same measured size."""
    case = CASES[name]
    hits = sum(bool(compared(np.random.default_rng([2, i]), case, 0.0).clear) for i in range(NUM_EQUAL))
    low, high = exact_interval(hits, NUM_EQUAL)
    size = max(hits, 1) / NUM_EQUAL
    print(
        f"\n{name}: equal candidates promoted in {hits} of {NUM_EQUAL} ({size:.4f}, 95 % [{low:.4f}, {high:.4f}])"
    )
    for deviations in (1.5, 2.5):
        better = planted(case, deviations)
        truth = np.array([gain_alone(np.random.default_rng([5, i]), case, better) for i in range(NUM_KNOWN)])
        found = sum(
            bool(compared(np.random.default_rng([4, i]), case, better).clear) for i in range(NUM_BETTER)
        )
        low, high = exact_interval(found, NUM_BETTER)
        known = float(
            np.mean(truth > stats.norm.isf(size) * truth.std())
        )  # a z test that knows the deviation
        ours = found / NUM_BETTER
        line = (
            f"  true gain of {truth.mean() / truth.std():.2f} deviations: found in {ours:.3f} [{low:.3f}, {high:.3f}]; "
            f"z test of known deviation, same size: {known:.3f} (ratio {ours / known:.2f})"
        )
        if case[0] > 1:
            paired = paired_t(case, better, size)
            line += f"; paired t test over the seeds, same size: {paired:.3f} (ratio {ours / paired:.2f})"
        print(line, flush=True)
    assert exact_interval(hits, NUM_EQUAL)[1] <= 0.04


def paired_t(case: Case, better: float, size: float) -> float:
    """Power of the t test over the pairs of seeds, at the size that was measured."""

    def t(i: int, stream: int, gain: float) -> float:
        real, fakes = drawn(np.random.default_rng([stream, i]), (case[0], case[1], 0), gain)
        values = np.array([frechet_from_features(real, fake) for fake in fakes])
        differences = values[case[0] :] - values[: case[0]]
        return float(differences.mean() / (differences.std(ddof=1) / np.sqrt(case[0])))

    critical = np.quantile([t(i, 6, 0.0) for i in range(NUM_KNOWN)], 1 - max(size, 1 / NUM_EQUAL))
    return float(np.mean([t(i, 7, better) for i in range(NUM_KNOWN // 2)] > critical))


def test_reuse() -> None:
    """50 promotions of equal candidates: moves of the alias, and how much too good the champion's score looks."""
    rng = np.random.default_rng(0)
    moves = bias = 0.0
    repeats = 2000
    for _ in range(repeats):  # the rule before: four candidates a time, the best test score wins
        champion = -np.inf
        for _ in range(51):
            best = rng.normal(size=4).max()
            moves += best > champion
            champion = max(champion, best)
        bias += champion
    print(f"\nbefore: {moves / repeats - 1:.2f} moves in 50 promotions, bias {bias / repeats:.2f} deviations")
    for uses, parts in itertools.product((1, 5, 10, 20, 50), (2, 4)):
        found, looks = promotion.reuse_bias(uses, level=LEVEL, parts=parts)
        print(f"after, {parts} parts: {found:.2f} moves in {uses} promotions, bias {looks:.2f} deviations")
    assert promotion.reuse_bias(50)[1] < bias / repeats / 2


@pytest.fixture(scope="module")
def real_generators(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, list[np.ndarray]]:
    """Features of the toy city's nights, and of eight seeds of a small pix2pix, in 16 principal components."""
    from d2n import translators
    from d2n.config import DatasetConfig, translator_config
    from d2n.datasets import toycity
    from d2n.datasets.batches import TranslationBatches
    from d2n.scores.features import build_extractor, extract
    from d2n.workflows.evaluation import held_out, to_night

    index = toycity.make(tmp_path_factory.mktemp("city"), seed=0, scale=0.3, workers=1)
    images = held_out(index, "test", 32, None)
    config = translator_config("pix2pix", "toy", unet_depth=3, generator_channels=8, discriminator_channels=8)
    extractor = build_extractor("random-squeezenet1_0", resize_px=32)
    found = [extract(extractor, list(images.night))]
    for seed in range(8):
        data = DatasetConfig(image_size_px=32)
        batches = TranslationBatches(index, data, split="train", paired=True, batch_size=4, seed=seed)
        gan = translators.build(config, total_steps=150, seed=seed)
        for step in range(150):
            gan.step(**batches.batch(step))
        found.append(extract(extractor, list(to_night(gan.translate, images.day))))
    together = np.concatenate(found).astype(np.float64)
    together -= together.mean(axis=0)
    parts = together @ np.linalg.svd(together, full_matrices=False)[2][:16].T
    real, *fakes = np.split(parts, len(found))
    return real, fakes


def test_real_generators(real_generators: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """Seeds of one setting against each other, and halves of one generator's images; the draws share images."""
    real, fakes = real_generators
    rng, count = np.random.default_rng(0), 400
    for what in ("three seeds against three others of one setting", "halves of one generator's images"):
        hits = plain = 0
        for _ in range(count):
            if what.startswith("three"):
                chosen = rng.permutation(len(fakes))[:6]
                x, ys, sides = real, [fakes[i] for i in chosen], (3, 3)
            else:
                order, one = rng.permutation(len(real)), fakes[int(rng.integers(len(fakes)))]
                half = len(real) // 2
                x = real[rng.permutation(len(real))[:half]]
                ys, sides = [one[order[:half]], one[order[half : 2 * half]]], (1, 1)
            draws = resampled("fid", x, ys, 1000, seed=int(rng.integers(2**31)))
            values = draws.values.tolist()
            known = promotion.Resampled(draws.linear, draws.whole, len(x))
            found = promotion.compare(
                "fid", values[: sides[0]], values[sides[0] :], known, lower_is_better=True
            )
            hits += bool(found.clear)
            plain += found.gain > 0
        low, high = exact_interval(hits, count)
        rate = f"promoted in {hits} of {count} [{low:.4f}, {high:.4f}]"
        print(f"\nreal generators, {what} ({len(x)} images): {rate}; the better mean alone in {plain}")
