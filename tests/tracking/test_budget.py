"""Uses of test images, counted in the store."""

from __future__ import annotations

from d2n.tracking import budget, names
from d2n.tracking.runs import Store


def test_uses_are_kept_in_order_and_what_cannot_be_read_is_named(store: Store) -> None:
    assert budget.uses(store, "toycity") == ([], [])
    made = [budget.TestUse(key, turn, "protocol") for key, turn in (("a", -1), ("b", 0), ("b", 0))]
    for use in made:
        budget.record(store, "toycity", use)
    assert budget.uses(store, "toycity") == (made, [])
    experiment_id = store.experiment_id(names.experiment("toycity"))
    for i, text in enumerate(("{", "[]", '{"key": "a"}', '{"key": "a", "turn": "x", "protocol": ""}')):
        store.client.set_experiment_tag(experiment_id, f"d2n.test_use.{i}", text)
    store.client.set_experiment_tag(experiment_id, "note", "of a person")
    found, unreadable = budget.uses(store, "toycity")
    assert found == made
    assert unreadable == [f"d2n.test_use.{i}" for i in range(4)]


def test_each_data_set_has_its_own(store: Store) -> None:
    budget.record(store, "toycity", budget.TestUse("a", 0, "p"))
    assert budget.uses(store, "aachen") == ([], [])
    store.experiment_id("another")
    assert store.datasets() == ["toycity"]
