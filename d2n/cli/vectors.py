"""Verbs of vector stores: descriptors of more photographs than memory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d2n.cli.console import Verbs, examples, print_lines, starting
from d2n.cli.options import on_bad_image, settings, tracking, workers


@click.group(
    cls=Verbs,
    epilog=examples(
        "d2n vectors fill d2n-retrieval-toycity@baseline photos vectors --workers 2",
        "d2n vectors index vectors",
    ),
)
def vectors() -> None:
    """Descriptors of more photographs than memory holds, kept in a folder or on S3."""


@vectors.command(
    epilog=examples(
        "d2n vectors fill d2n-retrieval-toycity@baseline photos vectors --workers 2",
        "d2n vectors fill d2n-retrieval-toycity@baseline photos s3://team/vectors --part 3/8",
    )
)
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("store")
@click.option(
    "--part",
    default="1/1",
    show_default=True,
    help="which of so many workers this is, as in 3/8: each on a machine of its own",
)
@workers("describe photographs on this machine")
@click.option(
    "--chunk",
    type=click.IntRange(1),
    default=2048,
    show_default=True,
    help="photographs that are kept at once: so many a killed worker describes again",
)
@click.option("--whitening", default="stored", show_default=True, help="as of `d2n evaluate`")
@on_bad_image
@settings
@tracking
def fill(store: str, part: str, **asked: Any) -> None:
    """Describe the photographs of FOLDER into STORE, a folder or s3:// URL; those that it knows are passed over.

    MODEL is what `d2n evaluate` takes. The same command goes on after a stop; with --part the workers are on as many
    machines.
    """
    from d2n.retrieval.vectors import require_store
    from d2n.workflows import preflight

    preflight.evaluating(asked["model"], None, asked["overrides"], asked["tracking_uri"])
    preflight.folder_of_photographs(asked["folder"])
    require_store(store)
    starting(f"d2n vectors fill: {asked['folder']} by {asked['model']}")
    from d2n.workflows import vectors as workflow

    chosen = workflow.as_part(part)
    if chosen.of > 1:
        asked["workers"] = 1
    request = workflow.FillRequest(url=store, part=chosen, **asked)
    print_lines(workflow.fill_command(request, progress=True))


@vectors.command(
    epilog=examples("d2n vectors index vectors", "d2n vectors index s3://team/vectors --recall 0.99")
)
@click.argument("store")
@click.option(
    "--recall",
    "goal",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="share of the exact best ten that a query is to find; more partitions are read until it does",
)
def index(store: str, goal: float) -> None:
    """Make the index of STORE for --approximate, and measure its recall@10 against exact search."""
    from d2n.retrieval.vectors import require_store

    require_store(store, is_there=True)
    starting(f"d2n vectors index: {store}")
    from d2n.workflows import vectors as workflow

    print_lines(workflow.index_command(store, goal))


@vectors.command(epilog=examples("d2n vectors status vectors"))
@click.argument("store")
def status(store: str) -> None:
    """What STORE holds: descriptors, of which network, indexed or not."""
    from d2n.retrieval.vectors import require_store

    require_store(store, is_there=True)
    from d2n.workflows import vectors as workflow

    print_lines(workflow.status_command(store))
