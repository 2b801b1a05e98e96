import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2n.config import NetworkConfig, PretrainingConfig
from d2n.errors import RetrievalError, TrainingError
from d2n.retrieval import network
from d2n.retrieval.images import ImageStore
from d2n.retrieval.pretraining import pretrain

RNG = np.random.default_rng(0)
IMAGES = np.repeat(RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8), 4, axis=0)
LABELS = np.repeat([f"scene {i}" for i in range(6)], 4)
CONFIG = PretrainingConfig(n_epochs=3, batch_size=8, lr=3e-3)


def toy(seed: int = 0) -> network.RetrievalNetwork:
    return network.build(NetworkConfig(backbone="toy"), seed)


def run(net: network.RetrievalNetwork, config: PretrainingConfig = CONFIG, **more: Any) -> Any:
    return pretrain(net, IMAGES, LABELS, config, **more)


def test_scenes_are_told_apart_after_some_epochs() -> None:
    results = list(run(toy(), PretrainingConfig(n_epochs=12, batch_size=8, lr=3e-3)))
    assert results[-1].losses["cross_entropy"] < 0.5 * results[0].losses["cross_entropy"]
    assert results[-1].losses["accuracy"] == 1.0
    assert [r.step for r in results[:2]] == [3, 6]


def test_batch_norm_learns_its_statistics_and_is_closed_afterwards() -> None:
    net = toy()
    before = net.state_dict()["features.1.running_mean"].clone()
    list(run(net))
    assert not torch.equal(before, net.state_dict()["features.1.running_mean"])
    assert not net.training
    assert not net.train_batch_norm


def test_a_resumed_run_gives_the_same_bits() -> None:
    straight, resumed = toy(), toy(seed=5)
    expected = [r.losses for r in run(straight)]
    first = run(toy())
    next(first)
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    again = run(resumed, state=torch.load(buffer, weights_only=True))
    assert [r.losses for r in again] == expected[1:]
    assert network.fingerprint(resumed) == network.fingerprint(straight)


def test_paths_train_as_arrays_do() -> None:
    paths = [Path(str(i)) for i in range(len(IMAGES))]
    from_paths, from_arrays = toy(), toy()
    list(
        pretrain(
            from_paths,
            ImageStore(paths, lambda path: IMAGES[int(path.name)], 32),
            LABELS,
            CONFIG,
        )
    )
    list(run(from_arrays))
    assert network.fingerprint(from_paths) == network.fingerprint(from_arrays)


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(RetrievalError, match="1 scenes"):
        pretrain(toy(), IMAGES, ["one"] * 24, CONFIG)
    with pytest.raises(RetrievalError, match="2 labels for 24 images"):
        pretrain(toy(), IMAGES, ["one", "two"], CONFIG)


def test_a_loss_that_is_not_finite_stops_with_the_knob() -> None:
    training = run(toy())
    training.scenes.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"pretraining\.lr"):
        next(training)
