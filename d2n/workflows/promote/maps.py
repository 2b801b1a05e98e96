"""What generators were worth for retrieval: the mAP of the runs that used them."""

from __future__ import annotations

import hashlib
import json
import statistics
from typing import TYPE_CHECKING

from d2n.config import MACHINE_KNOBS, ROUNDING_KNOBS
from d2n.core import Score, ScoreProtocol
from d2n.errors import TrackingError
from d2n.files.json import read_json_object
from d2n.files.scratch import scratch
from d2n.tracking import names
from d2n.tracking.records import RetrievalRecord

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

_FREE = {
    "name", "seed", "num_seeds", "register_as", "night.generator", *MACHINE_KNOBS, *ROUNDING_KNOBS,
}  # fmt: skip


class Maps:
    """The mAP of a benchmark, by the generator that a retrieval run trained with."""

    def __init__(self, store: Store, metric: str) -> None:
        self.store, self.metric = store, metric
        found = store.find_runs(tags={names.KIND: "retrieval"}, status="FINISHED")
        self.runs = sorted(
            (run for run in found if metric in run.metrics),
            key=lambda run: names.PARENT_RUN in run.tags,  # a study's short arms come last
        )

    def of(self, generator: RunRecord) -> tuple[Score, tuple[float, ...]] | None:
        """The newest run's mAP with its protocol, and that of each of its seeds; None where none used it."""
        run_id, model_id = generator.run_id, generator.logged_model
        for run in self.runs:
            used = run.params.get("night.generator", "")
            if run.tags.get(names.GENERATOR_MODEL_ID) == model_id or used == run_id:
                values = self._seeds(run)
                std = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
                return Score(self.metric, run.metrics[self.metric], self._protocol(run), std), values
        return None

    def _seeds(self, run: RunRecord) -> tuple[float, ...]:
        try:
            with scratch("map") as folder:
                path = self.store.artifact(run.run_id, "tables/map.json", folder)
                table = read_json_object(path, TrackingError)
            columns = {name: [row[i] for row in table["data"]] for i, name in enumerate(table["columns"])}
            row = columns["measure"].index(self.metric)
            return tuple(float(columns[name][row]) for name in columns if name.startswith("seed"))
        except (TrackingError, OSError, ValueError, KeyError, TypeError, IndexError):
            return (run.metrics[self.metric],)

    def _protocol(self, run: RunRecord) -> ScoreProtocol:
        """What two mAPs must share: the data, and all knobs but the generator and the machine's."""
        knobs = {k: v for k, v in RetrievalRecord.knobs_of(run).items() if k not in _FREE}
        digest = hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()
        return ScoreProtocol("retrieval", digest, self.metric, 0, run.dataset_digest)
