"""What a training takes of its machine: CPU, memory, GPU and, where it can be read, energy, as MLflow's system metrics.

MLflow's own monitor queues what it reads and warns of each missing package; this one writes from the thread that also
keeps a run alive, and needs the driver's ``nvidia-smi`` alone.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from mlflow.entities import Metric

from d2n.tracking import names
from d2n.tracking.connection import Connection
from d2n.tracking.liveness import beating

EVERY_S = 30.0
_QUERY = ("index", "utilization.gpu", "memory.used", "power.draw")
_POWERCAP = Path("/sys/class/powercap")


@dataclass
class Meter:
    """Reads the machine again and again; energy is what was taken since the meter was made, and ``before``."""

    before_wh: float = 0.0
    clock: Callable[[], float] = time.monotonic
    gpus: Callable[[], list[dict[str, float]]] = field(default_factory=lambda: nvidia)
    powercap: Path = _POWERCAP

    def __post_init__(self) -> None:
        """Counters as they stand now."""
        self._last = self.clock()
        self._joules = _joules(self.powercap)
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first answer is since this call

    def read(self) -> dict[str, float]:
        """Metric → value, of now or since the last reading."""
        memory = psutil.virtual_memory()
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": (memory.total - memory.available) / 1e6,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_usage_megabytes": self._process.memory_info().rss / 1e6,
        }
        cards = self.gpus()
        for card in cards:
            number = int(card["index"])
            for name, metric in (
                ("utilization.gpu", "utilization_percentage"),
                ("memory.used", "memory_usage_megabytes"),
                ("power.draw", "power_usage_watts"),
            ):
                if name in card:
                    found[f"gpu_{number}_{metric}"] = card[name]
        watts = [card["power.draw"] for card in cards if "power.draw" in card]
        found |= self._energy(sum(watts) if watts else None)
        return {f"{names.SYSTEM}{name}": value for name, value in found.items()}

    def _energy(self, watts: float | None) -> dict[str, float]:
        """Of the GPUs by their power now, of the processors by their counters; nothing where neither is told."""
        now, joules = self.clock(), _joules(self.powercap)
        taken = (watts or 0.0) * (now - self._last)
        taken += sum(max(0.0, joules[name] - self._joules.get(name, joules[name])) for name in joules)
        self._last, self._joules = now, joules
        if watts is None and not joules:
            return {}
        self.before_wh += taken / 3600
        return {"energy_watt_hours": self.before_wh}


@contextmanager
def metered(
    store: Connection,
    run_id: str,
    every_s: float = EVERY_S,
    log: Callable[[Sequence[Metric]], None] | None = None,
) -> Iterator[None]:
    """Inside, a thread logs what the machine does, after what the run has already; reading takes a millisecond.

    ``log`` writes the points; None: into the store at once, and what it does not take is left out.
    """
    state: dict[str, float] = {}
    meter = Meter()

    def beat() -> None:
        if not state:
            known = _last_ones(store, run_id)
            meter.before_wh += known.get(names.ENERGY_WH, (0, 0.0))[1]
            state["step"] = max((step for step, _ in known.values()), default=-1) + 1
        now, step = time.time_ns() // 1_000_000, int(state["step"])
        made = [Metric(key, value, now, step) for key, value in meter.read().items()]
        if log is not None:
            log(made)
        else:
            store.client.log_batch(run_id, metrics=made)
        state["step"] += 1

    with beating(store, beat, every_s, f"system-{run_id[:8]}"):
        yield


def nvidia() -> list[dict[str, float]]:
    """What the driver's tool says of each NVIDIA GPU; nothing where there is no tool or no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return cards_of(done.stdout)


def cards_of(text: str) -> list[dict[str, float]]:
    """The lines of ``nvidia-smi``, without what a card does not tell (``[N/A]``)."""
    cards = []
    for line in text.splitlines():
        card: dict[str, float] = {}
        for name, value in zip(_QUERY, line.split(","), strict=False):
            if value.strip().replace(".", "", 1).isdigit():
                card[name] = float(value)
        if "index" in card:
            cards.append(card)
    return cards


def _joules(powercap: Path) -> Mapping[str, float]:
    """Energy counters of the processors that this user may read."""
    found = {}
    for counter in sorted(powercap.glob("intel-rapl:?/energy_uj")):
        try:
            found[counter.parent.name] = int(counter.read_text(encoding="ascii")) / 1e6
        except (OSError, ValueError):
            continue
    return found


def _last_ones(store: Connection, run_id: str) -> dict[str, tuple[int, float]]:
    """(step, value) of each system metric that the run has."""
    metrics = store.client.get_run(run_id).data.to_proto().metrics
    return {m.key: (int(m.step), float(m.value)) for m in metrics if m.key.startswith(names.SYSTEM)}
