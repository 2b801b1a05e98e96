import copy
import dataclasses
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2n.config import NetworkConfig, RetrievalTrainingConfig
from d2n.core import EpochResult
from d2n.errors import RetrievalError, TrainingError
from d2n.retrieval import epoch, loop, network, optimiser
from d2n.retrieval.losses import contrastive_loss
from d2n.retrieval.night import NightAugmentation

NUM_SCENES, VIEWS, SIZE = 8, 3, 32
SCENES = np.random.default_rng(0).integers(0, 256, (NUM_SCENES, SIZE, SIZE, 3), dtype=np.uint8)
PATHS = [Path(f"/city/{scene}/{view}.png") for scene in range(NUM_SCENES) for view in range(VIEWS)]
CLUSTERS = [scene for scene in range(NUM_SCENES) for _ in range(VIEWS)]
QUERIES = [scene * VIEWS + a for scene in range(NUM_SCENES) for a in range(VIEWS)]
POSITIVES = [scene * VIEWS + (a + 1) % VIEWS for scene in range(NUM_SCENES) for a in range(VIEWS)]
CONFIG = RetrievalTrainingConfig(
    precision="fp32",  # sums in another order agree to float32's rounding
    n_epochs=2,
    num_queries=12,
    pool_size=24,
    num_negatives=2,
    image_size_px=SIZE,
    margin=0.7,
    lr=1e-3,
    lr_schedule="cosine",
    weight_decay=0.0,
)


def load(path: Path) -> np.ndarray:
    image: np.ndarray = np.roll(SCENES[int(path.parent.name)], 2 * int(path.stem), axis=1)
    return image


def toy(seed: int = 0) -> network.RetrievalNetwork:
    return network.build(NetworkConfig(backbone="toy"), seed)


def finetuning(
    net: network.RetrievalNetwork, config: RetrievalTrainingConfig = CONFIG, **more: Any
) -> loop.FineTuning:
    images = loop.TrainingImages(PATHS, CLUSTERS, QUERIES, POSITIVES, more.pop("load_image", load))
    return loop.finetune(net, images, config, **more)


def epochs(session: loop.FineTuning) -> Iterator[EpochResult]:
    return (step.epoch for step in session if step.epoch is not None)


def mined(session: loop.FineTuning, seed: int) -> tuple[Any, float]:
    mining = session.mine(np.random.default_rng(seed), torch.Generator())
    while True:
        try:
            next(mining)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the generator returned


def test_fine_tuning_lowers_the_loss_and_reports_each_epoch() -> None:
    results = list(epochs(finetuning(toy(), dataclasses.replace(CONFIG, n_epochs=4))))
    assert [r.epoch for r in results] == [1, 2, 3, 4]
    assert [r.step for r in results] == [3, 6, 9, 12]
    assert results[-1].losses["contrastive"] < results[0].losses["contrastive"]
    assert [step for step, _ in results[1].history] == [4, 5, 6]
    assert all(isinstance(r, EpochResult) and r.images_per_s > 0 for r in results)


@pytest.mark.parametrize("augmented", [False, True])
def test_a_resumed_run_gives_the_same_bits(augmented: bool) -> None:
    def night() -> NightAugmentation | None:
        return NightAugmentation(lambda x: -x, probability=0.5) if augmented else None

    straight = toy()
    expected = [r.losses for r in epochs(finetuning(straight, night=night(), mine_through=augmented))]
    broken = toy()
    first = finetuning(broken, night=night(), mine_through=augmented)
    losses = [next(epochs(first)).losses]
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    resumed = toy(seed=99)
    again = finetuning(resumed, state=state, night=night(), mine_through=augmented)
    assert [*losses, *(r.losses for r in epochs(again))] == expected
    assert network.fingerprint(resumed) == network.fingerprint(straight)


class Dropping(torch.nn.Module):
    """A trunk with dropout, which draws from the global generator."""

    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(self.trunk(x), 0.2, self.training)


def dropping(seed: int = 0) -> network.RetrievalNetwork:
    net = toy(seed)
    net.features = Dropping(net.features)  # type: ignore[assignment]  # another module
    return net


