"""A real Slurm of a test's own: munged, slurmctld and several virtual nodes on 127.0.0.1, all in one folder.

Started by hand it stays until Enter is pressed: ``python tests/workflows/search/slurm_cluster.py FOLDER``.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "scancel")
_CONF = """\
ClusterName=d2n
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=200000,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=600
KillWait=20
InactiveLimit=0
ReturnToService=2
SlurmdTimeout=60
SlurmctldTimeout=5
BatchStartTimeout=60
RequeueExit=
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=n[1-{nodes}] Default=YES MaxTime=60 State=UP OverSubscribe=NO PriorityTier=1
PartitionName=urgent Nodes=n[1-{nodes}] Default=NO MaxTime=60 State=UP OverSubscribe=NO PriorityTier=10 PreemptMode=OFF
"""


class SlurmCluster:
    """Partitions ``main`` and ``urgent`` (whose jobs preempt main's, which are requeued) on the same nodes."""

    def __init__(self, folder: Path, nodes: int = 4, cpus: int = 2) -> None:
        self.folder, self.nodes = folder, nodes
        self.conf = folder / "slurm.conf"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        first = _free_ports(nodes + 1)
        (folder / "munge").mkdir(parents=True, mode=0o700)
        (folder / "state").mkdir()
        for number in range(1, nodes + 1):
            (folder / f"spool-n{number}").mkdir()
        self.conf.write_text(
            _CONF.format(
                host=socket.gethostname(),
                user=getpass.getuser(),
                folder=folder,
                controller_port=first,
                nodes=nodes,
                first_port=first + 1,
                last_port=first + nodes,
                cpus=cpus,
            ).replace("RequeueExit=\n", "")
        )

    @staticmethod
    def missing() -> list[str]:
        """Programs that are not here."""
        return [name for name in PROGRAMS if shutil.which(name) is None]

    @property
    def env(self) -> dict[str, str]:
        """What a client of this cluster has in its environment."""
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        places = [
            f"--{what}={self.folder}/munge/{what}" for what in ("socket", "pid-file", "log-file", "seed-file")
        ]
        self._spawn("munged", ["munged", "--foreground", "--force", f"--key-file={key}", *places])
        wait_until(lambda: (self.folder / "munge" / "socket").exists(), "munged")
        self.start_controller()
        for number in range(1, self.nodes + 1):
            self._spawn(f"n{number}", ["slurmd", "-D", "-N", f"n{number}"])
        idle = ("sinfo", "-h", "-p", "main", "-o", "%T %D")
        wait_until(lambda: self.call(*idle).strip() == f"idle {self.nodes}", "the nodes")

    def start_controller(self) -> None:
        self._spawn("slurmctld", ["slurmctld", "-D"])
        wait_until(lambda: "UP" in self.call("scontrol", "ping"), "slurmctld")

    def kill_controller(self) -> None:
        """kill -9: what it had not saved is lost."""
        process = self._processes.pop("slurmctld")
        process.kill()
        process.wait()

    def kill_node(self, name: str) -> None:
        """kill -9 of a node's daemon; its jobs go on without it."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.call("scancel", "--full", "--user", getpass.getuser())
            deadline = time.monotonic() + 15
            while self.call("squeue", "-h", "-o", "%i").strip() and time.monotonic() < deadline:
                time.sleep(0.3)
        for name, process in reversed(list(self._processes.items())):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            del self._processes[name]

    def call(self, *command: str) -> str:
        """A client's answer; empty where it fails."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [_found(command[0]), *command[1:]],
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _found(program: str) -> str:
    path = shutil.which(program)
    assert path is not None, program
    return path


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(20000 + os.getpid() % 5000, 60000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


if __name__ == "__main__":
    cluster = SlurmCluster(Path(sys.argv[1]))
    cluster.start()
    sys.stdout.write(f"export SLURM_CONF={cluster.conf}\n")
    sys.stdout.flush()
    try:
        sys.stdin.readline()
    finally:
        cluster.stop()
