"""Workers as the array job of a Slurm cluster, queued by sbatch itself.

A worker is a command that finds all it needs in the study, so that sbatch's own arrays serve; submitit would pickle a
function into a folder that all nodes share, and unpickle it there. The batch script is one `exec` of that command:
Slurm's signals reach the worker and no shell. Secrets travel in the job's environment, never in arguments or files.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from d2n import __version__, databases
from d2n.config import nearest
from d2n.errors import StudyError
from d2n.files.writing import make_folder, write_text
from d2n.signals import deferred
from d2n.studies.storage import is_sqlite, shown
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.search import commands, start
from d2n.workflows.search.jobs import Jobs, JobState, record
from d2n.workflows.search.launchers.programs import answer, require
from d2n.workflows.search.launchers.row import Launcher, Placement
from d2n.workflows.search.start import SearchRequest
from d2n.workflows.search.worker import Seat

logger = logging.getLogger(__name__)
_PROGRAMS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel")
_PROBE_MINUTES = 10
_PROBE_WAIT_S = 300.0  # then the array waits for the probe in the queue, and nobody here
_REQUEUE_S = 90.0  # how long a controller that is away is asked for another turn
_PREFIX = "slurm-"
_GONE = ("invalid job id", "already completing", "completed")
_OURS = frozenset(
    "array begin chdir cpus-per-task dependency error export gpus-per-node job-name kill-on-invalid-dep mem "  # noqa: SIM905
    "no-requeue nodes ntasks open-mode output parsable partition requeue signal time wait wrap".split()
)  # options of sbatch that d2n sets


@dataclass(frozen=True)
class _Partition:
    name: str
    is_default: bool
    limit_s: int | None
    gpus: bool


def _launch(request: SearchRequest, placement: Placement, kind: ExperimentKind | None) -> list[str]:
    for program in _PROGRAMS:
        require(
            program, "--on slurm is asked on a login node of the cluster; log in there, or leave --on out"
        )
    _check_options(placement)
    partition = _partition(placement)
    _require_shared(request, partition)
    ready = start.prepared(request, kind, here=False)
    study = ready.study
    study.leases.set_stop(study.name, "")
    logs = make_folder(
        (Path(ready.asked.work_root or ready.store.work_root).absolute()).parent / "logs" / study.name
    )
    work = commands.Work(ready, request, "slurm", logs, workers_per_gpu=1 if placement.gpus > 1 else None)
    asked = [*_resources(placement), f"--chdir={Path.cwd()}", "--export=ALL", "--nodes=1", "--ntasks=1"]
    probe = _sbatch(
        [
            *asked,
            f"--job-name=d2n-probe-{study.name}",
            f"--time={_PROBE_MINUTES}",
            f"--output={_literal(logs)}/probe-%j.log",
        ],
        _script(
            logs / "probe.sh", f"asks a node for what workers of {study.name} need", commands.probe(work)
        ),
        commands.environment(work, placement.cpus),
    )
    waits = _await(probe, logs / f"probe-{probe}.log")
    array = _sbatch(
        [*asked, f"--job-name=d2n-{study.name}", *_turn(placement, logs), *waits],
        _script(logs / "worker.sh", f"a worker of {study.name}", commands.worker(work)),
        commands.environment(work, placement.cpus),
    )
    record(study, Jobs("slurm", array, placement.jobs, str(logs)))
    probed = f"waits for its probe, job {probe}" if waits else f"a node was probed (job {probe})"
    return [
        f"study {study.name}: job {array}, {placement.jobs} workers in partition {partition.name}; {probed}",
        f"  d2n search status {study.name}    its trials, jobs, nodes and logs (in {logs})",
        f"  d2n search stop {study.name}      ends it; the same `d2n search` goes on later",
    ]


def _check_options(placement: Placement) -> None:
    for name in placement.queue_options:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name in _OURS:
            why = "is set by d2n itself" if name in _OURS else "is no option of sbatch"
            raise StudyError(
                f"--queue-option {name}: {why}; expected such as constraint=a100, account=lab or qos=long"
            )
    if placement.memory is not None and not re.fullmatch(r"\d+[KMGT]?", placement.memory):
        raise StudyError(f"--memory {placement.memory!r}, expected such as 32G")
    if placement.time_s is not None and placement.time_s < 60:
        raise StudyError(f"--time {placement.time_s} s, expected a minute or more: Slurm counts minutes")


def _partition(placement: Placement) -> _Partition:
    """The partition that is meant, if it takes such jobs."""
    found = _partitions(answer(["sinfo", "--noheader", "--format=%P|%l|%G"]))
    if not found:
        raise StudyError("sinfo names no partition: this cluster takes no jobs of yours")
    wanted = placement.partition
    if wanted is None:
        one = next((one for one in found.values() if one.is_default), None)
        if one is None:
            raise StudyError(f"the cluster has no default partition: --partition {' | '.join(found)}")
    elif wanted in found:
        one = found[wanted]
    else:
        raise StudyError(
            f"partition {wanted!r} does not exist{nearest(wanted, found)} (the cluster has {', '.join(found)})"
        )
    if placement.time_s is not None and one.limit_s is not None and placement.time_s > one.limit_s:
        raise StudyError(
            f"--time {_clock(placement.time_s)} is longer than partition {one.name} allows ({_clock(one.limit_s)}); "
            "a shorter job is queued again at its end and goes on"
        )
    if placement.gpus and not one.gpus:
        having = [name for name, other in found.items() if other.gpus]
        raise StudyError(f"partition {one.name} has no GPUs; {', '.join(having) or 'no partition'} has")
    return one


def _partitions(text: str) -> dict[str, _Partition]:
    found: dict[str, _Partition] = {}
    for line in text.splitlines():
        label, limit, resources = [*line.strip().split("|"), "", ""][:3]
        name = label.removesuffix("*")
        if not name:
            continue
        gpus = "gpu" in resources or (name in found and found[name].gpus)
        found[name] = _Partition(name, label.endswith("*"), _seconds(limit), gpus)
    return found


def _require_shared(request: SearchRequest, partition: _Partition) -> None:
    """Refuse SQLite where the nodes are other machines; one where Slurm runs on this machine alone is fine."""
    from d2n import studies
    from d2n.tracking.connection import resolve_uri, sqlite_path

    address = answer(["sinfo", "--noheader", "--Node", f"--partition={partition.name}", "--format=%o"])
    nodes = {line.strip() for line in address.splitlines() if line.strip()}
    here = {"127.0.0.1", "localhost", "::1", socket.gethostname(), socket.getfqdn()}
    if nodes <= here:
        return
    url = studies.storage_url(request.study_storage)
    others = f"the nodes of partition {partition.name} are other machines, whose locks SQLite does not see"
    if is_sqlite(url):
        raise StudyError(
            f"study storage {shown(url)}: {others}; share a PostgreSQL (--study-storage postgresql://…)"
        )
    uri = resolve_uri(request.tracking_uri)
    if sqlite_path(uri) is not None:
        raise StudyError(
            f"tracking store {databases.shown(uri)}: {others}; share an MLflow server (--tracking-uri http://…)"
        )


def _resources(placement: Placement) -> list[str]:
    asked = [f"--partition={placement.partition}"] if placement.partition else []
    asked += [f"--gpus-per-node={placement.gpus}"] if placement.gpus else []
    asked += [f"--cpus-per-task={placement.cpus}"] if placement.cpus else []
    asked += [f"--mem={placement.memory}"] if placement.memory else []
    return [*asked, *(f"--{name}={value}" for name, value in placement.queue_options.items())]


def _turn(placement: Placement, logs: Path) -> list[str]:
    """How long a job has, when it is told, and that it comes again."""
    grace_s = placement.grace_s
    asked = []
    if placement.time_s is not None:
        asked = [f"--time={math.ceil(placement.time_s / 60)}"]
        grace_s = min(grace_s, max(10, placement.time_s // 4))
    return [
        *asked,
        f"--array=1-{placement.jobs}",
        f"--signal=B:TERM@{grace_s}",
        "--requeue",
        "--open-mode=append",
        f"--output={_literal(logs)}/%A_%a.log",
    ]


def _literal(folder: Path) -> str:
    """A path in which Slurm finds nothing to replace."""
    return str(folder).replace("%", "%%")


def _script(path: Path, what: str, command: Sequence[str]) -> Path:
    return write_text(path, f"#!/bin/sh\n# d2n {__version__}: {what}\nexec {shlex.join(command)}\n")


def _sbatch(options: Sequence[str], script: Path, env: Mapping[str, str]) -> str:
    """Queue it; its id."""
    said = answer(["sbatch", "--parsable", *options, str(script)], env=env).strip().splitlines()
    job = said[-1].partition(";")[0] if said else ""
    if not job.isdecimal():
        raise StudyError(f"sbatch answered {job!r}, expected the id of a job")
    return job


def _await(probe: str, log: Path) -> list[str]:
    """Wait for the probe's verdict, StudyError where it is no; while the queue is full the array waits for it there."""
    deadline, state, node = time.monotonic() + _PROBE_WAIT_S, "", ""
    try:
        while time.monotonic() < deadline:
            state, node = _state_of(probe)
            if state == "COMPLETED":
                return []
            if state not in ("", "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"):
                raise StudyError(
                    f"the probe (job {probe} on {node or 'no node'}) ended {state}: {_last_words(log)}; "
                    f"its log is {log}; no worker was queued"
                )
            time.sleep(1.0)
    except KeyboardInterrupt:
        with contextlib.suppress(StudyError):
            answer(["scancel", probe])
        raise
    logger.warning(
        "the probe (job %s) is %s: the workers are queued behind it", probe, state.lower() or "unknown"
    )
    return [f"--dependency=afterok:{probe}", "--kill-on-invalid-dep=yes"]