@pytest.mark.parametrize("left_at", [1, 2, 3, 6, 8, 9])
def test_left_inside_an_epoch_it_goes_on_to_the_same_bits(left_at: int) -> None:
    """Left at its n-th moment: in the first mining, between steps, after an epoch, in the second mining."""

    def night() -> NightAugmentation:
        return NightAugmentation(lambda x: -x, probability=0.5)

    config = dataclasses.replace(CONFIG, tuples_per_step=3)  # 4 steps an epoch
    torch.manual_seed(1)
    straight = dropping()
    uninterrupted = finetuning(straight, config, night=night(), mine_through=True)
    expected = [(r.losses, r.history) for r in epochs(uninterrupted)]
    torch.manual_seed(2)
    first = finetuning(dropping(), config, night=night(), mine_through=True)
    moments = list(itertools.islice(first, left_at))
    done = [(r.epoch.losses, r.epoch.history) for r in moments if r.epoch is not None]
    torch.rand(3)  # whoever consumes it may draw from the global generator
    assert not first.is_done
    assert first.steps_done == moments[-1].step == {1: 0, 2: 0, 3: 1, 6: 4, 8: 4, 9: 5}[left_at]
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    torch.manual_seed(3)
    resumed = dropping(seed=99)
    again = finetuning(
        resumed, config, state=torch.load(buffer, weights_only=True), night=night(), mine_through=True
    )
    assert [*done, *((r.losses, r.history) for r in epochs(again))] == expected
    assert network.fingerprint(resumed) == network.fingerprint(straight)


def test_a_state_does_not_change_as_training_goes_on() -> None:
    run = finetuning(toy())
    results = epochs(run)
    next(results)
    state = run.state()
    before = copy.deepcopy(state)
    next(results)
    assert state["epoch"] == 1
    for key, value in before["network"].items():
        assert torch.equal(state["network"][key], value)
    assert str(state["optimizer"]) == str(before["optimizer"])


def test_gradients_of_a_steps_tuples_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched in one pass, tuple by tuple, and by the labelled loss: the same step."""
    together, apart = toy(), toy()
    next(epochs(finetuning(together)))
    monkeypatch.setattr(loop, "_STEP_PX", 1)
    next(epochs(finetuning(apart)))
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4)

    plain = toy().train()
    run = finetuning(toy())
    tuples, _ = mined(run, 0)
    labels = torch.tensor([-1, 1, 0, 0] * 5)
    images = torch.from_numpy(np.stack([load(PATHS[i]) for i in tuples[:5].reshape(-1)]))
    contrastive_loss(plain(images.permute(0, 3, 1, 2) / 255), labels, CONFIG.margin).backward()
    run.network.train()
    run._step(tuples[:5], 0, torch.Generator())
    for (name, a), b in zip(plain.named_parameters(), run.network.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-4), name


def test_batch_norm_statistics_stay() -> None:
    net = toy()
    before = {key: value.clone() for key, value in net.state_dict().items() if "running" in key}
    list(finetuning(net))
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())
    assert not net.training


def test_tuples_are_query_positive_and_negatives_of_other_clusters() -> None:
    tuples, similarity = mined(finetuning(toy()), 3)
    assert tuples.shape == (12, 4)
    assert -1 <= similarity <= 1.001
    clusters = np.asarray(CLUSTERS)[tuples]
    assert (clusters[:, 0] == clusters[:, 1]).all()
    assert all(len(set(row[1:].tolist())) == 3 for row in clusters)


class Recording:
    """A night that changes nothing and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[int], list[str]]] = []

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor | None = None,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        assert labels is not None
        assert names is not None
        assert generator is not None
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        self.seen.append((labels.tolist(), list(names)))
        return images


def test_night_sees_tuples_with_labels_and_names_and_mining_only_when_told() -> None:
    plain, through = Recording(), Recording()
    one = dataclasses.replace(CONFIG, n_epochs=1)
    list(finetuning(toy(), one, night=plain))
    assert [labels for labels, _ in plain.seen] == [[-1, 1, 0, 0] * 5, [-1, 1, 0, 0] * 5, [-1, 1, 0, 0] * 2]
    assert plain.seen[0][1][0].startswith("city/")
    list(finetuning(toy(), one, night=through, mine_through=True))
    assert [set(labels) for labels, _ in through.seen[:2]] == [{-1}, {0}]
    assert sum(len(labels) for labels, _ in through.seen[:2]) == 12 + 24


