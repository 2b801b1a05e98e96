"""One run that is being written: params, metrics, tags, artifacts, models, and its end."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from mlflow.entities import LoggedModelInput, Metric

from d2n import databases, secrets
from d2n.core import DatasetInfo
from d2n.errors import ServerAwayError, TrackingError
from d2n.tracking import artifacts, bookkeeping, environment, knobs, liveness, models, names
from d2n.tracking.connection import Connection
from d2n.tracking.spool import disk, writes
from d2n.tracking.spool.sender import Sender, Waits
from d2n.tracking.spool.writes import Write
from d2n.tracking.values import LONGEST_TAG, overlay_points, param_text, tag_text

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
_BATCH, _PARAM_BATCH = 1000, 100  # MLflow's limits for one call
_HEARTBEAT_S = 60.0
_SHORT_S = 10.0  # of a run that was interrupted: whoever did waits


class TrackedRun:
    """A RUNNING run. A context manager: FINISHED at the end, FAILED after an exception, KILLED when interrupted.

    When a method returns, the store has it; inside `spooled`, the store or this machine's disk. After a resumption,
    metrics of steps that the store already has are not written again.
    """

    def __init__(self, store: Connection, run_id: str, experiment_id: str, resumed: bool = False) -> None:
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.attempt = 1
        self.tags: dict[str, str] = {}  # as far as this process knows them
        self._store = store
        self._sender: Sender | None = None
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
        made = {k: v for k, v in text.items() if k not in now and self._kept.get(k) != v}
        for part in _parts(made):
            self._log(writes.params(part))

    def _keep(self, hidden: Mapping[str, str]) -> None:
        """Params into the tag, beside what is there; not where they are too many for one."""
        kept = {**hidden, **self._kept}
        if hidden and len(text := knobs.text(kept)) <= LONGEST_TAG:
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
        made = {names.checked(key, "tag"): tag_text(value) for key, value in tags.items()}
        self.tags.update(made)
        for part in _parts(made):
            self._log(writes.tags(part))

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """(H, W, 3) uint8 into the UI's image grid, with its step slider."""
        if (key, step) not in self._done_images:
            self._log(*artifacts.image(image, names.checked(key, "image key"), step))

    def log_figure(self, figure: Any, path: str) -> None:
        """A plotly figure as its JSON at `path`."""
        self._log(*artifacts.figure(figure, path))

    def log_table(self, table: Mapping[str, Sequence[Any]] | pd.DataFrame, path: str) -> None:
        """Columns of equal length as a table of the UI at `path` (.json); an earlier one there is replaced."""
        self._log(*artifacts.table(table, path))

    def log_text(self, text: str, path: str) -> None:
        """A text file at `path`."""
        kept = text if path.endswith(".html") else secrets.scrub_urls(text)  # a page holds a program
        self._log(writes.text(kept, path))

    def log_file(self, file: str | Path, artifact_dir: str | None = None) -> None:
        """A file or a folder of this machine, under `artifact_dir`."""
        self._log(*artifacts.file(Path(file), artifact_dir))

    def log_dataset(self, info: DatasetInfo, context: str) -> None:
        """The data set as an input of the run (digest cut to MLflow's 36 characters) and as tags (in full)."""
        self._log(*artifacts.dataset(info, context))
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

        `example` is (B >= 2, 3, H, W) float32; see models.log_model. The id is the server's to give: one that is away
        is waited for, and ServerAwayError raised where it stays away.
        """
        try:
            self.flush()
        except ServerAwayError as error:
            raise ServerAwayError(
                f"{error}, and --resume {self.run_id} stores its model and ends it"
            ) from error
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
        self.flush()
        made = []
        for key, value in _finite(metrics.items()):
            known = [m for m in self._history(key) if m.step == at and m.value == value]
            stamp = known[-1].timestamp if known else _now_ms()
            name = names.checked(key, "metric")
            made.append(Metric(name, value, stamp, at, model_id=model_id, run_id=self.run_id))
        self._write_metrics(made)

    def last_step(self, key: str) -> int | None:
        """The highest step of a metric in the store; None if it was never logged."""
        self.flush()
        return max((metric.step for metric in self._history(key)), default=None)

    def close(self, status: Status = "FINISHED", patience_s: float | None = None) -> None:
        """End the run. Only the first call counts.

        ServerAwayError where what was kept cannot be sent in `patience_s` (None: the run's own): the end is kept too.
        """
        if not self._closed:
            self._log(writes.end(status, _now_ms()))
            self._closed = True
            self.flush(patience_s)

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
        is_interrupted = issubclass(kind, KeyboardInterrupt | SystemExit | GeneratorExit)
        try:
            if not is_interrupted:
                first = str(error).splitlines()[0] if str(error) else ""
                self.set_tags({names.ERROR: f"{kind.__name__}: {secrets.scrub(first)}"})
            self.close("KILLED" if is_interrupted else "FAILED", _SHORT_S if is_interrupted else None)
        except ServerAwayError as closing:
            if not isinstance(error, ServerAwayError):  # it says the same
                logger.warning("%s", closing)
        except TrackingError as closing:  # the first error is the one to show
            logger.warning("run %s stays RUNNING, `d2n doctor` will find it: %s", self.run_id, closing)

    @contextlib.contextmanager
    def spooled(self, folder: Path, waits: Waits) -> Iterator[None]:
        """Inside, a server that is away holds nobody: what is logged is kept in ``folder``/.spool meanwhile.

        With a store in a file of this machine nothing changes: it is not away. TrackingError where an earlier process
        left something that the server has not.
        """
        if databases.is_sqlite(self._store.uri):
            yield
            return
        place = (folder / disk.FOLDER).absolute()
        with liveness.locked(place, self.run_id):
            spool = disk.Spool(place)
            if len(spool):
                raise TrackingError(
                    f"run {self.run_id}: {len(spool)} batches of it wait in {place}; `d2n doctor --replay` sends them, "
                    "then it can be resumed"
                )
            owner = disk.Owner(self.run_id, disk.address(self._store.uri), self.attempt)
            self._sender = Sender(self._store, spool, owner, waits)
            try:
                yield
            finally:
                sender, self._sender = self._sender, None
                sender.stop()

    @property
    def is_behind(self) -> bool:
        """Whether the server is away, and what it says of the run is not all of it."""
        return self._sender is not None and self._sender.is_behind

    def flush(self, patience_s: float | None = None) -> None:
        """Return when the server has all that was logged; ServerAwayError where it stays away."""
        if self._sender is not None:
            self._sender.flush(patience_s)

    def log_beside(self, points: Sequence[Metric]) -> None:
        """Points of metrics as they are, from another thread too."""
        self._log(writes.metrics(points))

    def _log(self, *each: Write) -> None:
        for write in each:
            if self._sender is not None:
                self._sender.put(write)
            else:
                self._store.call(write.perform, self._store.client, self.run_id)

    def _write_metrics(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), _BATCH):
            self._beat_if_due()
            self._log(writes.metrics(metrics[start : start + _BATCH]))

    def _beat_if_due(self) -> None:
        """A sign of life with what is logged; beside a sender a thread of its own gives it."""
        if self._sender is None and time.monotonic() - self._beat >= _HEARTBEAT_S:
            self._beat = time.monotonic()
            self._log(writes.tags({names.HEARTBEAT: environment.heartbeat()}))

    def _history(self, key: str) -> list[Metric]:
        return list(self._store.call(self._store.client.get_metric_history, self.run_id, key))

    def _read_done(self) -> None:
        """The params that are there, and the last step of each metric."""
        data = self._store.call(self._store.client.get_run, self.run_id).data
        self._done_params = dict(data.params)
        self._kept = knobs.whole(bookkeeping.read(data.tags), {})
        self._done_steps = {metric.key: int(metric.step) for metric in data.to_proto().metrics}


def _parts(given: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """As many at a time as one call takes."""
    each = list(given.items())
    for start in range(0, len(each), _PARAM_BATCH):
        yield dict(each[start : start + _PARAM_BATCH])


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