def _state_of(job: str) -> tuple[str, str]:
    try:
        text = answer(["scontrol", "show", "job", job, "--oneliner"])
    except StudyError as error:  # the controller is away for a moment
        logger.info("%s", error)
        return "", ""
    known = dict(re.findall(r"(\w+)=(\S*)", text))
    return known.get("JobState", ""), known.get("NodeList", "")


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "its log cannot be read here: expected a folder that the nodes share (start from one, or --work-root)"
    told = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
    return told[-1].removeprefix("error: ") if told else "without a word"


def _seat(logs: str) -> Seat:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    if not job:
        raise StudyError("SLURM_JOB_ID is not set: this command is for the jobs of a Slurm cluster")
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    return Seat(f"{_PREFIX}{job}", node, f"{logs}/{job}.log")


def _states(jobs: Jobs) -> list[JobState]:
    try:
        text = answer(
            ["squeue", "--noheader", "--array", f"--jobs={jobs.id}", "--format=%i|%T|%N|%r"], timeout_s=20
        )
    except StudyError as error:
        if _is_gone(error):
            return []
        raise
    found = []
    for line in text.splitlines():
        job, state, node, why = [*line.strip().split("|"), "", "", ""][:4]
        log = (
            f"{jobs.logs}/{job}.log" if state != "PENDING" or Path(f"{jobs.logs}/{job}.log").exists() else ""
        )
        found.append(JobState(job, state, node, "" if why == "None" else why, log))
    return found


