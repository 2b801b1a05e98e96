"""How often a data set's test images were used to decide between generators: tags of its experiment, one a use."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from d2n.errors import TrackingError
from d2n.tracking import names
from d2n.tracking.runs import Store


@dataclass(frozen=True)
class TestUse:
    """One look at test images for a decision."""

    __test__ = False  # no case of pytest

    key: str  # of what was asked: the candidates, the champion, the scores
    turn: int  # which part compared; -1 where there was no champion to compare with
    protocol: str  # identity of the whole split's


def record(store: Store, dataset: str, use: TestUse) -> None:
    """Count a use, before the images are looked at: what is interrupted was seen all the same."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    experiment_id = store.experiment_id(names.experiment(dataset))
    text = json.dumps(asdict(use), sort_keys=True)
    store.call(store.client.set_experiment_tag, experiment_id, names.test_use(stamp), text)


def uses(store: Store, dataset: str) -> tuple[list[TestUse], list[str]]:
    """The uses, oldest first, and the tags that cannot be read: they count as uses too, of something else."""
    found = store.call(store.client.get_experiment_by_name, names.experiment(dataset))
    readable, unreadable = [], []
    for tag, text in sorted((found.tags if found is not None else {}).items()):
        if names.is_test_use(tag):
            try:
                readable.append(_use(text))
            except TrackingError:
                unreadable.append(tag)
    return readable, unreadable


def _use(text: str) -> TestUse:
    try:
        values = json.loads(text)
        return TestUse(str(values["key"]), int(values["turn"]), str(values["protocol"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrackingError(
            f"a use of test images reads {text[:60]!r}, expected key, turn and protocol"
        ) from error
