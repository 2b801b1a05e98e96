"""A store in memory that answers as the tracking store does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from d2n.core import ScoreProtocol
from d2n.errors import TrackingError
from d2n.tracking import names
from d2n.tracking.runs import RunRecord

PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)
START = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass
class FakeStore:
    """Runs and artifacts as dictionaries; find_runs and artifact as in d2n.tracking.runs.Store."""

    runs: list[RunRecord] = field(default_factory=list)
    artifacts: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def find_runs(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        status: str | None = None,
        experiment: str | None = None,
        max_results: int = 10_000,
    ) -> list[RunRecord]:
        """Newest first, as the tracking store."""
        wanted = (tags or {}).items()
        found = [
            r for r in self.runs if all(r.tags.get(k) == v for k, v in wanted) and status in (None, r.status)
        ]
        return found[::-1][:max_results]

    def artifact(self, run_id: str, path: str, dst: Path) -> Path:
        """Writes the artifact into dst."""
        if (run_id, path) not in self.artifacts:
            raise TrackingError(f"run {run_id} has no artifact {path!r}")
        target = Path(dst) / Path(path).name
        target.write_bytes(self.artifacts[run_id, path])
        return target

    def image_paths(self, run_id: str, key: str) -> dict[int, str]:
        """By the step in a file's name, as the tracking store."""
        stem = f"images/{key.replace('/', '~')}+step+"
        return {
            int(path.removeprefix(stem).split("+")[0]): path
            for owner, path in self.artifacts
            if owner == run_id and path.startswith(stem)
        }

    def add(
        self,
        run_id: str,
        kind: str,
        *,
        status: str = "FINISHED",
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        **tags: str,
    ) -> None:
        """One run; keywords are tags by the name of their constant in d2n.tracking.names."""
        tagged = {names.KIND: kind, names.DATASET: "toycity", names.DATASET_DIGEST: "d" * 64}
        tagged |= {getattr(names, key): value for key, value in tags.items()}
        start = START + timedelta(minutes=len(self.runs))
        text = {key: str(value) for key, value in (params or {}).items()}
        record = RunRecord(
            run_id, f"run-{run_id}", "d2n/toycity", status, text, dict(metrics or {}), tagged, start, start
        )
        self.runs.append(record)

    def add_generator(
        self, run_id: str, method: str, fid: float, protocol: ScoreProtocol = PROTOCOL, **tags: str
    ) -> None:
        """A translation run scored on the test split."""
        self.add(
            run_id,
            "translation",
            metrics={"test/fid": fid, "test/prd/f8": 1 / fid, "score/fid": fid + 1},
            **{
                "METHOD": method,
                "MODEL_ID": f"m-{run_id}",
                "TEST_PROTOCOL": protocol.identity,
                "TEST_PROTOCOL_TEXT": protocol.to_json(),
                **tags,
            },
        )

    def add_arm(
        self,
        run_id: str,
        night: float,
        *,
        generator: str = "",
        version: str = "1",
        std: float | None = 0.01,
        augmentation: str | None = None,
        **params: Any,
    ) -> None:
        """A retrieval run with day and night mAP in [0, 1]."""
        arm = augmentation or ("generator" if generator else "none")
        metrics = {"map/toycity/night": night, "map/toycity/day": 0.9}
        if std is not None:
            metrics |= {"map_std/toycity/night": std, "map_std/toycity/day": std}
        tags = {"ARM": arm}
        if generator:
            tags |= {
                "GENERATOR_NAME": "d2n-toycity",
                "GENERATOR_VERSION": version,
                "GENERATOR_MODEL_ID": f"m-{generator}",
            }
        given = {"num_seeds": 4, "training.lr": 1e-3, "night.augmentation": arm, "name": run_id, **params}
        self.add(run_id, "retrieval", params=given, metrics=metrics, **tags)

    def add_table(self, run_id: str, path: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A table in the layout that the tracking store keeps."""
        data = [list(row) for row in zip(*columns.values(), strict=True)]
        self.artifacts[run_id, path] = json.dumps({"columns": list(columns), "data": data}).encode()


@pytest.fixture
def store() -> FakeStore:
    """An empty store."""
    return FakeStore()
