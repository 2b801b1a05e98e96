"""The team server's manifests: what can be checked of them without a cluster."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
FOLDER = DOCKER / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
SERVER = {"namespace.yaml", "postgres.yaml", "s3.yaml", "mlflow.yaml", "dashboard.yaml", "network.yaml"}


@cache
def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def every(kind: str | None = None) -> Iterator[dict[str, Any]]:
    for name in FILES:
        for document in documents(name):
            if kind in (None, document["kind"]):
                yield document


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in every():
        if "template" in document.get("spec", {}):
            metadata = document["metadata"]
            yield metadata.get("name") or metadata["generateName"], document["spec"]["template"]["spec"]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in pods():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container


def compose(file: str = "compose.yaml") -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((DOCKER / file).read_text(encoding="utf-8"))["services"]
    return services


@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_every_manifest_is_what_kubernetes_publishes(version: str) -> None:
    found = list(every())
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)
    assert {"Deployment", "Service", "Job"} <= {document["kind"] for document in found}


def test_a_wrong_field_would_be_found() -> None:
    document = copy.deepcopy(documents("worker.yaml")[0])
    document["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_every_container_is_bounded_and_gives_up_what_it_does_not_need() -> None:
    for name, container in containers():
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }, name
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
    (namespace,) = documents("namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_images_are_those_of_compose_and_pinned() -> None:
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "d2n" / "__init__.py").read_text())
    assert version is not None
    foreign = {one["image"] for one in compose().values() if not one["image"].startswith("d2n:")}
    assert {one["image"] for _, one in containers()} == {*foreign, f"d2n:{version[1]}"}


def test_the_server_is_started_and_prepared_as_in_compose() -> None:
    (_, mlflow) = documents("mlflow.yaml")
    pod = mlflow["spec"]["template"]["spec"]
    (prepare,), (server,) = pod["initContainers"], pod["containers"]
    auth = compose("compose.auth.yaml")["mlflow"]
    words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in auth["command"]]
    assert server["command"] == [*auth["entrypoint"], *words]
    assert prepare["command"] == compose()["prepare"]["command"]
    for mine, service in ((server, "mlflow"), (prepare, "prepare")):
        both = {**compose()[service]["environment"], **compose("compose.auth.yaml")[service]["environment"]}
        needed = {name for name in both if not name.startswith(("MLFLOW_TRACKING", "MLFLOW_SERVER_ENABLE"))}
        names = [one["name"] for one in mine["env"]]
        assert needed <= set(names)
        assert len(names) == len(set(names))
        for at, one in enumerate(mine["env"]):  # a $(NAME) is put in only where NAME stands above it
            assert set(re.findall(r"\$\((\w+)\)", one.get("value", ""))) <= set(names[:at])
    assert {"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": "false"} in server["env"]
    assert mlflow["spec"]["replicas"] == 1
    assert mlflow["spec"]["strategy"] == {"type": "Recreate"}  # one process at a time changes the schemas


def test_no_secret_has_a_value_and_each_that_is_read_is_in_the_example() -> None:
    example = (FOLDER / "secrets.env.example").read_text(encoding="utf-8").split()
    assert all(line.endswith("=") for line in example)
    asked: dict[str, set[str]] = {}
    for _, container in containers():
        for one in container["env"]:
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY", one["name"]):
                assert "valueFrom" in one, one["name"]
            if "valueFrom" in one:
                reference = one["valueFrom"]["secretKeyRef"]
                asked.setdefault(reference["name"], set()).add(reference["key"])
            else:
                assert not re.search(r"://[^/@]*:(?!\$\()[^/@]*@", one["value"]), one["name"]
    assert asked["d2n-server"] == {line.removesuffix("=") for line in example}
    assert set(asked) == {"d2n-server", "d2n"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/docker/kubernetes/secrets.env" in ignored


def test_nothing_is_published_and_the_server_alone_reaches_the_artifacts() -> None:
    assert {one["spec"].get("type", "ClusterIP") for one in every("Service")} == {"ClusterIP"}
    assert not list(every("Ingress"))
    policies = {one["metadata"]["name"]: one["spec"] for one in every("NetworkPolicy")}
    assert policies["closed"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    label = "app.kubernetes.io/name"
    assert policies["artifacts"]["podSelector"] == {"matchLabels": {label: "s3"}}
    (rule,) = policies["artifacts"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {label: "mlflow"}}}]
    (rule,) = policies["databases"]["ingress"]
    (allowed,) = rule["from"][0]["podSelector"]["matchExpressions"]
    used = {
        one["spec"]["template"]["metadata"]["labels"][label]
        for one in every()
        if "template" in one.get("spec", {}) and re.search(r"@postgres|PGHOST|D2N_STUDY_STORAGE", str(one))
    }
    assert used == set(allowed["values"])


def test_services_lead_to_pods_and_claims_are_there() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in every("Deployment")]
    labels += [one["spec"]["template"]["metadata"]["labels"] for one in every("StatefulSet")]
    for service in every("Service"):
        assert any(service["spec"]["selector"].items() <= one.items() for one in labels)
    for kind in ("Deployment", "StatefulSet"):
        for one in every(kind):
            template = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= template.items()
            for container in one["spec"]["template"]["spec"]["containers"]:
                assert "livenessProbe" in container
                assert "readinessProbe" in container
    claims = {one["metadata"]["name"] for one in every("PersistentVolumeClaim")}
    for name, pod in pods():
        named = {
            one["persistentVolumeClaim"]["claimName"]
            for one in pod.get("volumes", ())
            if "persistentVolumeClaim" in one
        }
        assert named <= claims | {"data", "backups"}, name  # these two are the team's own


def test_kustomization_names_every_file_of_the_server_and_the_scripts_of_compose() -> None:
    told = yaml.safe_load((DOCKER / "kustomization.yaml").read_text(encoding="utf-8"))
    assert set(told["resources"]) == {f"kubernetes/{name}" for name in SERVER}
    assert set(FILES) - SERVER == {"worker.yaml", "backup.yaml", "restore.yaml"}  # given when they are wanted
    maps = {one["name"]: one["files"] for one in told["configMapGenerator"]}
    assert all((DOCKER / file).is_file() for files in maps.values() for file in files)
    mounted = {
        volume["configMap"]["name"]
        for _, pod in pods()
        for volume in pod.get("volumes", ())
        if "configMap" in volume
    }
    assert mounted == set(maps)


@pytest.mark.slow
def test_kubectl_puts_the_manifests_together(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on the PATH")
    shutil.copytree(DOCKER, tmp_path / "docker")
    example = (FOLDER / "secrets.env.example").read_text(encoding="utf-8")
    (tmp_path / "docker" / "kubernetes" / "secrets.env").write_text(example.replace("=", "=abc"))
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "docker")], capture_output=True, text=True, check=True
    )
    made = list(yaml.safe_load_all(done.stdout))
    for document in made:
        kubernetes_validate.validate(document, "1.34", strict=True)
    kinds = sorted(document["kind"] for document in made)
    assert kinds.count("Deployment") == 3
    assert kinds.count("Secret") == 1
    assert "registry.example/d2n:" in done.stdout
    assert {one["metadata"].get("namespace", "d2n") for one in made} == {"d2n"}
