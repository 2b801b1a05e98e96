"""What a training takes of its machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from d2n.tracking import names, system
from d2n.tracking.runs import Store

SMI = "0, 37, 10240, 251.50\n1, [N/A], 512, [N/A]\nNo devices were found\n"


def test_what_a_card_does_not_tell_is_left_out() -> None:
    first, second = system.cards_of(SMI)
    assert first == {"index": 0, "utilization.gpu": 37, "memory.used": 10240, "power.draw": 251.5}
    assert second == {"index": 1, "memory.used": 512}


def test_energy_is_power_by_time_and_the_processors_counters(tmp_path: Path) -> None:
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("5000000")
    (tmp_path / "intel-rapl:1").mkdir()  # a counter that may not be read
    now = [100.0]
    meter = system.Meter(clock=lambda: now[0], gpus=lambda: system.cards_of(SMI), powercap=tmp_path)
    now[0] += 36
    counter.write_text(str(5_000_000 + 3_600_000_000))
    found = meter.read()
    assert found["system/gpu_0_power_usage_watts"] == 251.5
    assert "system/gpu_1_power_usage_watts" not in found
    assert found["system/gpu_1_memory_usage_megabytes"] == 512
    assert found[names.ENERGY_WH] == pytest.approx(251.5 * 36 / 3600 + 1)
    counter.write_text("0")  # it began anew
    assert meter.read()[names.ENERGY_WH] == pytest.approx(251.5 * 36 / 3600 + 1)


def test_where_no_energy_is_told_none_is_logged(tmp_path: Path) -> None:
    found = system.Meter(gpus=list, powercap=tmp_path / "none").read()
    assert names.ENERGY_WH not in found
    assert 0 < found["system/process_memory_usage_megabytes"] < found["system/system_memory_usage_megabytes"]


def test_a_run_has_its_machine_beside_its_losses_and_goes_on_counting(store: Store) -> None:
    with store.start_run("d2n/a", "one") as run:
        _metered(store, run.run_id)
        steps = [step for step, _ in store.metric_history(run.run_id, "system/cpu_utilization_percentage")]
        assert steps == list(range(len(steps)))
        _metered(store, run.run_id, more_than=len(steps))
        again = [step for step, _ in store.metric_history(run.run_id, "system/cpu_utilization_percentage")]
    assert again == list(range(len(again)))
    assert store.get(run.run_id).status == "FINISHED"


def _metered(store: Store, run_id: str, more_than: int = 1) -> None:
    key, until = "system/cpu_utilization_percentage", time.monotonic() + 20
    with system.metered(store, run_id, every_s=0.05):
        while len(store.metric_history(run_id, key)) <= more_than and time.monotonic() < until:
            time.sleep(0.05)