def test_night_that_changes_nothing_changes_nothing() -> None:
    with_night, without = toy(), toy()
    list(finetuning(with_night, night=Recording(), mine_through=False))
    list(finetuning(without))
    assert network.fingerprint(with_night) == network.fingerprint(without)


class Darkening(Recording):
    """A night of the queries alone."""

    def __call__(self, images: torch.Tensor, labels: Any = None, *args: Any, **named: Any) -> torch.Tensor:
        super().__call__(images, labels, *args, **named)
        return torch.where((labels == -1)[:, None, None, None], images * 0.5, images)


def test_the_images_that_night_changed_are_counted() -> None:
    one = dataclasses.replace(CONFIG, n_epochs=2)
    counts = [
        int(found.losses["night_images"]) for found in epochs(finetuning(toy(), one, night=Darkening()))
    ]
    assert counts == [12, 12]
    assert "night_images" not in next(epochs(finetuning(toy(), one))).losses
    left = finetuning(toy(), one, night=Darkening())
    next(step for step in left if step.losses)
    state = left.state()
    again = finetuning(toy(), one, night=Darkening(), state=state)
    assert [int(found.losses["night_images"]) for found in epochs(again)] == [12, 12]


def test_diverse_anchors_train_on_pairs_of_other_places_first() -> None:
    config = dataclasses.replace(CONFIG, anchors="diverse", anchor_pool_size=24, num_queries=6)
    tuples, _ = mined(finetuning(toy(), config), 3)
    assert tuples.shape == (6, 4)
    assert len(set(tuples[:, 0].tolist())) == 6
    again, _ = mined(finetuning(toy(), config), 3)
    assert np.array_equal(tuples, again)
    assert (np.asarray(CLUSTERS)[tuples[:, 0]] == np.asarray(CLUSTERS)[tuples[:, 1]]).all()
    through = Recording()
    mined(finetuning(toy(), config, night=through, mine_through=True), 3)
    assert [set(labels) for labels, _ in through.seen] == [{-1}, {-1}, {0}]


def test_images_of_mixed_sizes_train() -> None:
    def ragged(path: Path) -> np.ndarray:
        return load(path)[: 24 + 4 * int(path.stem)]

    mixed, alone = toy(), toy()
    results = list(epochs(finetuning(mixed, load_image=ragged)))
    assert np.isfinite(results[-1].losses["contrastive"])
    run, other = finetuning(mixed, load_image=ragged), finetuning(alone, load_image=ragged)
    other.network.load_state_dict(mixed.state_dict())
    tuples, _ = mined(run, 0)
    images = [run.images.many(numbers) for numbers in tuples[:2]]
    with torch.no_grad():
        batched = run._embed_tuples(images, tuples[:2], torch.Generator())
        single = torch.stack(
            [
                other._embed_tuples([one], t[None], torch.Generator())[0]
                for one, t in zip(images, tuples[:2], strict=True)
            ]
        )
    assert torch.allclose(batched, single, atol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("exponential", [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]), ("cosine", [1.0, 0.9330, 0.75, 0.5, 0.25, 0.0670])],
)
def test_learning_rates(schedule: Any, expected: list[float]) -> None:
    config = dataclasses.replace(CONFIG, lr_schedule=schedule, lr_gamma=0.5, lr=1.0, gem_lr_factor=10.0)
    optimizer = optimiser.adam(toy(), config)
    found = []
    for step in range(6):
        optimiser.set_lr(optimizer, config, step, steps_per_epoch=3)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[1] == pytest.approx(10 * rates[0])
        found.append(rates[0])
    assert found == pytest.approx(expected, abs=1e-4)


def test_gem_has_no_weight_decay_and_every_parameter_is_trained_once() -> None:
    net = toy()
    others, pooling = optimiser.adam(net, CONFIG).param_groups
    assert pooling["weight_decay"] == 0
    assert [id(p) for p in pooling["params"]] == [id(net.pool.p)]
    assert len(others["params"]) + 1 == len(list(net.parameters()))


