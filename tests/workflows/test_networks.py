"""Retrieval networks that go on from one of the registry."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from d2n.config import NetworkConfig
from d2n.errors import ConfigError, OtherKnobsError, WeightsError
from d2n.tracking import registry, uses
from d2n.workflows import dry_run, networks, preflight, retrieve
from d2n.workflows.retrieve.arm import _start
from d2n.workflows.saved import refuse_other_checkpoint
from tests.workflows.conftest import Road, tiny_retrieval

BASELINE = "models:/d2n-retrieval-toycity@baseline"
ON = f"network.weights={BASELINE}"


def test_an_arm_goes_on_from_the_registered_network(road: Road) -> None:
    with contextlib.chdir(road.folder):
        as_it_is = retrieve.retrieve(
            tiny_retrieval("further", ON, "pretraining.n_epochs=0", "training.n_epochs=0"), store=road.store
        )
        further = retrieve.retrieve(tiny_retrieval("further", ON, "pretraining.n_epochs=0"), store=road.store)
    first = {name: values[:1] for name, values in road.baseline.maps.items()}
    assert dict(as_it_is.maps) == first
    assert dict(further.maps) != first
    record = road.store.get(further.run_id)
    use = uses.read(record.run_id, record.tags)[uses.START]
    assert (use.name, use.version, use.run_id) == ("d2n-retrieval-toycity", "1", road.baseline.run_id)
    assert further.run_id in registry.resolve(road.store, "d2n-retrieval-toycity/1").used_by
    assert record.params["network.weights"] == BASELINE


def test_a_resumed_run_keeps_the_network_that_it_began_from(road: Road) -> None:
    asked = NetworkConfig(backbone="toy", weights=BASELINE)
    config, (use,) = _start(asked, road.store, None)
    assert Path(str(config.weights)).stem == use.sha256
    with road.store.start_run("d2n/toycity", "arm", tags={}) as run:
        uses.record(road.store, run, replace(use, version="1"))
        run.close("KILLED")
    again, (kept,) = _start(asked, road.store, road.store.get(run.run_id))
    assert (again, kept) == (config, use)


@pytest.mark.parametrize(
    ("weights", "backbone", "error", "said"),
    [
        (
            "models:/d2n-toycity@champion",
            "toy",
            ConfigError,
            r"d2n-toycity version \d is no retrieval network",
        ),
        (BASELINE, "squeezenet1_0", WeightsError, "tensors of squeezenet1_0"),
    ],
)
def test_what_is_no_start_is_refused_in_a_line(
    road: Road, weights: str, backbone: str, error: type[Exception], said: str
) -> None:
    with contextlib.chdir(road.folder), pytest.raises(error, match=said) as caught:
        retrieve.retrieve(
            tiny_retrieval("no", f"network.weights={weights}", f"network.backbone={backbone}"),
            store=road.store,
        )
    assert "\n" not in str(caught.value)


def test_a_start_that_saw_other_images_is_told(road: Road, caplog: pytest.LogCaptureFixture) -> None:
    asked = NetworkConfig(backbone="toy", weights=BASELINE, light="clahe", pooling="mac")
    with caplog.at_level(logging.WARNING):
        networks.pulled(asked, road.store)
    assert "was trained with network.light=none, network.pooling=gem; this run has others" in caplog.text
    caplog.clear()
    networks.pulled(replace(asked, light="none", pooling="gem"), road.store)
    assert not caplog.records


@pytest.mark.parametrize(
    ("named", "is_registered"),
    [
        (BASELINE, True),
        ("d2n-retrieval-toycity/2", True),
        ("network.pth", False),
        ("none", False),
        (None, False),
        ("0" * 32, False),
    ],
)
def test_what_network_weights_name_in_the_registry(named: str | None, is_registered: bool) -> None:
    config = NetworkConfig(weights=named)
    assert preflight.start_reference(config) == (named if is_registered else None)


def test_what_is_not_registered_yet_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        preflight.NotHereYetError, match=r"run first .*`d2n retrieve retrieval_toycity_baseline`"
    ):
        preflight.retrieval(tiny_retrieval("early", ON))


def test_a_dry_run_fetches_nothing_to_go_on_from(road: Road) -> None:
    with contextlib.chdir(road.folder):
        lines = dry_run.retrieval(tiny_retrieval("dry", ON), None)
    assert lines


def test_a_moved_store_goes_on_where_the_same_network_lies_elsewhere() -> None:
    one, other = ("a" * 64, "b" * 64)
    refuse_other_checkpoint(
        {"network": {"weights": f"/before/{one}.safetensors"}},
        {"network": {"weights": f"/now/{one}.safetensors"}},
        "run",
    )
    with pytest.raises(OtherKnobsError, match=r"network\.weights"):
        refuse_other_checkpoint(
            {"network": {"weights": f"/before/{one}.safetensors"}},
            {"network": {"weights": f"/before/{other}.safetensors"}},
            "run",
        )
