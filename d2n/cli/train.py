"""Verbs that train: train, retrieve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from d2n.cli.console import examples, print_lines, starting
from d2n.cli.options import Named, resuming, settings, tracking

if TYPE_CHECKING:
    from d2n.config import Experiment


@click.command(
    epilog=examples(
        "d2n train cyclegan_toycity --set translator.lr=1e-4",
        "d2n train folders --set dataset.root=photos --dry-run",
    )
)
@click.argument("experiment", type=Named("experiments"))
@settings
@resuming
@click.option("--dry-run", is_flag=True, help="show the resolved knobs and what would be read, train nothing")
@tracking
def train(
    experiment: Path, overrides: tuple[str, ...], resume: str | None, dry_run: bool, tracking_uri: str | None
) -> None:
    """Train a translator, scored on held-out images, as a tracked run.

    EXPERIMENT is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    from d2n.config import load_experiment
    from d2n.workflows import preflight

    resolved = load_experiment(experiment, overrides)
    if dry_run and not _knobs_and_to_do(resolved, preflight.translation, tracking_uri):
        return
    checked = preflight.translation(resolved, tracking_uri)
    if not dry_run:
        starting(f"d2n train: {checked.name}, {checked.translator.method} on {checked.dataset.name}")
    from d2n.workflows import train as workflow

    if dry_run:
        print_lines(workflow.dry_run(resolved))
        return
    result = workflow.train_command(resolved, tracking_uri=tracking_uri, resume=resume, progress=True)
    print_lines(workflow.summary(result))


@click.command(
    epilog=examples(
        "d2n retrieve retrieval_toycity_baseline",
        "d2n retrieve retrieval_toycity --set night.probability=0.3 --dry-run",
    )
)
@click.argument("experiment", type=Named("experiments"))
@settings
@resuming
@click.option(
    "--dry-run",
    is_flag=True,
    help="show the resolved knobs and what would be read and measured, train nothing",
)
@tracking
def retrieve(
    experiment: Path, overrides: tuple[str, ...], resume: str | None, dry_run: bool, tracking_uri: str | None
) -> None:
    """Fine-tune and evaluate a retrieval network, with or without a registered generator.

    EXPERIMENT is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    from d2n.config import load_experiment
    from d2n.workflows import preflight

    resolved = load_experiment(experiment, overrides)
    if dry_run and not _knobs_and_to_do(resolved, preflight.retrieval, tracking_uri):
        return
    checked = preflight.retrieval(resolved, tracking_uri)
    if dry_run:
        from d2n.workflows import dry_run as showing

        print_lines(showing.retrieval(checked, tracking_uri))
        return
    starting(f"d2n retrieve: {checked.name}, {checked.network.backbone} on {checked.dataset.name}")
    from d2n.workflows import retrieve as workflow

    result = workflow.retrieve_command(resolved, tracking_uri=tracking_uri, resume=resume, progress=True)
    print_lines(workflow.summary(result))


def _knobs_and_to_do(
    experiment: Experiment, check: Callable[[Experiment, str | None], Experiment], tracking_uri: str | None
) -> bool:
    """Print the resolved knobs, and what has to be made first; whether all is here."""
    from d2n.config import flatten
    from d2n.workflows.preflight import NotHereYetError

    to_do = ""
    try:
        check(experiment, tracking_uri)
    except NotHereYetError as error:
        to_do = f"not here yet: {error}"
    print_lines(f"{key} = {value}" for key, value in flatten(experiment).items())
    if to_do:
        click.echo(to_do)
    return not to_do
