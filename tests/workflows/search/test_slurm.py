"""Studies on a real Slurm: queued, cancelled, at their time limit, requeued, without their controller."""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fake_d2n
import pytest
from fake_training import FAKE
from survival import STUDY, Place, check_whole, lay_out, wait_until

from d2n.errors import StudyError
from d2n.studies.leases import LeaseTable
from d2n.studies.study import load_optuna
from d2n.tracking.runs import open_store
from d2n.workflows import search
from d2n.workflows.search import Placement, SearchRequest
from tests.tracking.servers import Postgres
from tests.workflows.search.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if missing := SlurmCluster.missing():
        pytest.skip(f"not on the PATH: {', '.join(missing)} (Debian's slurm-wlm and munge)")
    made = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def client(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's programs talk to this cluster."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'tests' / 'fakes'}")
    monkeypatch.chdir(root)


def queue(place: Place, jobs: int, trials: int | None = None, **asked: object) -> list[str]:
    request = SearchRequest(
        place.study,
        trials=trials,
        tracking_uri=place.tracking_uri,
        study_storage=place.study_storage,
        work_root=place.work,
        program=(sys.executable, str(Path(fake_d2n.__file__))),
    )
    return search.search(request, FAKE, on="slurm", placement=Placement(jobs=jobs, **asked))  # type: ignore[arg-type] # as given


def told(place: Place) -> list[str]:
    return search.status("survivor", study_storage=place.study_storage)


def ended(place: Place) -> int:
    leases = LeaseTable(search_url(place)).all("survivor")
    return sum(lease.state == "done" for lease in leases)


def held(place: Place) -> int:
    leases = LeaseTable(search_url(place)).open("survivor")
    return sum(lease.state == "held" for lease in leases)


def search_url(place: Place) -> str:
    from d2n.studies.storage import storage_url

    return storage_url(place.study_storage)


def tasks(cluster: SlurmCluster, state: str = "RUNNING") -> list[str]:
    return cluster.call("squeue", "-h", "-r", "-t", state, "-o", "%i").split()


def test_a_study_survives_scancel_requeue_and_a_killed_controller(
    tmp_path: Path, cluster: SlurmCluster
) -> None:
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 8"), step_s=0.6)
    said = queue(place, jobs=3, time_s=600)
    array = re.search(r"job (\d+), 3 workers in partition main; a node was probed", said[0])
    assert array is not None
    wait_until(lambda: sum("attempt 1" in line for line in told(place)) == 3, 120)
    lines = told(place)
    for task in (1, 2, 3):
        line = next(line for line in lines if f"slurm job {array[1]}_{task}: running on n" in line)
        log = Path(line.rpartition("log ")[2])
        assert "works on" in log.read_text()
    cluster.call("scontrol", "requeue", f"{array[1]}_1")
    cluster.kill_controller()
    time.sleep(2)
    cluster.start_controller()
    cluster.call("scancel", f"{array[1]}_2")
    wait_until(lambda: ended(place) == 8, 240)
    wait_until(lambda: not cluster.call("squeue", "-h").strip(), 120)
    counts = check_whole(place, 8)
    assert counts["resumed"] >= 1  # at least one of both was in a trial beyond its first step
    assert counts["attempts"] == 8  # given back each time: no attempt is lost
    runs = [run for run in open_store(place.tracking_uri).find_runs() if "d2n.trial" in run.tags]
    assert {run.tags["d2n.node"] for run in runs} <= {"n1", "n2", "n3", "n4"}
    assert all(Path(run.tags["d2n.log"]).is_file() for run in runs)
    assert not [line for line in told(place) if "slurm job" in line]  # all have ended


def test_stop_cancels_what_waits_and_now_ends_what_runs(tmp_path: Path, cluster: SlurmCluster) -> None:
    place = lay_out(tmp_path, step_s=1.0)
    queue(place, jobs=10, time_s=600)  # the nodes have 8 cores
    wait_until(lambda: len(tasks(cluster)) == 8 and len(tasks(cluster, "PENDING")) == 2, 60)
    wait_until(lambda: sum("attempt 1" in line for line in told(place)) >= 4, 240)
    said = search.stop("survivor", study_storage=place.study_storage)
    assert re.search(r"slurm job \d+: 2 of 10 jobs cancelled", said[1])
    assert not tasks(cluster, "PENDING")
    search.stop("survivor", now=True, study_storage=place.study_storage)
    wait_until(lambda: not cluster.call("squeue", "-h").strip(), 120)
    assert {lease.state for lease in LeaseTable(search_url(place)).open("survivor")} <= {"released"}


def test_a_probe_finds_what_a_node_lacks_before_anything_is_queued(
    tmp_path: Path, cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lay_out(tmp_path)
    other = tmp_path / "other.py"
    other.write_text(
        "import d2n\nd2n.__version__ = '9.9.9'\nimport runpy, sys\n"
        f"runpy.run_path({str(Path(fake_d2n.__file__))!r}, run_name='__main__')\n"
    )
    request = SearchRequest(
        place.study,
        tracking_uri=place.tracking_uri,
        study_storage=place.study_storage,
        work_root=place.work,
        program=(sys.executable, str(other)),
    )
    with pytest.raises(
        StudyError, match=r"the probe \(job \d+ on n\d\) ended FAILED: this node has d2n 9\.9\.9"
    ):
        search.search(request, FAKE, on="slurm", placement=Placement(jobs=4))
    assert not tasks(cluster, "PENDING,RUNNING")
    assert ended(place) == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"partition": "mian"}, "partition 'mian' does not exist; did you mean 'main'?"),
        ({"time_s": 7200}, r"--time 2:00:00 is longer than partition main allows \(1:00:00\)"),
        ({"gpus": 1}, "partition main has no GPUs"),
        ({"queue_options": {"wrap": "x"}}, "--queue-option wrap: is set by d2n itself"),
        ({"queue_options": {"constraint": "a100"}}, "sbatch refused"),
        ({"image": "x"}, "--image means nothing to --on slurm"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_before_a_study_is_made(
    tmp_path: Path, asked: dict[str, object], words: str
) -> None:
    place = lay_out(tmp_path)
    with pytest.raises(StudyError, match=words):
        queue(place, jobs=1, **asked)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(5400)
def test_forty_trials_end_once_whatever_befalls_their_jobs(tmp_path: Path, cluster: SlurmCluster) -> None:
    """scancel, requeue, preemption and a killed controller at random, and a time limit of three minutes."""
    server = Postgres(tmp_path / "postgres")
    server.start()
    try:
        place = replace(lay_out(tmp_path, step_s=1.0), study_storage=server.uri)
        queue(place, jobs=3, time_s=180)
        attacks, attacked_at = _Attacks(cluster, seed=0), -1
        while (done := ended(place)) < 40:
            if held(place) >= 2 and done > attacked_at:  # a trial ended since, however slow the machine is
                attacks.once()
                attacked_at = done
            if not cluster.call("squeue", "-h").strip() and ended(place) < 40:
                queue(place, jobs=3, time_s=180)
            time.sleep(6)
        wait_until(lambda: not cluster.call("squeue", "-h").strip(), 180)
        counts = check_whole(place, 40)
        sys.stderr.write(f"\n{attacks.done} {counts}\n")
        assert all(attacks.done.values()), attacks.done
        assert counts["resumed"] > 0
        logs = "".join(path.read_text() for path in (place.folder / "logs" / "survivor").glob("*_*.log"))
        sys.stderr.write(f"turns after a time limit: {logs.count('is queued again')}\n")
        states = {trial.state.name for trial in load_optuna(search_url(place), "survivor").get_trials()}
        assert "COMPLETE" in states
    finally:
        server.stop()


class _Attacks:
    def __init__(self, cluster: SlurmCluster, seed: int) -> None:
        self._cluster, self._rng = cluster, random.Random(seed)
        self.done = {"cancel": 0, "requeue": 0, "preempt": 0, "controller": 0}

    def once(self) -> None:
        kinds_of: dict[str, Callable[[], bool]] = {
            "cancel": lambda: self._on_a_task("scancel"),
            "requeue": lambda: self._on_a_task("scontrol", "requeue"),
            "preempt": self._preempt,
            "controller": self._controller,
        }
        least = min(self.done.values())  # each befalls it, in an order by chance
        name = self._rng.choice([name for name, count in sorted(self.done.items()) if count == least])
        self.done[name] += kinds_of[name]()

    def _on_a_task(self, *command: str) -> bool:
        running = tasks(self._cluster)
        if not running:
            return False
        self._cluster.call(*command, self._rng.choice(running))
        return True

    def _preempt(self) -> bool:
        if not tasks(self._cluster):
            return False
        size = ["--nodes=4", "--exclusive", "--time=1", "--output=/dev/null"]
        self._cluster.call("sbatch", "--partition=urgent", *size, "--wrap", "sleep 3")
        return True

    def _controller(self) -> bool:
        self._cluster.kill_controller()
        time.sleep(3)
        self._cluster.start_controller()
        return True
