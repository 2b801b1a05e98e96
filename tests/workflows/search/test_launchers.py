"""Where workers may run: what is refused, what is written, what programs are asked; no cluster is needed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from fake_training import FAKE, events
from survival import STUDY, lay_out, search_on

from d2n import studies
from d2n.cli.placement import ON, seconds
from d2n.devices import visible_gpus
from d2n.errors import StudyError
from d2n.workflows import search
from d2n.workflows.search import Placement, SearchRequest, commands, start
from d2n.workflows.search.jobs import Jobs
from d2n.workflows.search.launchers import LAUNCHERS, kubernetes, slurm
from d2n.workflows.search.placing import run_probe

FULL = Placement(
    jobs=8,
    time_s=14400,
    gpus=2,
    cpus=8,
    memory="32Gi",
    image="registry.lab/d2n:1",
    data_claim="photos",
    namespace="vision",
)


def program(folder: Path, name: str, text: str) -> None:
    """A program of a cluster that says what it was asked and answers."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho {name} "$@" >> {shlex.quote(str(folder / "asked"))}\n{text}\n')
    path.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but what a test puts there, and a shell's own echo."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def request(tmp_path: Path, **options: Any) -> SearchRequest:
    place = lay_out(tmp_path)
    return SearchRequest(
        place.study,
        tracking_uri=place.tracking_uri,
        study_storage=place.study_storage,
        work_root=place.work,
        **options,
    )


def manifest(tmp_path: Path, placement: Placement = FULL, **options: Any) -> list[dict[str, Any]]:
    asked = request(tmp_path, **options)
    return kubernetes.manifest(studies.load_study(asked.path), asked, placement)


def test_the_command_line_offers_every_row() -> None:
    assert tuple(LAUNCHERS) == ON


@pytest.mark.parametrize("placement", [FULL, Placement()])
@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_a_manifest_is_what_kubernetes_publishes(tmp_path: Path, placement: Placement, version: str) -> None:
    written = manifest(tmp_path, placement)
    for document in written:
        kubernetes_validate.validate(document, version, strict=True)
    assert [document["kind"] for document in written] == ["ConfigMap", "Job"]


