"""``d2n search``: start or continue a study, status, stop, export."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from d2n.cli.console import Verbs, examples, print_lines, starting
from d2n.cli.options import Named, settings, stores
from d2n.cli.placement import carried, node, placement, split_placement
from d2n.signals import deferred


class _SearchGroup(Verbs):
    """``d2n search STUDY`` starts or continues a study; ``status``, ``stop`` and ``export`` are its verbs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, ["run", *args] if is_option else args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = (param for param in self.commands["run"].params if isinstance(param, click.Option))
        records = [option.get_help_record(ctx) for option in options]
        with formatter.section("Options of d2n search STUDY"):
            formatter.write_dl([record for record in records if record is not None])
        super().format_options(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=_SearchGroup,
    subcommand_metavar="STUDY... [OPTIONS] | status | stop | export",
    epilog=examples(
        "d2n search pix2pix_toycity --workers 2",
        "d2n search cyclegan.yaml --on slurm --jobs 8 --time 4:00:00 --partition gpu --gpus 1",
        "d2n search status pix2pix_toycity",
    ),
)
def search() -> None:
    """Start or continue a study, or ask about one.

    STUDY is a YAML, or the name of one that comes with d2n (`d2n check` lists them). The same command goes on
    with a study, also on another machine.
    """


@search.command(
    "run",
    hidden=True,
    epilog=examples(
        "d2n search pix2pix_toycity --workers 2",
        "d2n search first.yaml second.yaml",
        "d2n search cyclegan.yaml --on slurm --jobs 8 --time 4:00:00 --partition gpu --gpus 1",
    ),
)
@click.argument("names", metavar="STUDY...", nargs=-1, required=True, type=Named("optuna_studies"))
@click.option(
    "--trials", type=click.IntRange(1), default=None, help="how many more [default: the study's stop rule]"
)
@click.option(
    "--workers", type=click.IntRange(1), default=None, help="trials at a time, a process each [default: 1]"
)
@click.option(
    "--workers-per-gpu",
    type=click.IntRange(1),
    help="workers for each GPU of the machine, which sees it alone",
)
@click.option("--pin-cores", is_flag=True, help="each worker keeps to cores of its own")
@click.option("--new-space", is_flag=True, help="continue although the search space changed")
@carried
@settings
@stores
@placement
def search_run(names: tuple[Path, ...], on: str, **options: Any) -> None:
    """Start or continue a study; of several, one after the other as each has enough.

    STUDY is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    placed, options = split_placement(options)
    if on == "local":
        from d2n.workflows import preflight

        found = [preflight.study(name, options["overrides"], options["tracking_uri"]) for name in names]
        workers = options["workers"] or 1
        starting(f"d2n search: {', '.join(found)}, {workers} {'worker' if workers == 1 else 'workers'}")
    else:
        starting(f"d2n search: {', '.join(map(str, names))} on {on}")
    from d2n.workflows import search as workflow

    for name in names:
        request = workflow.SearchRequest(name, **options, progress=True)
        print_lines(workflow.search(request, on=on, placement=workflow.Placement(**placed)))


@search.command("worker", hidden=True, epilog=examples("d2n search worker STUDY --on slurm --logs LOGS"))
@click.argument("study", type=Named("optuna_studies"))
@click.option("--max-claims", type=click.IntRange(1), help="of the study, over all workers")
@click.option("--workers", type=click.IntRange(1), help="trials at a time, a process each")
@click.option("--workers-per-gpu", type=click.IntRange(1), help="workers for each GPU of the node")
@carried
@node
@settings
@stores
def search_worker(study: Path, on: str, logs: str, **options: Any) -> None:
    """What a cluster's job runs: work on STUDY until it has enough. `d2n search --on` writes this command."""
    with contextlib.ExitStack() as held:
        with deferred():  # a signal waits for what can ask for the job's next turn
            from d2n.workflows import search as workflow

            held.enter_context(workflow.turn(on, logs))
        request = workflow.SearchRequest(study, **options, progress=True)
        print_lines(workflow.run_worker(request, on, logs))


@search.command("probe", hidden=True, epilog=examples("d2n search probe STUDY --on slurm --logs LOGS"))
@click.argument("study", type=Named("optuna_studies"))
@click.option("--version-asked", required=True, help="the d2n that will queue workers")
@node
@settings
@stores
def search_probe(study: Path, on: str, logs: str, version_asked: str, **options: Any) -> None:
    """What a cluster's node runs before any worker is queued: has it all that STUDY needs?"""
    from d2n.workflows import search as workflow

    print_lines(workflow.run_probe(workflow.SearchRequest(study, **options), logs, version_asked))


@search.command("status", epilog=examples("d2n search status", "d2n search status pix2pix_toycity"))
@click.argument("study", required=False)
@stores
def search_status(study: str | None, **stores: str | None) -> None:
    """Trials by state, the best so far and whether it leads by more than noise, who works on what.

    STUDY is a study's name; left out, all are told.
    """
    from d2n.workflows import preflight

    preflight.studies(stores["study_storage"])
    from d2n.workflows import search as workflow

    print_lines(workflow.status(study, **stores))


@search.command("stop", epilog=examples("d2n search stop pix2pix_toycity"))
@click.argument("study")
@click.option("--now", is_flag=True, help="give the running trials back, and end a cluster's jobs")
@stores
def search_stop(study: str, now: bool, **stores: str | None) -> None:
    """Let the running trials of STUDY, a study's name, end and start no more; `d2n search` goes on later.

    Jobs that wait in the queue of a cluster are cancelled.
    """
    from d2n.workflows import preflight

    preflight.studies(stores["study_storage"])
    from d2n.workflows import search as workflow

    print_lines(workflow.stop(study, now=now, **stores))


@search.command("export", epilog=examples("d2n search export pix2pix_toycity out"))
@click.argument("study")
@click.argument("out", type=click.Path(path_type=Path))
@stores
def search_export(study: str, out: Path, **stores: str | None) -> None:
    """The trials (CSV) and figures (HTML) of STUDY, a study's name, into the folder OUT."""
    from d2n.files.writing import require_writable
    from d2n.workflows import preflight

    require_writable(out)
    preflight.studies(stores["study_storage"])
    from d2n.workflows import search as workflow

    print_lines(workflow.export(study, out, **stores))
