"""``d2n doctor``: the installation, the tracking store, the studies: what is orphaned, stale or broken."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import subprocess
import sys
from importlib import metadata

from d2n.errors import D2NError
from d2n.tracking import connection, health

logger = logging.getLogger(__name__)
# torchvision's minor version is torch's plus this: 0.26 was built with 2.11. Source: torchvision's README.
_TORCHVISION_AHEAD = 15
_PASSES = 4  # mended tables and places show what was behind them


def doctor(
    *,
    mend: bool,
    tracking_uri: str | None,
    study_storage: str | None,
    silence_s: float | None = None,
) -> tuple[list[str], bool]:
    """A line a finding with what to do, and whether all is well (or was mended).

    TrackingError for a tracking URI that is none.
    """
    connection.resolve_uri(tracking_uri)
    problems = installation()
    lines = [f"installation: {problem}" for problem in problems]
    store_lines, store_is_well = _tracking(mend, tracking_uri, silence_s)
    study_lines, studies_are_well = _studies(mend, tracking_uri, study_storage)
    is_well = not problems and store_is_well and studies_are_well
    return [*lines, *store_lines, *study_lines, "all is well" if is_well else "something needs care"], is_well


def replay(tracking_uri: str | None) -> tuple[list[str], bool]:
    """Send what runs logged while their server was away; a line a run, and whether the servers have it all."""
    return health.send_unsent(tracking_uri)


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


@functools.cache
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


def _tracking(mend: bool, tracking_uri: str | None, silence_s: float | None) -> tuple[list[str], bool]:
    """The tracking store; once its tables or places are mended it is looked at again."""
    lines: list[str] = []
    tried: set[health.Finding] = set()
    for _ in range(_PASSES):
        found = _examined(tracking_uri, silence_s)
        fresh = [finding for finding in found if finding not in tried]
        for finding in fresh:
            lines += _told(finding) + (_mended(finding, tracking_uri) if mend else _offered(finding))
        tried.update(fresh)
        if not mend or not any(finding.mending for finding in fresh):
            break
    with contextlib.suppress(Exception):  # a finding has said it
        lines += [f"note: {line}" for line in health.watched(tracking_uri, silence_s)]
    return lines, not found


def _examined(tracking_uri: str | None, silence_s: float | None) -> list[health.Finding]:
    """A store that cannot even be looked at is a finding too."""
    try:
        return health.examine(tracking_uri, silence_s)
    except D2NError as error:
        uri = connection.resolve_uri(tracking_uri)
        unreadable = health.Finding("unreadable", connection.display_uri(uri), str(error), "")
        return [unreadable, *health.examine_unsent(uri)]
    except Exception as error:  # of MLflow, on tables that nobody foresaw
        logger.debug("the tracking store could not be examined", exc_info=True)
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        where = connection.display_uri(connection.resolve_uri(tracking_uri))
        return [
            health.Finding("unreadable", where, f"cannot be opened: {type(error).__name__}: {reason}", "")
        ]


def _told(finding: health.Finding) -> list[str]:
    return [f"{finding.kind}: {finding.subject}: {finding.message}"]


def _offered(finding: health.Finding) -> list[str]:
    offer = [f"  `d2n doctor --mend` would: {finding.mending}"] if finding.mending else []
    return offer + ([f"  to do: {finding.advice}"] if finding.advice else [])


def _mended(finding: health.Finding, tracking_uri: str | None) -> list[str]:
    if not finding.mending:
        return _offered(finding)
    try:
        return [f"  mended: {health.mend(tracking_uri, finding)}"]
    except D2NError as error:
        return [f"  not mended: {error}"]


def _studies(mend: bool, tracking_uri: str | None, study_storage: str | None) -> tuple[list[str], bool]:
    is_named = bool(study_storage or os.environ.get("D2N_STUDY_STORAGE"))
    if not is_named and not os.path.lexists("mlruns/optuna.db"):
        return [], True
    from d2n.workflows.search import health

    return health.examine(mend=mend, tracking_uri=tracking_uri, study_storage=study_storage)