def _cancel(jobs: Jobs, running: bool) -> str:
    before = _states(jobs)
    chosen = [one.id for one in before if running or one.state == "PENDING"]
    if not chosen:
        return ""
    try:
        answer(["scancel", *([] if running else ["--state=PENDING"]), jobs.id])
    except StudyError as error:
        if not _is_gone(error):
            raise
    return f"{len(chosen)} of {len(before)} jobs cancelled"


def _interrupted(seat: Seat) -> None:
    """Ask for another turn where the job itself was not cancelled: near its time limit it is RUNNING still.

    A job that is preempted is COMPLETING, and Slurm queues it again by itself; one that was cancelled is so too.
    """
    job = seat.job.removeprefix(_PREFIX)
    deadline = time.monotonic() + _REQUEUE_S
    with deferred():
        while True:
            try:
                state = answer(["squeue", "--noheader", f"--jobs={job}", "--format=%T"], timeout_s=20).strip()
                if state == "RUNNING":
                    answer(["scontrol", "requeue", job], timeout_s=20)
                    logger.warning("job %s is queued again", job)
                return
            except StudyError as error:
                if _is_gone(error) or time.monotonic() > deadline:
                    logger.warning("job %s is not queued again: %s", job, error)
                    return
            time.sleep(2.0)


def _is_gone(error: StudyError) -> bool:
    return any(words in str(error).lower() for words in _GONE)


def _seconds(limit: str) -> int | None:
    """A time as sinfo writes it, ``1-02:03:04``; None for infinite."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


ROW = Launcher(
    "slurm",
    "an array job of a Slurm cluster",
    frozenset(("jobs", "time_s", "partition", "gpus", "cpus", "memory", "grace_s", "queue_options")),
    _launch,
    _seat,
    _states,
    _cancel,
    _interrupted,
)