def test_no_epochs_leave_the_network_as_it_was() -> None:
    net = toy()
    before = network.fingerprint(net)
    assert list(finetuning(net, dataclasses.replace(CONFIG, n_epochs=0))) == []
    assert network.fingerprint(net) == before


def test_a_loss_that_is_not_finite_stops_with_the_knob() -> None:
    net = toy()
    run = finetuning(net)
    with torch.no_grad():
        net.head.bias.fill_(float("nan"))  # type: ignore[union-attr,operator]  # a Linear
    run.network.train()
    with pytest.raises(TrainingError, match=r"epoch 1, step 1.*training\.lr"):
        run._step(np.array([[0, 1, 3, 6]]), 0, torch.Generator())


@pytest.mark.parametrize(
    ("clusters", "queries", "positives", "said"),
    [
        (CLUSTERS[:-1], QUERIES, POSITIVES, "23 clusters for 24 images"),
        (CLUSTERS, [], [], "no matching pairs"),
        (CLUSTERS, [0], [99], "pairs point at images 0 to 99"),
        ([0] * 24, QUERIES, POSITIVES, "1 clusters"),
    ],
)
def test_sets_that_cannot_be_trained_on_are_refused(
    clusters: list[int], queries: list[int], positives: list[int], said: str
) -> None:
    with pytest.raises(RetrievalError, match=said):
        list(loop.finetune(toy(), loop.TrainingImages(PATHS, clusters, queries, positives, load), CONFIG))


def test_pools_that_can_never_give_the_negatives_are_told_before_an_epoch() -> None:
    config = dataclasses.replace(CONFIG, n_epochs=3, num_negatives=NUM_SCENES)
    with pytest.raises(
        RetrievalError, match="8 clusters, which leaves 7 besides the query's; expected at least 8"
    ):
        epoch.refuse_small_pools(CLUSTERS, QUERIES, config)
    epoch.refuse_small_pools(CLUSTERS, QUERIES, dataclasses.replace(config, num_negatives=NUM_SCENES - 1))
    epoch.refuse_small_pools(CLUSTERS, QUERIES, dataclasses.replace(config, n_epochs=0))


@pytest.mark.parametrize("seed", range(6))
def test_a_pool_is_refused_exactly_where_an_epoch_would_be(seed: int) -> None:
    """Pools of 8 of 24 images: with six negatives some draws suffice and others do not."""
    config = dataclasses.replace(CONFIG, n_epochs=2, pool_size=8, num_negatives=5, num_queries=3)

    def refused(run: Any) -> bool:
        try:
            run()
        except RetrievalError:
            return True
        return False

    told = refused(lambda: epoch.refuse_small_pools(CLUSTERS, QUERIES, config, seed))
    assert told == refused(lambda: list(finetuning(toy(), config, seed=seed)))


def stopped(session: loop.FineTuning, values: dict[int, float], until: int = 99) -> list[int]:
    """The epochs that are trained while those validations are told."""
    seen = []
    for found in epochs(session):
        session.validated(values[found.epoch])
        seen.append(found.epoch)
        if found.epoch == until:
            break
    return seen


def test_a_training_out_of_patience_ends_with_its_best_weights_resumed_or_not() -> None:
    config = dataclasses.replace(CONFIG, n_epochs=6, patience=2)
    values = {1: 0.2, 2: 0.4, 3: 0.3, 4: 0.4, 5: 0.9, 6: 0.9}
    whole, two = toy(), toy()
    session = finetuning(whole, config)
    assert stopped(session, values) == [1, 2, 3, 4]
    assert session.is_done
    assert session.best.epoch == 2
    stopped(finetuning(two, dataclasses.replace(config, n_epochs=6)), values, until=2)
    assert network.fingerprint(whole) == network.fingerprint(two)
    first = finetuning(toy(), config)
    stopped(first, values, until=3)
    resumed = toy(7)
    assert stopped(finetuning(resumed, config, state=first.state()), values) == [4]
    assert network.fingerprint(resumed) == network.fingerprint(whole)


def test_another_loss_trains_and_is_named() -> None:
    config = dataclasses.replace(CONFIG, loss="multi_similarity", n_epochs=3)
    losses = [found.losses["multi_similarity"] for found in epochs(finetuning(toy(), config))]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