def test_a_manifest_with_a_wrong_field_is_found_by_the_schema(tmp_path: Path) -> None:
    job = manifest(tmp_path)[1]
    job["spec"]["paralellism"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.34", strict=True)


def test_a_job_holds_its_resources_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2N_STUDY_STORAGE", "postgresql://me:hunter22@db/optuna")
    config_map, job = manifest(tmp_path)
    text = yaml.safe_dump_all([config_map, job])
    assert "hunter22" not in text
    assert "postgresql" not in text
    assert job["spec"]["parallelism"] == 8
    assert job["spec"]["activeDeadlineSeconds"] == 14400
    pod = job["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert worker["image"] == "registry.lab/d2n:1"
    assert worker["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "2"}
    assert worker["command"][-2:] == ["--workers-per-gpu", "1"]
    given = {one["name"]: one["valueFrom"] for one in worker["env"]}
    assert given["D2N_STUDY_STORAGE"] == {"secretKeyRef": {"name": "d2n", "key": "D2N_STUDY_STORAGE"}}


def test_the_study_of_a_job_is_the_one_that_was_given(tmp_path: Path) -> None:
    """The ConfigMap's YAML, in another folder, is the same study: workers here and there may share it."""
    config_map, _ = manifest(tmp_path)
    there = tmp_path / "there"
    there.mkdir()
    for name, text in config_map["data"].items():
        (there / name).write_text(text)
    assert (
        studies.load_study(there / "study.yaml").identity()
        == studies.load_study(tmp_path / "study.yaml").identity()
    )


def test_kubernetes_writes_and_without_a_cluster_says_so(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "job.yaml"
    lines = search.search(request(tmp_path), on="kubernetes", placement=Placement(jobs=2, out=out))
    assert lines[1] == f"  kubectl apply --filename {out}"
    assert [one["kind"] for one in yaml.safe_load_all(out.read_text())] == ["ConfigMap", "Job"]
    with pytest.raises(StudyError, match="kubectl is not on the PATH: --apply needs it"):
        search.search(request(tmp_path), on="kubernetes", placement=Placement(out=out, apply=True))
    program(bin_folder, "kubectl", "echo 'connection refused' >&2; exit 1")
    with pytest.raises(
        StudyError, match=r"no cluster that kubectl can reach takes Jobs: .*connection refused"
    ):
        search.search(request(tmp_path), on="kubernetes", placement=Placement(out=out, apply=True))
    program(bin_folder, "kubectl", "echo yes")
    lines = search.search(
        request(tmp_path), on="kubernetes", placement=Placement(out=out, apply=True, namespace="v")
    )
    assert "kubectl --namespace v get pods" in lines[1]
    assert f"kubectl --namespace v apply --filename {out}" in (bin_folder / "asked").read_text()


def test_slurm_is_refused_where_it_is_not(tmp_path: Path, bin_folder: Path) -> None:
    with pytest.raises(StudyError, match="sbatch is not on the PATH: --on slurm is asked on a login node"):
        search.search(request(tmp_path), FAKE, on="slurm", placement=Placement(jobs=2))


def cluster(
    folder: Path, nodes: str, partitions: str = "gpu*|1-00:00:00|gpu:a100:4\ncpu|2:00:00|(null)"
) -> None:
    """Programs that answer for a cluster."""
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        program(folder, name, "exit 1")
    listed = f"echo {shlex.quote(partitions)}"
    asked = f'case "$*" in *Node*) echo {shlex.quote(nodes)};; *) {listed};; esac'
    program(folder, "sinfo", asked)


def test_sqlite_is_refused_where_the_nodes_are_other_machines(tmp_path: Path, bin_folder: Path) -> None:
    cluster(bin_folder, "10.0.0.7\n10.0.0.8")
    with pytest.raises(StudyError, match="whose locks SQLite does not see; share a PostgreSQL"):
        search.search(request(tmp_path), FAKE, on="slurm", placement=Placement())
    assert not (tmp_path / "optuna.db").exists()


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (Placement(partition="gpus"), "partition 'gpus' does not exist; did you mean 'gpu'"),
        (Placement(partition="cpu", gpus=1), "partition cpu has no GPUs; gpu has"),
        (Placement(time_s=90000), "longer than partition gpu allows"),
        (Placement(time_s=5), "Slurm counts minutes"),
        (Placement(memory="a lot"), "--memory 'a lot', expected such as 32G"),
        (Placement(queue_options={"array": "1-9"}), "--queue-option array: is set by d2n itself"),
        (Placement(queue_options={"x;rm": "1"}), "is no option of sbatch"),
        (Placement(image="d2n:1"), "--image means nothing to --on slurm, which takes --cpus, --gpus"),
    ],
)
def test_what_a_cluster_does_not_have_is_refused(
    tmp_path: Path, bin_folder: Path, placement: Placement, words: str
) -> None:
    cluster(bin_folder, "127.0.0.1")
    with pytest.raises(StudyError, match=words):
        search.search(request(tmp_path), FAKE, on="slurm", placement=placement)


def test_a_workers_command_is_quoted_and_holds_no_password(tmp_path: Path) -> None:
    folder = tmp_path / "a folder; rm -rf $HOME 'x'"
    folder.mkdir()
    asked = request(folder, overrides=["dataset.root=a b;c", "training.n_epochs=3"], trials=5)
    work = commands.Work(
        start.prepared(asked, FAKE, here=False), asked, "slurm", folder / "logs", workers_per_gpu=1
    )
    script = slurm._script(folder / "worker.sh", "a worker", commands.worker(work)).read_text()
    shell, comment, line = script.splitlines()
    assert (shell, comment[:2]) == ("#!/bin/sh", "# ")
    words = shlex.split(line)
    assert words[0] == "exec"
    assert str(folder / "study.yaml") in words
    assert 'dataset.root="a b;c"' in words
    assert words[words.index("--max-claims") + 1] == "5"
    assert not [word for word in words if "://" in word]
    assert commands.environment(work, cpus=4)["OMP_NUM_THREADS"] == "4"


def test_a_percent_sign_in_a_path_is_none_of_slurms() -> None:
    options = slurm._turn(Placement(jobs=3, time_s=100, grace_s=300), Path("/a%j/logs"))
    assert "--output=/a%%j/logs/%A_%a.log" in options
    assert {"--array=1-3", "--time=2", "--signal=B:TERM@25", "--requeue"} <= set(options)


def test_states_and_cancelling_of_jobs_that_have_gone_are_nothing(bin_folder: Path) -> None:
    jobs = Jobs("slurm", "12", 3, "/logs")
    program(bin_folder, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert LAUNCHERS["slurm"].states(jobs) == []
    assert LAUNCHERS["slurm"].cancel(jobs, True) == ""
    program(bin_folder, "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(StudyError, match="Unable to contact slurm controller"):
        LAUNCHERS["slurm"].states(jobs)
    program(bin_folder, "squeue", "echo '12_1|RUNNING|n3|None'; echo '12_2|PENDING||Priority'")
    running, waiting = LAUNCHERS["slurm"].states(jobs)
    assert (running.node, running.log, waiting.why, waiting.log) == ("n3", "/logs/12_1.log", "Priority", "")
    program(bin_folder, "scancel", "exit 0")
    assert LAUNCHERS["slurm"].cancel(jobs, False) == "1 of 2 jobs cancelled"
    assert "scancel --state=PENDING 12" in (bin_folder / "asked").read_text()


def test_a_job_at_its_time_limit_asks_for_another_turn_and_a_cancelled_one_does_not(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    seat = LAUNCHERS["slurm"].seat("/logs")
    assert (seat.job, seat.log) == ("slurm-12_2", "/logs/12_2.log")
    program(bin_folder, "scontrol", "exit 0")
    program(bin_folder, "squeue", "echo COMPLETING")
    LAUNCHERS["slurm"].interrupted(seat)
    assert "scontrol" not in (bin_folder / "asked").read_text()
    program(bin_folder, "squeue", "echo RUNNING")
    LAUNCHERS["slurm"].interrupted(seat)
    assert "scontrol requeue 12_2" in (bin_folder / "asked").read_text()


def test_a_probe_of_another_version_names_both(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"this node has d2n \S+ \(.*\), the workers were asked for by d2n 9.9.9"
    ):
        run_probe(request(tmp_path), str(tmp_path), "9.9.9", FAKE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 5400), ("1:30", 90), ("4:00:00", 14400), ("2-12", 216000), ("1-0:30", 88200), ("0-0:0:5", 5)],
)
def test_times_are_read_as_clusters_write_them(text: str, expected: int) -> None:
    assert seconds(click.Context(click.Command("x")), click.Option(["--time"]), text) == expected


@pytest.mark.parametrize("text", ["4h", "", "-1", "1:2:3:4", "1-", "٣"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        seconds(click.Context(click.Command("x")), click.Option(["--time"]), text)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("0,1,2", ("0", "1", "2")),
        ("", ()),
        ("-1", ()),
        ("3", ("3",)),
        ("GPU-1f, MIG-7a", ("GPU-1f", "MIG-7a")),
        ("0,-1,2", ("0",)),
    ],
)
def test_gpus_are_those_that_the_variable_names(
    monkeypatch: pytest.MonkeyPatch, named: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


@pytest.mark.slow
def test_each_worker_sees_one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-7a")
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 8"), step_s=0.5)
    search_on(place, None, workers_per_gpu=1)
    runs = [path.parent.name for path in place.work.glob("*/events.jsonl")]
    seen = {(one["pid"], one["gpu"]) for run in runs for one in events(place.work, run)}
    assert len(runs) == 8
    assert {gpu for _, gpu in seen} == {"3", "MIG-7a"}
    assert len(seen) == 2  # one each, whichever trial


@pytest.mark.slow
def test_each_pinned_worker_has_cores_of_its_own(tmp_path: Path) -> None:
    free = sorted(os.sched_getaffinity(0))
    if len(free) < 2:
        pytest.skip("one core")
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 8"), step_s=0.5)
    search_on(place, 2, pin_cores=True)
    runs = [path.parent.name for path in place.work.glob("*/events.jsonl")]
    seen = {(one["pid"], tuple(one["cores"])) for run in runs for one in events(place.work, run)}
    assert {cores for _, cores in seen} == set(start.pinned(2))
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("free", "workers", "expected"),
    [
        ({0, 1, 2, 3}, 2, ((0, 1), (2, 3))),
        ({0, 2, 4, 6, 8}, 2, ((0, 2), (4, 6, 8))),
        ({5, 6}, 2, ((5,), (6,))),
        ({1, 2, 3}, 1, ((1, 2, 3),)),
    ],
)
def test_pinned_workers_share_the_cores_out(
    monkeypatch: pytest.MonkeyPatch, free: set[int], workers: int, expected: tuple[tuple[int, ...], ...]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: free)
    assert start.pinned(workers) == expected


def test_more_pinned_workers_than_cores_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(StudyError, match="--pin-cores: 3 workers and 2 cores; expected a core for each"):
        search.search(request(tmp_path, workers=3, pin_cores=True), FAKE)
    with pytest.raises(StudyError, match="--pin-cores means nothing to --on slurm"):
        search.search(request(tmp_path, pin_cores=True), FAKE, on="slurm")


def test_workers_a_gpu_without_a_gpu_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(StudyError, match="--workers-per-gpu: no GPU is visible here"):
        search.search(request(tmp_path, workers_per_gpu=1), FAKE)
