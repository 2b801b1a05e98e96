"""``d2n search``: start or continue a study, status, stop, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d2n.cli.console import Verbs, examples, print_lines, starting
from d2n.cli.options import Named, settings, stores
from d2n.files.writing import require_writable


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
    subcommand_metavar="STUDY [OPTIONS] | status | stop | export",
    epilog=examples("d2n search pix2pix_toycity --workers 2", "d2n search status pix2pix_toycity"),
)
def search() -> None:
    """Start or continue a study, or ask about one.

    STUDY is a YAML, or the name of one that comes with d2n (`d2n check` lists them). The same command goes on
    with a study, also on another machine.
    """


@search.command("run", hidden=True, epilog=examples("d2n search pix2pix_toycity --workers 2"))
@click.argument("study", type=Named("optuna_studies"))
@click.option(
    "--trials", type=click.IntRange(1), default=None, help="how many more [default: the study's stop rule]"
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="trials at a time, a process each"
)
@click.option("--new-space", is_flag=True, help="continue although the search space changed")
@settings
@stores
def search_run(study: Path, workers: int, **options: Any) -> None:
    """Start or continue a study.

    STUDY is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    from d2n.workflows import preflight

    name = preflight.study(study, options["overrides"], options["tracking_uri"])
    starting(f"d2n search: {name}, {workers} {'worker' if workers == 1 else 'workers'}")
    from d2n.workflows import search as workflow

    request = workflow.SearchRequest(study, workers=workers, **options, progress=True)
    print_lines(workflow.search(request))


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
@stores
def search_stop(study: str, **stores: str | None) -> None:
    """Let the running trials of STUDY, a study's name, end and start no more; `d2n search` goes on later."""
    from d2n.workflows import preflight

    preflight.studies(stores["study_storage"])
    from d2n.workflows import search as workflow

    print_lines(workflow.stop(study, **stores))


@search.command("export", epilog=examples("d2n search export pix2pix_toycity out"))
@click.argument("study")
@click.argument("out", type=click.Path(path_type=Path))
@stores
def search_export(study: str, out: Path, **stores: str | None) -> None:
    """The trials (CSV) and figures (HTML) of STUDY, a study's name, into the folder OUT."""
    from d2n.workflows import preflight

    require_writable(out)
    preflight.studies(stores["study_storage"])
    from d2n.workflows import search as workflow

    print_lines(workflow.export(study, out, **stores))
