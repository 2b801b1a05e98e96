"""The first verbs: init, knobs, demo, check."""

from __future__ import annotations

import os
from pathlib import Path

import click

from d2n.cli.console import examples, print_lines
from d2n.cli.options import tracking


@click.command(epilog=examples("d2n init", "d2n init my-project"))
@click.argument("target", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init(target: Path) -> None:
    """Copy the experiments and studies that come with d2n into DIR (default: here), to edit.

    A file that is there already stays as it is; a file here wins over the one of the same name in d2n.
    """
    from d2n.workflows import init as workflow

    print_lines(workflow.init(target))


@click.command(
    epilog=examples(
        "d2n knobs",
        "d2n knobs translator",
        "d2n knobs translator.lambda_cycle",
        "d2n knobs --run 0123456789abcdef0123456789abcdef",
    )
)
@click.argument("room", required=False)
@click.option("--run", "run_id", metavar="RUN", help="every knob of this run, as it was trained")
@tracking
def knobs(room: str | None, run_id: str | None, tracking_uri: str | None) -> None:
    """Explain the knobs: name, default, range, meaning; with --run, what a run was made with.

    ROOM is a room such as dataset or training, or one knob; left out, all are listed.
    """
    from d2n.workflows import knobs as workflow

    if run_id is None:
        print_lines(workflow.explain(room))
        return
    from d2n.workflows import knobs_of_run

    print_lines(knobs_of_run.told(run_id, room, tracking_uri))


@click.command(epilog=examples("d2n demo", "d2n demo --quick --out /tmp/demo"))
@click.option("--quick", is_flag=True, help="2 minutes, with weaker results, in demo-quick/")
@click.option("--seed", default=0, show_default=True, help="seed of the city and of every training")
@click.option(
    "--out",
    "root",
    type=click.Path(path_type=Path),
    default=Path(),
    help="folder for data/, mlruns/, report/ [default: here]",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="processes that render and search [default: the machine's cores, at most 4]",
)
def demo(quick: bool, seed: int, root: Path, workers: int | None) -> None:
    """The whole road on the toy city, with progress and a closing summary.

    Interrupted, the same command goes on where it was.
    """
    from d2n.workflows import demo as workflow

    print_lines(workflow.demo(root, quick=quick, seed=seed, workers=workers or min(4, os.cpu_count() or 1)))


@click.command(
    epilog=examples("d2n check", "d2n check optuna_studies/mine.yaml", "d2n check cyclegan_toycity")
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def check(paths: tuple[Path, ...]) -> None:
    """Every YAML loads, every search dimension fits; no torch imported.

    PATHS are YAMLs, folders of them, or names; left out, experiments/ and optuna_studies/ here, where they are
    absent those that come with d2n.
    """
    from d2n.workflows import check as workflow

    print_lines(workflow.check(paths))
