"""What tracking costs: python -m pytest benchmarks/test_tracking.py -m '' -s

Each figure is printed beside the plain way of doing the same with MLflow's client in the same store.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from d2n.tracking.connection import sqlite_path, sqlite_uri
from d2n.tracking.runs import Store, open_store

if TYPE_CHECKING:
    from benchmarks.conftest import Ratio


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    start = time.perf_counter()
    open_store(sqlite_uri(path))
    first = time.perf_counter() - start
    again = median_s(lambda: open_store(sqlite_uri(path)), 9)
    print(f"\nopen a store: {first:.2f} s the first time (tables are made), {1e3 * again:.0f} ms then")
    return open_store(sqlite_uri(path))


def test_an_epoch_of_metrics_in_one_call_against_one_call_a_metric(store: Store, ratio: Ratio) -> None:
    names = [f"loss/{i}" for i in range(20)]
    steps = iter(range(10_000))
    with store.start_run("d2n/bench", "metrics") as run:
        batch = median_s(lambda: run.log_metrics(dict.fromkeys(names, 1.0), step=next(steps)), 50)

        def one_by_one() -> None:
            step = next(steps)
            for name in names:
                store.client.log_metric(run.run_id, name, 1.0, step=step)

        plain = median_s(one_by_one, 10)
    print(
        f"\n20 metrics of an epoch: {1e3 * batch:.1f} ms; log_metric each {1e3 * plain:.1f} ms ({plain / batch:.1f} x)"
    )
    ratio("20 metrics in one call", "a call each", plain / batch)
    assert batch < plain


def test_a_run_from_start_to_end(store: Store) -> None:
    params = {f"translator.knob{i}": i for i in range(60)}

    def whole() -> None:
        with store.start_run("d2n/bench", "whole", params=params) as run:
            for step in range(10):
                run.log_metrics({f"loss/{i}": 1.0 for i in range(20)}, step=step)

    print(f"\na run with 60 params and 10 epochs of 20 metrics: {1e3 * median_s(whole, 9):.0f} ms")


def test_the_cost_of_a_run_does_not_grow_with_the_number_of_runs(store: Store) -> None:
    def whole() -> None:
        with store.start_run("d2n/many", "one", params={"lr": 0.1}) as run:
            run.log_metrics({"score/fid": 1.0}, step=1)

    few = median_s(whole, 20)
    for _ in range(400):
        whole()
    many = median_s(whole, 20)
    print(
        f"\na run: {1e3 * few:.0f} ms among few runs, {1e3 * many:.0f} ms among 400 ({many / few:.2f} x); "
        f"find_runs of all: {1e3 * median_s(lambda: store.find_runs(experiment='d2n/many'), 3):.0f} ms"
    )
    assert many < 3 * few


def test_images_and_curves(store: Store) -> None:
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    recall = np.linspace(0, 1, 1001)
    steps = iter(range(100))
    with store.start_run("d2n/bench", "images") as run:
        sheet = median_s(lambda: run.log_image(image, "samples/grid", next(steps)), 5)
        curve = median_s(lambda: run.log_prd_overlay(1 - recall, recall, key=f"prd/{next(steps)}"), 3)
    print(f"\na 512 px sheet: {1e3 * sheet:.0f} ms; a PRD curve of 1001 points: {1e3 * curve:.0f} ms")


def test_a_logged_model_against_inferred_requirements(store: Store) -> None:
    import mlflow.pytorch
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 3, 1)
    ).eval()
    example = np.zeros((2, 3, 32, 32), np.float32)
    spec = Schema([TensorSpec(np.dtype(np.float32), (-1, 3, -1, -1))])
    folders = iter(Path(str(sqlite_path(store.uri))).parent / f"plain-{i}" for i in range(9))

    def plain() -> None:
        mlflow.pytorch.save_model(
            net,
            str(next(folders)),
            signature=ModelSignature(spec, spec),
            input_example=example,
            serialization_format="pt2",
        )

    with store.start_run("d2n/bench", "model") as run:
        ours = median_s(lambda: run.log_model(net, name="generator", step=0, example=example), 3)
    inferred = median_s(plain, 1)
    print(
        f"\na small generator: {ours:.2f} s with requirements given, "
        f"{inferred:.2f} s with them inferred ({inferred / ours:.1f} x)"
    )


def median_s(action: Callable[[], object], times: int) -> float:
    """Seconds of one action, after one that does not count."""
    action()
    measured = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)
