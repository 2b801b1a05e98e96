"""Workers as a Job of Kubernetes: a manifest, and with ``--apply`` kubectl gives it to the cluster.

The study's YAML travels in a ConfigMap, resolved: an image need not hold it. URLs of the stores come from a Secret by
reference; nothing secret stands in the manifest. A worker ends with 0 only when the study has enough, so that a Job
without ``completions`` is done when the first one says so and the others have ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

import yaml

from d2n import __version__, config, studies
from d2n.errors import StudyError
from d2n.files.writing import write_text
from d2n.studies import StudyDefinition
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.search import start
from d2n.workflows.search.jobs import Jobs, JobState
from d2n.workflows.search.launchers.programs import answer, require
from d2n.workflows.search.launchers.row import Launcher, Placement, nothing
from d2n.workflows.search.start import SearchRequest
from d2n.workflows.search.worker import Seat

logger = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?([KMGT]i?)?")
_STORES = ("D2N_STUDY_STORAGE", "MLFLOW_TRACKING_URI")
_LOGINS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def _launch(request: SearchRequest, placement: Placement, _: ExperimentKind | None) -> list[str]:
    definition = studies.load_study(request.path, start.knobs(request.overrides))
    if request.trials is not None or request.new_space:
        raise StudyError(
            "--trials and --new-space need a study that can be reached from here; "
            "for a Job say --set study.stop.trials=N"
        )
    documents = manifest(definition, request, placement)
    name = documents[-1]["metadata"]["name"]
    path = placement.out or Path(f"{name}.yaml")
    write_text(path, yaml.safe_dump_all(documents, sort_keys=False))
    space = ["--namespace", placement.namespace] if placement.namespace else []
    asked = " ".join(space)
    lines = [f"wrote {path}: {placement.jobs} workers of {definition.config.name} as Job {name}"]
    if not placement.apply:
        return [*lines, f"  kubectl {asked + ' ' if asked else ''}apply --filename {path}"]
    _require_cluster(space)
    answer(["kubectl", *space, "apply", "--filename", str(path)], timeout_s=120)
    return [
        *lines,
        f"  given to the cluster; kubectl {asked + ' ' if asked else ''}get pods --selector job-name={name}",
    ]


def manifest(
    definition: StudyDefinition, request: SearchRequest, placement: Placement
) -> list[dict[str, Any]]:
    """The ConfigMap with the study, and the Job."""
    _check(placement)
    files = _files(definition)
    digest = hashlib.sha256(
        json.dumps([files, str(placement), __version__], sort_keys=True).encode()
    ).hexdigest()
    label = re.sub(r"[^a-z0-9-]+", "-", definition.config.name.lower()).strip("-")[:40].strip("-") or "study"
    name = f"d2n-{label}-{digest[:8]}"
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {
            "app.kubernetes.io/name": "d2n",
            "app.kubernetes.io/version": __version__,
            "d2n/study": label,
        },
        **({"namespace": placement.namespace} if placement.namespace else {}),
    }
    job: dict[str, Any] = {
        "parallelism": placement.jobs,
        "backoffLimit": max(6, 3 * placement.jobs),  # workers that died; evicted ones do not count
        **({"activeDeadlineSeconds": placement.time_s} if placement.time_s else {}),
        "ttlSecondsAfterFinished": 7 * 24 * 3600,
        "podFailurePolicy": {
            "rules": [
                # 2: an error that every worker would meet, such as a study that differs
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "worker", "operator": "In", "values": [2]},
                },
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "Ignore",
                    "onExitCodes": {"containerName": "worker", "operator": "In", "values": [143]},
                },
            ]
        },
        "template": {
            "metadata": {"labels": metadata["labels"]},
            "spec": _pod(name, files, request, placement),
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job},
    ]


def _pod(name: str, files: dict[str, str], request: SearchRequest, placement: Placement) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "study", "configMap": {"name": name}},
        {"name": "work", "emptyDir": {}},  # a cache: checkpoints go through the artifact store
        {
            "name": "shm",
            "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"},
        },  # batches prefetched by processes
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "study", "mountPath": "/study", "readOnly": True},
        {"name": "work", "mountPath": "/app/mlruns"},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
    ]
    if placement.data_claim:
        claim = {"claimName": placement.data_claim, "readOnly": True}
        volumes.append({"name": "data", "persistentVolumeClaim": claim})
        mounts.append({"name": "data", "mountPath": "/app/data", "readOnly": True})
    return {
        "restartPolicy": "Never",  # a pod that died is replaced by another one, perhaps on another node
        "terminationGracePeriodSeconds": placement.grace_s,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "worker",
                "image": placement.image or f"d2n:{__version__}",
                "command": _command(request, placement),
                "env": _environment(placement),
                "resources": _resources(placement),
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _command(request: SearchRequest, placement: Placement) -> list[str]:
    command = ["d2n", "-v", "search", "worker", "/study/study.yaml", "--on", "kubernetes"]
    if request.workers is not None:
        command += ["--workers", str(request.workers)]
    each = request.workers_per_gpu or (1 if placement.gpus > 1 and request.workers is None else None)
    return [*command, "--workers-per-gpu", str(each)] if each is not None else command


def _environment(placement: Placement) -> list[dict[str, Any]]:
    secret = placement.secret or "d2n"

    def of(key: str, optional: bool) -> dict[str, Any]:
        reference = {"name": secret, "key": key, **({"optional": True} if optional else {})}
        return {"name": key, "valueFrom": {"secretKeyRef": reference}}

    pod = {"name": "D2N_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    node = {"name": "D2N_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    stores = [of(key, False) for key in _STORES]
    return [*stores, *(of(key, True) for key in _LOGINS), pod, node]


def _resources(placement: Placement) -> dict[str, Any]:
    asked: dict[str, Any] = {"cpu": str(placement.cpus or 1), "memory": placement.memory or "8Gi"}
    limits: dict[str, Any] = {"memory": asked["memory"]}
    if placement.gpus:
        limits["nvidia.com/gpu"] = str(placement.gpus)  # requests of such devices are their limits
    return {"requests": asked, "limits": limits}


def _files(definition: StudyDefinition) -> dict[str, str]:
    """The study and its experiments with all that they extend and all overrides, as YAML."""
    study = config.to_dict(definition.config)
    study["experiment"], study["overrides"] = "experiment.yaml", {}
    made = {"experiment.yaml": _yaml(definition.values)}
    if definition.arm is not None:
        study["arm"] = {"experiment": "arm.yaml"}
        made["arm.yaml"] = _yaml(config.to_dict(definition.arm))
    return {"study.yaml": _yaml({k: v for k, v in study.items() if v is not None}), **made}


def _yaml(values: Any) -> str:
    plain = json.loads(
        json.dumps(values, default=lambda one: dict(one) if hasattr(one, "keys") else list(one))
    )
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _check(placement: Placement) -> None:
    for option, value in (
        ("secret", placement.secret),
        ("namespace", placement.namespace),
        ("data-claim", placement.data_claim),
    ):
        if value is not None and not _NAME.fullmatch(value):
            raise StudyError(
                f"--{option} {value!r}, expected a name of Kubernetes: small letters, digits and -"
            )
    if placement.memory is not None and not _QUANTITY.fullmatch(placement.memory):
        raise StudyError(f"--memory {placement.memory!r}, expected such as 32Gi")


def _require_cluster(space: list[str]) -> None:
    require(
        "kubectl", "--apply needs it; the manifest is written, give it to the cluster from where kubectl is"
    )
    try:
        may = answer(
            ["kubectl", *space, "--request-timeout=10s", "auth", "can-i", "create", "jobs.batch"],
            timeout_s=30,
        )
    except StudyError as error:
        raise StudyError(
            f"no cluster that kubectl can reach takes Jobs: {error}; the manifest is written"
        ) from error
    if may.strip().splitlines()[-1:] != ["yes"]:
        raise StudyError(f"kubectl may not create Jobs here ({may.strip()}); the manifest is written")


def _seat(logs: str) -> Seat:
    pod = os.environ.get("D2N_POD") or socket.gethostname()
    return Seat(pod, os.environ.get("D2N_NODE") or socket.gethostname(), "")


def _states(_: Jobs) -> list[JobState]:
    return []


def _cancel(_: Jobs, running: bool) -> str:
    return ""


ROW = Launcher(
    "kubernetes",
    "a Job of Kubernetes, as a manifest",
    frozenset(
        (
            "jobs",
            "time_s",
            "gpus",
            "cpus",
            "memory",
            "grace_s",
            "image",
            "secret",
            "data_claim",
            "namespace",
            "out",
            "apply",
        )
    ),
    _launch,
    _seat,
    _states,
    _cancel,
    nothing,
)
