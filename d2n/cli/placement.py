"""Options of where a study's workers run, and how long and with what."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
ON = ("local", "slurm", "kubernetes")
_TIME = re.compile(r"(?:(?P<days>[0-9]{1,3})-)?(?P<parts>[0-9]{1,6}(?::[0-9]{1,2}){0,2})")


def seconds(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Of a time as clusters write it: MINUTES(:SECONDS), HOURS:MINUTES:SECONDS, DAYS-HOURS(:MINUTES(:SECONDS))."""
    if text is None:
        return None
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(
            f"{text!r} is no time, expected such as 4:00:00 (hours), 90 (minutes) or 2-12 (days-hours)"
        )
    parts = [int(part) for part in found["parts"].split(":")]
    if found["days"] is not None:
        hours, minutes, rest = [*parts, 0, 0][:3]
        return ((int(found["days"]) * 24 + hours) * 60 + minutes) * 60 + rest
    if len(parts) == 3:
        return (parts[0] * 60 + parts[1]) * 60 + parts[2]
    return parts[0] * 60 + (parts[1] if len(parts) == 2 else 0)


def _pairs(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise click.BadParameter(f"{name!r}, expected OPTION=VALUE such as account=lab")
    return {name: value for name, _, value in pairs}


_OPTIONS = (
    click.option(
        "--jobs",
        type=click.IntRange(1, 100_000),
        default=1,
        help="jobs of a cluster, a worker each [default: 1]",
    ),
    click.option(
        "--time",
        "time_s",
        metavar="TIME",
        callback=seconds,
        help="how long a job has: 4:00:00, or 90 for minutes",
    ),
    click.option("--partition", help="the part of a Slurm cluster [default: the cluster's]"),
    click.option("--gpus", type=click.IntRange(0, 64), default=0, help="GPUs of each job [default: 0]"),
    click.option("--cpus", type=click.IntRange(1, 4096), help="cores of each job"),
    click.option("--memory", help="memory of each job, such as 32G"),
    click.option(
        "--grace",
        "grace_s",
        metavar="TIME",
        callback=seconds,
        default="5",
        help="signal so long before a job's end [default: 5, in minutes]",
    ),
    click.option(
        "--queue-option",
        "queue_options",
        multiple=True,
        callback=_pairs,
        metavar="OPTION=VALUE",
        help="a further option of sbatch, such as account=lab; may be repeated",
    ),
    click.option("--image", help="kubernetes: the image of docker/, with its registry"),
    click.option("--secret", help="kubernetes: the secret with the stores' URLs [default: d2n]"),
    click.option("--data-claim", help="kubernetes: the volume claim with the data sets"),
    click.option("--namespace", help="kubernetes: the namespace"),
    click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        help="kubernetes: where the manifest is written",
    ),
    click.option("--apply", is_flag=True, help="kubernetes: give the manifest to the cluster, by kubectl"),
)


def placement(function: F) -> F:
    """Every option of where workers run."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return click.option(
        "--on",
        type=click.Choice(ON),
        default="local",
        help="where workers run: this machine, an array job of Slurm, a Job of Kubernetes [default: local]",
    )(function)


def carried(function: F) -> F:
    """Whether checkpoints go through the artifact store."""
    return click.option(
        "--carry/--no-carry",
        default=None,
        help="checkpoints through MLflow's artifact store, so that any machine goes on [default: not with SQLite]",
    )(function)


def split_placement(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What says where workers run, and the rest."""
    names = (
        "jobs", "time_s", "partition", "gpus", "cpus", "memory", "grace_s", "queue_options", "image", "secret",
        "data_claim", "namespace", "out", "apply",
    )  # fmt: skip
    return {name: options[name] for name in names}, {k: v for k, v in options.items() if k not in names}


def node(function: F) -> F:
    """What a job on a node is told of where it runs."""
    function = click.option("--work-root", type=click.Path(path_type=Path), help="where checkpoints lie")(
        function
    )
    function = click.option("--logs", default="", help="the folder of the logs")(function)
    return click.option("--on", type=click.Choice(ON), required=True, help="the cluster")(function)
