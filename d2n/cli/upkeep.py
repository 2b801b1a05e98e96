"""Verbs on the stores themselves: ui, doctor, clean, store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypedDict, Unpack

import click

from d2n.cli.console import Verbs, examples, print_lines, say, starting
from d2n.cli.options import device, stores, tracking


class ShowKnobs(TypedDict):
    """What `d2n show` shows; the command line's options of the same names."""

    folder: Path | None
    network: str | None
    shorter_side_px: int
    port: int | None
    device: str


@click.command(epilog=examples("d2n ui --open", "d2n ui --port 5001"))
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=None,
    help="where it is served  [default: the first free one from 5000 on]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="address to listen at; the default is this machine alone",
)
@click.option("--open", "open_browser", is_flag=True, help="show it in the browser once it answers")
@stores
def ui(
    port: int | None, host: str, open_browser: bool, tracking_uri: str | None, study_storage: str | None
) -> None:
    """The MLflow UI on the right stores, with the studies' dashboard beside it; Ctrl-C ends both."""
    starting("d2n ui: opening the store")
    from d2n.workflows import ui as workflow

    workflow.ui(
        tracking_uri=tracking_uri,
        study_storage=study_storage,
        host=host,
        port=port,
        open_browser=open_browser,
        announce=say,
    )


@click.command(
    epilog=examples(
        "d2n show --open", "d2n show d2n-toycity@champion --folder photos", "d2n show night_generator/"
    )
)
@click.argument("models", nargs=-1, metavar="[MODEL]")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="photographs in which the dropped one is looked for, by day and by night",
)
@click.option("--network", help="what finds in --folder  [default: the registered baseline]")
@click.option(
    "--shorter-side-px",
    type=click.IntRange(16, 2048),
    default=512,
    show_default=True,
    help="larger photographs are made smaller first",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=None,
    help="where it is served, on this machine alone  [default: the first free one from 5100 on]",
)
@click.option("--open", "open_browser", is_flag=True, help="show it in the browser once it answers")
@device
@tracking
def show(
    models: tuple[str, ...], open_browser: bool, tracking_uri: str | None, **chosen: Unpack[ShowKnobs]
) -> None:
    """A page where a dropped photograph is seen by night from every champion, before and after.

    MODEL (any number of them) is MODEL@ALIAS, NAME/VERSION, a run id or a folder; left out, every champion of the
    store is shown. A photograph unlike a generator's training data gets a warning. Ctrl-C ends it.
    """
    starting("d2n show: loading the generators")
    from d2n.workflows import show as workflow

    request = workflow.Request(models, **chosen)
    workflow.show(
        request,
        tracking_uri=tracking_uri,
        open_browser=open_browser,
        announce=say,
        progress=sys.stderr.isatty(),
    )


@click.command(epilog=examples("d2n doctor", "d2n doctor --mend", "d2n doctor --replay"))
@click.option("--mend", is_flag=True, help="close orphans, drop stale leases, upgrade schemas")
@click.option(
    "--replay",
    is_flag=True,
    help="only send what runs logged while their tracking server was away (docs/reliability.md)",
)
@click.option(
    "--silent-h",
    type=click.FloatRange(0),
    default=None,
    help="a run whose process cannot be asked is dead once it gave no sign for so many hours "
    "[default: 5 minutes; 1 hour for runs of earlier releases]",
)
@stores
def doctor(
    mend: bool, replay: bool, silent_h: float | None, tracking_uri: str | None, study_storage: str | None
) -> int:
    """What is orphaned, stale or broken; exit 1 when anything is."""
    if replay and mend:
        raise click.UsageError("--mend sends what waits too: give one of --mend and --replay")
    starting("d2n doctor: looking at the stores")
    from d2n.workflows import doctor as workflow

    if replay:
        lines, is_well = workflow.replay(tracking_uri)
        print_lines(lines)
        return 0 if is_well else 1
    silence_s = None if silent_h is None else 3600 * silent_h
    lines, is_well = workflow.doctor(
        mend=mend, tracking_uri=tracking_uri, study_storage=study_storage, silence_s=silence_s
    )
    print_lines(lines)
    return 0 if is_well else 1


@click.command(epilog=examples("d2n clean", "d2n clean --yes"))
@click.option("--yes", "is_wanted", is_flag=True, help="free what is listed")
@tracking
def clean(is_wanted: bool, tracking_uri: str | None) -> None:
    """What no registered version, study or resumable run needs: work folders, caches, orphaned models.

    It is listed; --yes frees it.
    """
    from d2n.workflows import preflight

    preflight.store(tracking_uri)
    starting("d2n clean: looking at the store")
    from d2n.workflows import clean as workflow

    print_lines(workflow.clean_command(is_wanted=is_wanted, tracking_uri=tracking_uri))


@click.group(
    cls=Verbs, epilog=examples("d2n store move mlruns /data/mlruns", "d2n store copy mlruns backup/mlruns")
)
def store() -> None:
    """An embedded store (the folder with mlflow.db, optuna.db and artifacts/) in another place."""


@store.command("move", epilog=examples("d2n store move mlruns /data/mlruns"))
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def store_move(source: str, target: str) -> None:
    """Move a store's folder SRC to DST, and its artifact places with it.

    Refused while a run is alive in it. Where SRC was moved to DST by hand already, only the places are rewritten.
    """
    from d2n.workflows import store as workflow

    print_lines(workflow.move(source, target))


@store.command("copy", epilog=examples("d2n store copy mlruns backup/mlruns"))
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def store_copy(source: str, target: str) -> None:
    """Copy a store's folder SRC to DST; the copy writes into its own artifacts."""
    from d2n.workflows import store as workflow

    print_lines(workflow.copy(source, target))
