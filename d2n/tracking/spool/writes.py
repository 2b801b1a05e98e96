"""One thing that a run logs: as a value that can wait on disk, and how a server gets it, twice where it has to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from d2n.files import journal
from d2n.files.scratch import scratch
from d2n.tracking import names
from d2n.tracking.answers import RUBBISH

Kind = Literal["metrics", "params", "tags", "files", "table", "dataset", "end"]
MOST_METRICS = 1000  # of one call
Known = dict[str, set[int]]  # metric → the steps that the server has


@dataclass(frozen=True)
class Write:
    """What is logged: JSON values, and for ``files`` contents or places by the name that each gets."""

    kind: Kind
    data: Mapping[str, Any]
    files: Mapping[str, bytes | Path] = field(default_factory=dict)

    def perform(self, client: MlflowClient, run_id: str, known: Known | None = None) -> None:
        """Send it. With ``known``, where it may have arrived already: a metric's step that is there is left out.

        Everything else may be sent again: the same params, tags, files, inputs and states are the same once more.
        """
        began = journal.now()
        _PERFORMED[self.kind](self, client, run_id, known)
        _require_server(client, run_id)
        if self.kind == "metrics":
            points = [(key, step) for key, _, _, step, _ in self.data["points"]]
            journal.note("metrics", began, run=run_id, points=points)
            if known is not None:
                for key, step in points:
                    known[key].add(step)


def metrics(points: Sequence[Metric]) -> Write:
    """Points of metrics, with the moments at which they were logged."""
    return Write(
        "metrics", {"points": [[one.key, one.value, one.timestamp, one.step, one.model_id] for one in points]}
    )


def params(given: Mapping[str, str]) -> Write:
    """Params of a run."""
    return Write("params", {"params": dict(given)})


def tags(given: Mapping[str, str]) -> Write:
    """Tags of a run."""
    return Write("tags", {"tags": dict(given)})


def files(folder: str | None, given: Mapping[str, bytes | Path]) -> Write:
    """Files, or one folder with all it holds, below a folder of the run's artifacts."""
    return Write("files", {"folder": folder}, given)


def text(content: str, path: str) -> Write:
    """A text at a path among the run's artifacts."""
    above, _, name = path.rpartition("/")
    return files(above or None, {name: content.encode("utf-8")})


def table(path: str) -> Write:
    """Say in the run's pages that the file at ``path`` is a table."""
    return Write("table", {"path": path})


def dataset(info: Mapping[str, str], context: str) -> Write:
    """A data set as the run's input: name, digest, source and profile."""
    return Write("dataset", {"info": dict(info), "context": context})


def end(status: str, at_ms: int) -> Write:
    """The run's end, and when it was, milliseconds since 1970."""
    return Write("end", {"status": status, "at": at_ms})


def fitting(each: Iterable[Write]) -> int:
    """How many of the first writes make one call: metrics, as many as it takes; of others one."""
    count = points = 0
    for one in each:
        points += len(one.data["points"]) if one.kind == "metrics" else MOST_METRICS
        if count and points > MOST_METRICS:
            break
        count += 1
    return count


def joined(each: Sequence[Write]) -> Write:
    """Several writes of metrics as one."""
    return (
        each[0]
        if len(each) == 1
        else Write("metrics", {"points": [p for w in each for p in w.data["points"]]})
    )


def put_in(folder: Path, write: Write) -> None:
    """Copy its files into a new folder."""
    for name, content in write.files.items():
        target = folder / name
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif content.is_dir():
            shutil.copytree(content, target, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(content, target)


def _require_server(client: MlflowClient, run_id: str) -> None:
    """A batch is answered with nothing, which any page of JSON may stand for: ask for what no other server knows."""
    if client.tracking_uri.startswith("http") and client.get_run(run_id).info.run_id != run_id:
        raise MlflowException(f"it {RUBBISH}")


def _metrics(write: Write, client: MlflowClient, run_id: str, known: Known | None) -> None:
    points = write.data["points"]
    missing = points if known is None else _missing(points, client, run_id, known)
    if missing:
        made = [Metric(k, v, at, step, model_id=m, run_id=run_id) for k, v, at, step, m in missing]
        client.log_batch(run_id, metrics=made)


def _missing(points: Sequence[Any], client: MlflowClient, run_id: str, known: Known) -> list[Any]:
    """Those that the server has not; what links a metric to a model stands beside the metric itself."""
    for key in {point[0] for point in points} - set(known):
        known[key] = {int(one.step) for one in client.get_metric_history(run_id, key)}
    return [point for point in points if point[4] or point[3] not in known[point[0]]]


def _params(write: Write, client: MlflowClient, run_id: str, _: Known | None) -> None:
    client.log_batch(run_id, params=[Param(key, value) for key, value in write.data["params"].items()])


def _tags(write: Write, client: MlflowClient, run_id: str, _: Known | None) -> None:
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in write.data["tags"].items()])


def _files(write: Write, client: MlflowClient, run_id: str, _: Known | None) -> None:
    folder = write.data["folder"]
    for name, content in write.files.items():
        if isinstance(content, bytes):
            with scratch("artifact") as above:
                (above / name).write_bytes(content)
                client.log_artifact(run_id, str(above / name), folder)
        elif content.is_dir():
            client.log_artifacts(run_id, str(content), folder)
        else:
            client.log_artifact(run_id, str(content), folder)


def _table(write: Write, client: MlflowClient, run_id: str, _: Known | None) -> None:
    listed = json.loads(client.get_run(run_id).data.tags.get(names.LOGGED_TABLES, "[]"))
    entry = {"path": write.data["path"], "type": "table"}
    if entry not in listed:
        client.set_tag(run_id, names.LOGGED_TABLES, json.dumps([*listed, entry]))


def _dataset(write: Write, client: MlflowClient, run_id: str, _: Known | None) -> None:
    made = Dataset(**write.data["info"], source_type="local", schema=None)
    given = DatasetInput(made, tags=[InputTag(names.DATA_CONTEXT, write.data["context"])])
    client.log_inputs(run_id, datasets=[given])


def _end(write: Write, client: MlflowClient, run_id: str, _: Known | None) -> None:
    client.set_terminated(run_id, write.data["status"], write.data["at"])


_PERFORMED: Mapping[Kind, Any] = {
    "metrics": _metrics,
    "params": _params,
    "tags": _tags,
    "files": _files,
    "table": _table,
    "dataset": _dataset,
    "end": _end,
}
