"""One run that is being written: params, metrics, tags, artifacts, models, and its end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from mlflow.entities import LoggedModelInput, Metric, Param, RunTag

from d2n import databases, secrets
from d2n.core import DatasetInfo
from d2n.errors import TrackingError
from d2n.files import journal
from d2n.tracking import artifacts, environment, knobs, models, names
from d2n.tracking.connection import Connection

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
_BATCH, _PARAM_BATCH = 1000, 100  # MLflow's limits for one call
_LONGEST_PARAM, _LONGEST_TAG = 6000, 8000
_HEARTBEAT_S = 60.0


class TrackedRun:
    """A RUNNING run. A context manager: FINISHED at the end, FAILED after an exception, KILLED when interrupted.

    Nothing is queued: when a method returns, the store has it. After a resumption, metrics of steps that the
    store already has are not written again.
    """

    def __init__(self, store: Connection, run_id: str, experiment_id: str, resumed: bool = False) -> None:
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._store = store
        self._closed = False
        self._beat = time.monotonic()
        self._done_params: dict[str, str] = {}
        self._kept: Mapping[str, str] = {}  # those in one tag
        self._done_steps: dict[str, int] = {}
        if resumed:
            self._read_done()
        self._done_images = artifacts.logged_images(store, run_id) if resumed else set()

    @property
    def url(self) -> str:
        """Where the MLflow UI shows the run; for a database, where `d2n ui` does."""
        uri = self._store.uri
        base = databases.without_login(uri) if uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{base}/{names.run_page(self.experiment_id, self.run_id)}"

    def log_params(
        self,
        params: Mapping[str, Any],
        changeable: Collection[str] = (),
        shown: Collection[str] | None = None,
    ) -> None:
        """Write params, once and for all; a value above 6000 characters is cut with its length and hash said.

        Where ``shown`` names some, the pages show these alone and one tag keeps the others (RunRecord.params has
        all); what does not fit into a tag is shown too. Of a resumed run the ``changeable`` ones keep their first
        value, and a tag says the present one. Raises TrackingError where another param is there with another value.
        """
        text = {names.checked(key, "param"): param_text(value) for key, value in params.items()}
        known = {**self._kept, **self._done_params}
        now = {k: v for k, v in text.items() if k in changeable and known.get(k, v) != v}
        if now:
            logger.warning(
                "run %s goes on with %s; its params keep the first values, tags %s say the present ones",
                self.run_id,
                ", ".join(f"{key} = {value} (was {known[key]})" for key, value in now.items()),
                names.resumed_with("*"),
            )
            self.set_tags({names.resumed_with(key): value for key, value in now.items()})
        hidden = {k: v for k, v in text.items() if shown is not None and k not in shown and k not in known}
        self._keep(hidden)
        made = [Param(k, v) for k, v in text.items() if k not in now and self._kept.get(k) != v]
        for start in range(0, len(made), _PARAM_BATCH):
            self._store.call(
                self._store.client.log_batch, self.run_id, params=made[start : start + _PARAM_BATCH]
            )

    def _keep(self, hidden: Mapping[str, str]) -> None:
        """Params into the tag, beside what is there; not where they are too many for one."""
        kept = {**hidden, **self._kept}
        if hidden and len(text := knobs.text(kept)) <= _LONGEST_TAG:
            self.set_tags({names.KNOBS: text})
            self._kept = kept

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None, model_id: str | None = None
    ) -> None:
        """Write all metrics of a step in one call; `model_id` links them to a logged model as well.

        A value that is not finite is left out, and a warning names it: the others are not lost for it.
        """
        at = 0 if step is None else step
        now = _now_ms()
        made = [
            Metric(
                names.checked(key, "metric"),
                value,
                now,
                at,
                model_id=model_id,
                run_id=self.run_id,
            )
            for key, value in _finite(metrics.items())
            if at > self._done_steps.get(key, -1)
        ]
        self._write_metrics(made)

    def log_metric_series(self, key: str, points: Iterable[tuple[int, float]]) -> None:
        """Write many steps of one metric: (step, value). Values that are not finite are left out, as in log_metrics."""
        now, done = _now_ms(), self._done_steps.get(key, -1)
        name = names.checked(key, "metric")
        self._write_metrics(
            [
                Metric(name, value, now, step)
                for step, given in points
                if step > done
                for _, value in _finite([(key, given)])
            ]
        )

    def log_prd_overlay(
        self, precision: Sequence[float], recall: Sequence[float], key: str = names.PRD_OVERLAY
    ) -> bool:
        """The PRD curve as a metric, step = round(1000 * recall), so that the UI overlays the curves of several runs.

        Points of one step keep the highest precision. A metric's points cannot be taken back: log the final curve;
        if the run has one already, False comes back and nothing is written.
        """
        if self.last_step(key) is not None:
            logger.warning("run %s has a curve %s already: it stays", self.run_id, key)
            return False
        self.log_metric_series(key, overlay_points(precision, recall))
        return True

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Write or replace tags; a value above 8000 characters is cut."""
        made = [RunTag(names.checked(key, "tag"), tag_text(value)) for key, value in tags.items()]
        for start in range(0, len(made), _PARAM_BATCH):
            self._store.call(
                self._store.client.log_batch, self.run_id, tags=made[start : start + _PARAM_BATCH]
            )

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """(H, W, 3) uint8 into the UI's image grid, with its step slider."""
        if (key, step) not in self._done_images:
            artifacts.log_image(self._store, self.run_id, image, names.checked(key, "image key"), step)

    def log_figure(self, figure: Any, path: str) -> None:
        """A plotly figure as its JSON at `path`."""
        artifacts.log_figure(self._store, self.run_id, figure, path)

    def log_table(self, table: Mapping[str, Sequence[Any]] | pd.DataFrame, path: str) -> None:
        """Columns of equal length as a table of the UI at `path` (.json); an earlier one there is replaced."""
        artifacts.log_table(self._store, self.run_id, table, path)

    def log_text(self, text: str, path: str) -> None:
        """A text file at `path`."""
        kept = text if path.endswith(".html") else secrets.scrub_urls(text)  # a page holds a program
        self._store.call(self._store.client.log_text, self.run_id, kept, path)

    def log_file(self, file: str | Path, artifact_dir: str | None = None) -> None:
        """A file or a folder of this machine, under `artifact_dir`."""
        artifacts.log_file(self._store, self.run_id, Path(file), artifact_dir)

    def log_dataset(self, info: DatasetInfo, context: str) -> None:
        """The data set as an input of the run (digest cut to MLflow's 36 characters) and as tags (in full)."""
        artifacts.log_dataset(self._store, self.run_id, info, context)
        self.set_tags({names.DATASET: info.name, names.DATASET_DIGEST: info.digest})

    def log_generator(self, name: str, version: str, model_id: str) -> None:
        """The registered generator that this run uses: as an input, as tags, and as a tag on the version."""
        store = self._store
        self.set_tags(
            {names.GENERATOR_NAME: name, names.GENERATOR_VERSION: version, names.GENERATOR_MODEL_ID: model_id}
        )
        if model_id:
            store.call(store.client.log_inputs, self.run_id, models=[LoggedModelInput(model_id)])
        store.call(
            store.client.set_model_version_tag, name, version, names.used_by(self.run_id), str(_now_ms())
        )

    def log_model(
        self,
        module: Any,
        *,
        name: str,
        step: int,
        example: np.ndarray,
        output_shape: Sequence[int] = (-1, 3, -1, -1),
        extra_files: Sequence[Path] = (),
        metadata: Mapping[str, Any] | None = None,
        pip_requirements: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Export `module` for any batch and image size and store it as a logged model; its id comes back.

        `example` is (B >= 2, 3, H, W) float32; see models.log_model.
        """
        return models.log_model(
            self._store,
            self.run_id,
            self.experiment_id,
            module,
            name=name,
            step=step,
            example=example,
            output_shape=output_shape,
            extra_files=extra_files,
            metadata=metadata,
            pip_requirements=pip_requirements,
            tags=tags,
        )

    def log_model_metrics(self, model_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Link metrics to a logged model; one that the run has at this step is linked, not written twice."""
        at = 0 if step is None else step
        made = []
        for key, value in _finite(metrics.items()):
            known = [m for m in self._history(key) if m.step == at and m.value == value]
            stamp = known[-1].timestamp if known else _now_ms()
            name = names.checked(key, "metric")
            made.append(Metric(name, value, stamp, at, model_id=model_id, run_id=self.run_id))
        self._write_metrics(made)

    def last_step(self, key: str) -> int | None:
        """The highest step of a metric in the store; None if it was never logged."""
        return max((metric.step for metric in self._history(key)), default=None)

    def close(self, status: Status = "FINISHED") -> None:
        """End the run. Only the first call counts."""
        if not self._closed:
            self._store.call(self._store.client.set_terminated, self.run_id, status)
            self._closed = True

    def release(self) -> None:
        """Leave the run to another process: closing it here does nothing from now on."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or self._closed:
            self.close("FINISHED")
            return
        try:
            if not issubclass(kind, KeyboardInterrupt | SystemExit | GeneratorExit):
                first = str(error).splitlines()[0] if str(error) else ""
                self.set_tags({names.ERROR: f"{kind.__name__}: {secrets.scrub(first)}"})
            self.close(
                "KILLED" if issubclass(kind, KeyboardInterrupt | SystemExit | GeneratorExit) else "FAILED"
            )
        except TrackingError as closing:  # the first error is the one to show
            logger.warning("run %s stays RUNNING, `d2n doctor` will find it: %s", self.run_id, closing)

    def _write_metrics(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), _BATCH - 1):
            beat = self._due_heartbeat()
            part = metrics[start : start + _BATCH - 1]
            began = journal.now()
            self._store.call(self._store.client.log_batch, self.run_id, metrics=part, tags=beat)
            journal.note("metrics", began, run=self.run_id, points=[[one.key, one.step] for one in part])

    def _due_heartbeat(self) -> list[RunTag]:
        if time.monotonic() - self._beat < _HEARTBEAT_S:
            return []
        self._beat = time.monotonic()
        return [RunTag(names.HEARTBEAT, environment.heartbeat())]

    def _history(self, key: str) -> list[Metric]:
        return list(self._store.call(self._store.client.get_metric_history, self.run_id, key))

    def _read_done(self) -> None:
        """The params that are there, and the last step of each metric."""
        data = self._store.call(self._store.client.get_run, self.run_id).data
        self._done_params = dict(data.params)
        self._kept = knobs.whole(data.tags, {})
        self._done_steps = {metric.key: int(metric.step) for metric in data.to_proto().metrics}


def overlay_points(precision: Sequence[float], recall: Sequence[float]) -> list[tuple[int, float]]:
    """(round(1000 * recall), precision), ascending, one point a step: the highest precision there."""
    best: dict[int, float] = {}
    for p, r in zip(precision, recall, strict=True):
        step = round(1000 * float(r))
        best[step] = max(best.get(step, -math.inf), float(p))
    return sorted(best.items())


def param_text(value: Any) -> str:
    """A param's text: booleans and None as in YAML, floats in full; above 6000 characters cut, with the rest named."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _cut(secrets.scrub_urls(str(value)), _LONGEST_PARAM)


def tag_text(value: Any) -> str:
    """A tag's text: no password of a URL; above 8000 characters cut, with the rest named."""
    return _cut(secrets.scrub_urls(str(value)), _LONGEST_TAG)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    note = f"… ({len(text)} characters, crc {_crc(text)})"
    return text[: limit - len(note)] + note


def _crc(text: str) -> str:
    import zlib

    return f"{zlib.crc32(text.encode()):08x}"


def _finite(metrics: Iterable[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """The finite values; each other one is said and left out: no store keeps it, no chart shows it."""
    for key, value in metrics:
        number = float(value)
        if math.isfinite(number):
            yield key, number
        else:
            logger.warning("metric %s is %s and left out: only finite numbers are logged", key, number)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
