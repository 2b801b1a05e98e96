"""``d2n doctor``: the installation, the tracking store, the studies: what is orphaned, stale or broken."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from d2n.tracking import health

# torchvision's minor version is torch's plus this: 0.26 was built with 2.11. Source: torchvision's README.
_TORCHVISION_AHEAD = 15


def doctor(*, mend: bool, tracking_uri: str | None, study_storage: str | None) -> tuple[list[str], bool]:
    """A line a finding, and whether all is well (or was mended)."""
    lines: list[str] = []
    is_well = True
    for problem in installation():
        lines.append(f"installation: {problem}")
        is_well = False
    for finding in health.examine(tracking_uri):
        lines.append(f"{finding.kind}: {finding.subject}: {finding.message}")
        if mend and finding.mending:
            lines.append(f"  mended: {health.mend(tracking_uri, finding)}")
        else:
            lines += [f"  `d2n doctor --mend` would: {finding.mending}"] if finding.mending else []
            is_well = False
    study_lines, studies_are_well = _studies(mend, tracking_uri, study_storage)
    lines += study_lines
    is_well = is_well and studies_are_well
    return [*lines, "all is well" if is_well else "something needs care"], is_well


def installation() -> list[str]:
    """What is wrong with the installed packages."""
    found = [
        f"{name} is not installed; run `make setup`, or pip install {name}"
        for name in ("torch", "torchvision", "mlflow", "optuna")
        if importlib.util.find_spec(name) is None
    ]
    if not found:
        found += mismatch(metadata.version("torch"), metadata.version("torchvision"))
        found += _does_not_load()
    return found


def mismatch(torch_version: str, torchvision_version: str) -> list[str]:
    """Whether torchvision was made for this torch, by their versions."""
    major, minor = (int(part) for part in torch_version.split("+")[0].split(".")[:2])
    found = int(torchvision_version.split("+")[0].split(".")[1])
    if major != 2 or found == minor + _TORCHVISION_AHEAD:
        return []
    wanted = f"0.{minor + _TORCHVISION_AHEAD}"
    return [
        f"torch {torch_version} and torchvision {torchvision_version} do not belong together: expected torchvision "
        f"{wanted}.*; install both in one command: pip install torch torchvision"
    ]


def _does_not_load() -> list[str]:
    """Builds of different kinds (CPU, CUDA) show only when torchvision registers its operators."""
    code = "import torch, torchvision; torch.ops.torchvision.nms"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return []
    reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
    return [
        f"torchvision does not load beside this torch ({reason}): they are builds that do not match; install both in "
        "one command, from one source: pip install --force-reinstall torch torchvision"
    ]


def _studies(mend: bool, tracking_uri: str | None, study_storage: str | None) -> tuple[list[str], bool]:
    if study_storage is None and not Path("mlruns/optuna.db").exists():
        return [], True
    from d2n.workflows import study_health

    return study_health.examine(mend=mend, tracking_uri=tracking_uri, study_storage=study_storage)
