"""The loop's epochs, means, interruption, alarms."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
import torch

from d2n.core import EpochResult
from d2n.errors import TrainingError
from d2n.translators import loop
from d2n.translators.distributed import shard
from d2n.translators.loop import Schedule


def train(translator, batches, probe_day=None, title="", **schedule) -> Iterator[EpochResult]:
    steps = loop.train(translator, batches, Schedule(**schedule), probe_day=probe_day, title=title)
    return (step.epoch for step in steps if step.epoch is not None)


def test_epochs_steps_and_means(gan, batches, batch) -> None:
    translator, plain = gan("cyclegan"), gan("cyclegan")
    results = list(train(translator, batches, n_epochs=2, steps_per_epoch=4, log_every_steps=2))
    by_hand = [{n: v.item() for n, v in plain.step(**batch(step)).items()} for step in range(8)]
    assert [(r.epoch, r.step) for r in results] == [(1, 4), (2, 8)]
    assert [step for r in results for step, _ in r.history] == [2, 4, 6, 8]
    for name in by_hand[0]:
        epoch_mean = sum(losses[name] for losses in by_hand[4:]) / 4
        assert results[1].losses[name] == pytest.approx(epoch_mean, rel=1e-6)
        interval_mean = (by_hand[2][name] + by_hand[3][name]) / 2
        assert results[0].history[1][1][name] == pytest.approx(interval_mean, rel=1e-6)
    assert results[0].images_per_s == pytest.approx(8 / results[0].seconds)


@pytest.mark.parametrize("left_at", [2, 4, 6])
def test_left_between_two_steps_and_resumed(gan, batches, left_at) -> None:
    """Same weights, same means, and each interval's losses once."""
    schedule = Schedule(n_epochs=2, steps_per_epoch=4, log_every_steps=3)
    whole = gan("cyclegan")
    expected = list(loop.train(whole, batches, schedule))
    assert [step.step for step in expected] == list(range(1, 9))
    assert [step.step for step in expected if step.losses] == [3, 6]
    assert [step.step for step in expected if step.epoch] == [4, 8]
    first = gan("cyclegan")
    with contextlib.closing(loop.train(first, batches, schedule)) as steps:
        before = list(itertools.islice(steps, left_at))
    assert first.steps_done == left_at
    second = gan("cyclegan")
    second.load_state(first.state())
    found = [*before, *loop.train(second, batches, schedule)]
    assert [(r.step, dict(r.losses)) for r in found] == [(r.step, dict(r.losses)) for r in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.epoch and dict(one.epoch.losses)) == (other.epoch and dict(other.epoch.losses))
    for name, network in whole.networks.items():
        for a, b in zip(network.parameters(), second.networks[name].parameters(), strict=True):
            assert torch.equal(a, b)


def test_left_early_it_lets_its_batches_go(gan, batches) -> None:
    closed = []

    def watched(start, stop):
        try:
            yield from batches(start, stop)
        finally:
            closed.append(start)

    with contextlib.closing(loop.train(gan("cyclegan"), watched, Schedule(2, 4))) as steps:
        next(steps)
        assert closed == []
    del steps
    assert closed == [0]


def test_a_finished_run_yields_nothing(gan, batches) -> None:
    translator = gan("cyclegan")
    list(train(translator, batches, n_epochs=1, steps_per_epoch=2))
    assert list(train(translator, batches, n_epochs=1, steps_per_epoch=2)) == []


def test_non_finite_loss_stops_before_the_epoch_is_yielded(gan, batches) -> None:
    translator = gan("cyclegan")

    def poisoned(start, stop):
        for step, data in enumerate(batches(start, stop), start):
            yield {**data, "day": data["day"] * float("nan")} if step == 5 else data

    run = train(translator, poisoned, n_epochs=2, steps_per_epoch=4, log_every_steps=2)
    assert next(run).step == 4
    with pytest.raises(
        TrainingError, match=r"g = nan.*between steps 4 and 6: the last good checkpoint is kept"
    ):
        next(run)


def test_batches_that_end_early_are_told(gan, batches) -> None:
    with pytest.raises(TrainingError, match="ended at step 2, expected 4"):
        next(train(gan("cyclegan"), lambda a, b: batches(a, 2), n_epochs=1, steps_per_epoch=4))


def test_collapse_is_an_alarm_and_stops_where_asked(gan, batches, batch) -> None:
    translator = gan("cyclegan", lr=1e-9)
    with torch.no_grad():
        translator.generator.last.weight.zero_()  # every image becomes one grey
    options = {"n_epochs": 2, "steps_per_epoch": 2, "probe_day": batch(77)["day"]}
    run = train(translator, batches, stop_on_collapse=True, **options)
    assert next(run).alarms["collapse"] == 1.0
    with pytest.raises(TrainingError, match="collapsed"):
        next(run)


def test_an_alarm_that_stays_is_told_once(gan, batches, batch, caplog) -> None:
    translator = gan("cyclegan", lr=1e-9)
    with torch.no_grad():
        translator.generator.last.weight.zero_()
    list(train(translator, batches, n_epochs=3, steps_per_epoch=2, probe_day=batch(77)["day"]))
    told = [record.getMessage() for record in caplog.records if "collapse" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("epoch 1: alarm: ")


def test_an_alarm_is_named_with_its_trial_and_what_it_means(gan, batches, batch, caplog) -> None:
    translator = gan("cyclegan", lr=1e-9)
    with torch.no_grad():
        translator.generator.last.weight.zero_()
    run = train(
        translator, batches, n_epochs=1, steps_per_epoch=1, probe_day=batch(77)["day"], title="trial 3 of s"
    )
    list(run)
    told = [record.getMessage() for record in caplog.records if "alarm" in record.getMessage()]
    assert told[0].startswith(
        "trial 3 of s, epoch 1: alarm: collapse: the outputs hardly depend on the inputs"
    )
    assert told[0].endswith("(docs/alarms.md)")


def test_alarms_do_not_touch_the_training(gan, batches, batch) -> None:
    watched, plain = gan("cyclegan"), gan("cyclegan")
    list(train(watched, batches, n_epochs=2, steps_per_epoch=2, probe_day=batch(77)["day"]))
    list(train(plain, batches, n_epochs=2, steps_per_epoch=2))
    a, b = (t.networks["generator_night"].last.weight for t in (watched, plain))
    assert torch.equal(a, b)


def test_shard_is_the_whole_batch_in_one_process() -> None:
    data = {"day": torch.arange(3)}
    assert torch.equal(shard(data)["day"], data["day"])
