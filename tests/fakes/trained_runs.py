"""Finished translation runs without training: one tiny generator, exported once, logged again for each run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from d2n.config import TranslatorConfig, translator_config
from d2n.core import Score, ScoreProtocol
from d2n.promotion import Candidate, Decision
from d2n.tracking import names
from d2n.tracking.connection import sqlite_path
from d2n.tracking.places import local_path
from d2n.tracking.runs import Store
from d2n.translators import checkpoint, export
from d2n.translators.from_config import generator_from_config
from d2n.workflows import generators

PROTOCOL = ScoreProtocol("random-toy", "0" * 64, "clean@32", 8, "1" * 64)


def tiny_generator(folder: Path, config: TranslatorConfig | None = None) -> torch.nn.Module:
    """A generator of a few thousand weights, saved in a folder."""
    torch.manual_seed(0)
    config = config or translator_config("cyclegan", "toy", generator_channels=4, generator_blocks=1)
    generator = generator_from_config(config).eval()
    checkpoint.save_generator(folder, generator, config)
    return generator


class TrainedRuns:
    """Makes runs of one data set in a store."""

    def __init__(self, store: Store, work: Path, dataset: str = "toycity") -> None:
        self.store, self.dataset, self.work = store, dataset, work
        work.mkdir(parents=True, exist_ok=True)
        self.config: TranslatorConfig | None = None  # of its generators; None: a CycleGAN's
        self._first: Path | None = None

    def train(self, fid: float, seed: int | None = 0, **tags: str) -> Candidate:
        """One more finished run with this test score, as a candidate."""
        written = {
            names.KIND: "translation",
            names.METHOD: "cyclegan",
            names.DATASET: self.dataset,
            names.DATASET_DIGEST: "d" * 64,
            names.PROTOCOL: PROTOCOL.identity,
            names.PROTOCOL_TEXT: PROTOCOL.to_json(),
            names.BEST_SCORE: json.dumps({"name": "fid", "value": fid, "step": 1}),
            **({names.SEED: str(seed)} if seed is not None else {}),
            **tags,
        }
        name = names.experiment(self.dataset)
        with self.store.start_run(name, f"cyclegan {fid:g}", tags=written) as run:
            model_id = self._log_model(run)
            run.set_tags({names.MODEL_ID: model_id})
        score = Score("fid", fid, PROTOCOL)
        return Candidate(run.run_id, "cyclegan", score, score, "d" * 64, model_id)

    def files_of(self, candidate: Candidate) -> Path:
        """Where the files of its logged model lie."""
        found = local_path(self.store.client.get_logged_model(candidate.model_id).artifact_location)
        assert found is not None
        return found

    def _log_model(self, run: object) -> str:
        store = self.store
        if self._first is None:
            folder = self.work / "generator"
            generator = tiny_generator(folder, self.config)
            stride = int(generator.stride)  # type: ignore[arg-type] # a number on every generator
            model_id: str = run.log_model(  # type: ignore[attr-defined] # a TrackedRun
                export.photographs(generator, stride, "running"),
                name=names.GENERATOR,
                step=1,
                example=generators.example(stride, 16),
                extra_files=sorted(folder.iterdir()),
                metadata={"method": "cyclegan", "stride": stride, "input_range": names.UNIT_RANGE},
            )
            place = local_path(store.client.get_logged_model(model_id).artifact_location)
            assert place is not None
            self._first = self.work / "logged"
            shutil.copytree(place, self._first)
            return model_id
        logged = store.client.get_logged_model
        model = store.client.create_logged_model(run.experiment_id, names.GENERATOR, run.run_id)  # type: ignore[attr-defined] # as above
        store.client.log_model_artifacts(model.model_id, str(self._first))
        store.client.finalize_logged_model(model.model_id, "READY")
        return str(logged(model.model_id).model_id)


def decision_for(
    winner: Candidate, champion: Candidate | None = None, *others: Candidate, promote: bool = True
) -> Decision:
    """A decision as the rule makes it, as far as registering reads it."""
    verdict = f"{'promoted' if promote else 'kept'}: {winner.label}"
    ranking = (winner, *others)
    return Decision(winner, promote, ("considered some", verdict), ranking, champion=champion)


def database_folder(store: Store) -> Path:
    """The folder of a SQLite store."""
    path = sqlite_path(store.uri)
    assert path is not None
    return path.parent
