from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from d2n.core import DatasetInfo
from d2n.errors import TrackingError
from d2n.signals import Terminated, termination_raises
from d2n.tracking import names, registry, tracked_run
from d2n.tracking.runs import Store


def test_params_metrics_and_tags_come_back(store: Store) -> None:
    with store.start_run(
        "d2n/a", "one", params={"translator.lr": 2e-4, "dropout": True, "weights": None}
    ) as run:
        run.log_metrics({"loss/g": 1.5, "loss/d": 0.5}, step=1)
        run.log_metrics({"loss/g": 1.25}, step=2)
        run.set_tags({"d2n.method": "pix2pix"})
    record = store.get(run.run_id)
    assert record.params == {"translator.lr": "0.0002", "dropout": "true", "weights": "null"}
    assert record.metrics == {"loss/g": 1.25, "loss/d": 0.5}
    assert record.tags["d2n.method"] == "pix2pix"
    assert record.status == "FINISHED"
    assert record.end_time is not None
    assert store.metric_history(run.run_id, "loss/g") == [(1, 1.5), (2, 1.25)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_metric_that_is_not_finite_is_left_out_with_a_warning_and_the_others_are_kept(
    store: Store, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    with store.start_run("d2n/a", "one") as run:
        run.log_metrics({"loss/g": 1.0, "score/fid": value}, step=1)
        run.log_metric_series("curve", [(1, 0.5), (2, value), (3, 0.25)])
    assert store.get(run.run_id).metrics == {"loss/g": 1.0, "curve": 0.25}
    assert store.metric_history(run.run_id, "curve") == [(1, 0.5), (3, 0.25)]
    assert [
        r.getMessage().split(" and left out")[0] for r in caplog.records if "left out" in r.getMessage()
    ] == [
        f"metric score/fid is {value}",
        f"metric curve is {value}",
    ]


def test_a_param_of_another_value_is_refused_and_of_the_same_is_not(store: Store) -> None:
    run = store.start_run("d2n/a", "one", params={"lr": 0.1})
    run.log_params({"lr": 0.1})
    with pytest.raises(TrackingError, match="lr"):
        run.log_params({"lr": 0.2})
    run.close()


def test_long_params_are_cut_and_stay_distinct() -> None:
    a, b = (tracked_run.param_text("x" * 7000 + end) for end in "ab")
    assert len(a) == len(b) == 6000
    assert a != b
    assert "7001 characters" in a


def test_more_params_and_metrics_than_one_call_takes_are_all_written(store: Store) -> None:
    run = store.start_run("d2n/a", "one", params={f"p{i}": i for i in range(250)})
    run.log_metrics({f"m{i}": float(i) for i in range(2100)}, step=0)
    run.close()
    record = store.get(run.run_id)
    assert len(record.params) == 250
    assert len(record.metrics) == 2100


def test_a_resumed_run_writes_no_step_twice(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    for step in (1, 2, 3):
        run.log_metrics({"loss/g": float(step), "time/epoch_s": 1.0}, step=step)
    run.log_image(np.zeros((8, 8, 3), np.uint8), "samples/grid", 3)
    run.close("KILLED")

    again = store.resume_run(run.run_id)
    assert store.get(run.run_id).status == "RUNNING"
    assert store.get(run.run_id).end_time is None
    assert again.last_step("loss/g") == 3
    for step in (3, 4):  # from the checkpoint before the kill
        again.log_metrics({"loss/g": float(step), "loss/new": 1.0}, step=step)
        again.log_image(np.zeros((8, 8, 3), np.uint8), "samples/grid", step)
    again.close()
    assert [step for step, _ in store.metric_history(run.run_id, "loss/g")] == [1, 2, 3, 4]
    assert [step for step, _ in store.metric_history(run.run_id, "loss/new")] == [3, 4]
    images = [f.path for f in store.client.list_artifacts(run.run_id, "images") if f.path.endswith(".png")]
    assert len(images) == 2
    assert store.get(run.run_id).tags[names.ATTEMPT] == "2"
    assert again.last_step("never") is None


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("bad\nmore"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
)
def test_the_end_of_a_run_says_how_it_ended(store: Store, error: BaseException, status: str) -> None:
    run = store.start_run("d2n/a", "one")
    with pytest.raises(type(error)), run:
        raise error
    record = store.get(run.run_id)
    assert record.status == status
    assert record.tags.get(names.ERROR) == ("ValueError: bad" if status == "FAILED" else None)


def test_a_run_that_was_closed_keeps_its_state_at_the_end_of_the_block(store: Store) -> None:
    with store.start_run("d2n/a", "pruned") as run:
        run.close("KILLED")
    assert store.get(run.run_id).status == "KILLED"


def test_sigterm_closes_the_run_as_killed(store: Store) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run = store.start_run("d2n/a", "one")
    run.log_metrics({"loss/g": 1.0}, step=1)
    with pytest.raises(Terminated) as caught, termination_raises(), run:
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert store.get(run.run_id).status == "KILLED"
    assert store.get(run.run_id).metrics == {"loss/g": 1.0}
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_sigterm_does_not_break_the_closing(store: Store) -> None:
    run = store.start_run("d2n/a", "one")

    def closing_under_fire() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            run.close("KILLED")

    with pytest.raises(Terminated), termination_raises():
        closing_under_fire()
    assert store.get(run.run_id).status == "KILLED"


def test_the_prd_overlay_is_ascending_with_one_precision_a_step(store: Store) -> None:
    precision, recall = [0.0, 0.5, 0.6, 0.9, 1.0], [0.9, 0.7, 0.7001, 0.2, 0.0]
    with store.start_run("d2n/a", "one") as run:
        assert run.log_prd_overlay(precision, recall)
        assert not run.log_prd_overlay([1.0], [0.5])  # the curve that is there stays
    assert store.metric_history(run.run_id, names.PRD_OVERLAY) == [
        (0, 1.0),
        (200, 0.9),
        (700, 0.6),
        (900, 0.0),
    ]


def test_a_curve_of_1001_angles_is_logged_whole(store: Store) -> None:
    recall = np.linspace(0, 1, 1001)
    with store.start_run("d2n/a", "one") as run:
        run.log_prd_overlay(1 - recall, recall)
    history = store.metric_history(run.run_id, names.PRD_OVERLAY)
    assert [step for step, _ in history] == list(range(1001))
    assert history[250][1] == 0.75


def test_a_data_set_is_an_input_with_digest_source_and_profile(store: Store) -> None:
    info = DatasetInfo("toycity", "ab" * 32, "/photos/toycity", "seed 0", {"train/day": 750})
    with store.start_run("d2n/a", "one") as run:
        run.log_dataset(info, "train")
    inputs = store.client.get_run(run.run_id).inputs.dataset_inputs
    dataset = inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("toycity", ("ab" * 32)[:36])
    assert "/photos/toycity" in dataset.source
    assert '"train/day": 750' in dataset.profile
    assert [(tag.key, tag.value) for tag in inputs[0].tags] == [("mlflow.data.context", "train")]
    assert store.get(run.run_id).tags[names.DATASET_DIGEST] == "ab" * 32


def test_the_heartbeat_travels_with_metrics(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    run._store.client.set_tag(run.run_id, names.HEARTBEAT, "0")
    run.log_metrics({"loss/g": 1.0}, step=1)
    assert store.get(run.run_id).tags[names.HEARTBEAT] == "0"  # not at every call
    run._beat -= 61
    run.log_metrics({"loss/g": 1.0}, step=2)
    run.close()
    assert float(store.get(run.run_id).tags[names.HEARTBEAT]) > 1e9


def test_the_address_of_a_run_is_that_of_the_ui(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    run.close()
    assert (
        run.url
        == f"http://127.0.0.1:5000/#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    )


def test_a_file_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    run = store.start_run("d2n/a", "one")
    with pytest.raises(TrackingError, match="is not there"):
        run.log_file(tmp_path / "nothing.pt")
    run.close()


SECRET = "pl4nted-s3cr3t"  # noqa: S105 - planted


def test_nothing_stored_holds_the_password_of_a_url(store: Store, tmp_path: Path) -> None:
    url = f"s3://key:{SECRET}@bucket/photos"
    run = store.start_run("d2n/a", f"of {url}", tags={"d2n.from": url})
    with pytest.raises(RuntimeError, match="no s3"), run:  # noqa: PT012 - the run is closed by the error
        run.log_params({"dataset.root": url})
        run.set_tags({"d2n.note": f"from {url}"})
        run.log_text(json.dumps({"root": url}), "config/resolved.json")
        run.log_table({"root": [url]}, "tables/a.json")
        run.log_dataset(DatasetInfo("a", "0" * 64, url, f"rule of {url}", {"train/day": 1}), "training")
        model = store.client.create_logged_model(run.experiment_id, "generator", run.run_id)
        store.client.finalize_logged_model(model.model_id, "READY")
        registry.register(
            store,
            model_name="d2n-a",
            run_id=run.run_id,
            model_id=model.model_id,
            tags={"d2n.from": url},
            description=f"from {url}",
        )
        registry.record_move(store, "d2n-a", "champion", "1", None, f"because of {url}")
        raise RuntimeError(f"no {url}")
    record = store.get(run.run_id)
    assert record.params["dataset.root"] == "s3://key:***@bucket/photos"
    assert record.tags["d2n.error"] == "RuntimeError: no s3://key:***@bucket/photos"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".json" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_run_on_a_server_with_a_login_has_an_address_without_it(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    store.uri = f"http://u:{SECRET}@host:5000/mlflow"
    assert (
        run.url
        == f"http://host:5000/mlflow/#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    )


def test_params_that_do_not_tell_are_in_one_tag_and_read_as_the_others(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    run.log_params({"lr": 0.1, "beta2": 0.999, "flip": False, "note": "é"}, shown=("lr",))
    run.close()
    stored = store.client.get_run(run.run_id).data
    assert stored.params == {"lr": "0.1"}
    assert json.loads(stored.tags[names.KNOBS]) == {"beta2": "0.999", "flip": "false", "note": "é"}
    assert store.get(run.run_id).params == {"lr": "0.1", "beta2": "0.999", "flip": "false", "note": "é"}
    assert store.find_runs(experiment="d2n/a")[0].params == store.get(run.run_id).params


def test_a_resumed_run_keeps_the_first_value_of_what_it_does_not_show(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    run.log_params({"lr": 0.1, "device": "auto", "beta2": 0.9}, ("device",), shown=("lr",))
    again = store.resume_run(run.run_id)
    again.log_params({"lr": 0.1, "device": "cpu", "beta2": 0.9, "new": 1}, ("device",), ("lr", "device"))
    again.close()
    record = store.get(run.run_id)
    assert record.params == {"lr": "0.1", "device": "auto", "beta2": "0.9", "new": "1"}
    assert record.tags[names.resumed_with("device")] == "cpu"
    assert store.client.get_run(run.run_id).data.params == {"lr": "0.1"}


def test_a_run_of_an_earlier_release_is_gone_on_with_as_it_is(store: Store) -> None:
    run = store.start_run("d2n/a", "one", params={"lr": 0.1, "beta2": 0.9})
    again = store.resume_run(run.run_id)
    again.log_params({"lr": 0.1, "beta2": 0.9}, shown=("lr",))
    again.close()
    stored = store.client.get_run(run.run_id).data
    assert (stored.params, names.KNOBS in stored.tags) == ({"lr": "0.1", "beta2": "0.9"}, False)


def test_params_that_fit_into_no_tag_are_all_shown(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    run.log_params({"rule": "x" * 5000, "roots": "y" * 5000, "lr": 1}, shown=("lr",))
    run.close()
    assert set(store.client.get_run(run.run_id).data.params) == {"rule", "roots", "lr"}


@pytest.mark.parametrize("edited", ["mine", "[]", '{"lr": 3}', "[" * 5000])
def test_an_edited_tag_of_knobs_leaves_the_params(store: Store, edited: str) -> None:
    from d2n.tracking import records

    run = store.start_run("d2n/a", "one", params={"lr": 0.1}, tags={names.KNOBS: edited})
    run.close()
    record = store.get(run.run_id)
    assert record.params == {"lr": "0.1"}
    with pytest.raises(records.UnreadableError, match=f"tag {names.KNOBS} is unreadable"):
        records.require_knobs(record)
