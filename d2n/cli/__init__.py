"""The verbs: parse, call one workflow, print. Heavy imports stand inside the functions."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence

import click

from d2n import __version__, secrets
from d2n.cli import (
    champions,
    data,
    measure,
    promotion,
    registry,
    retrieval,
    start,
    studies,
    train,
    upkeep,
    vectors,
)
from d2n.cli.console import BREAKS, Verbs, examples
from d2n.errors import D2NError
from d2n.files.refusals import refusal
from d2n.signals import termination_raises

EXIT_USER, EXIT_INTERRUPTED = 2, 130
logger = logging.getLogger(__name__)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples("d2n demo --quick", "d2n train cyclegan_toycity --dry-run", "d2n knobs translator"),
)
@click.version_option(__version__, prog_name="d2n")
@click.option("-v", "--verbose", count=True, help="say more; twice for debugging")
def cli(verbose: int) -> None:
    """Day-to-night image translation as data augmentation for image retrieval."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("d2n").setLevel(min(level, logging.INFO) if verbose else logging.WARNING)


for _verb in (
    start.init,
    start.knobs,
    start.demo,
    start.check,
    data.data,
    train.train,
    measure.score,
    studies.search,
    promotion.promote,
    champions.registry,
    champions.lineage,
    registry.translate,
    registry.pull,
    registry.export,
    train.retrieve,
    retrieval.evaluate,
    retrieval.find,
    vectors.vectors,
    retrieval.export_descriptors,
    measure.study_scores,
    measure.report,
    registry.import_weights,
    upkeep.ui,
    upkeep.show,
    upkeep.doctor,
    upkeep.clean,
    upkeep.store,
):  # in the order of `d2n --help`
    cli.add_command(_verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors a user can mend, and what the operating system refuses, are one line and exit 2.

    All others are bugs and show their trace.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be no text of the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    secrets.install()
    try:
        with termination_raises():
            code = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as error:
        _fail(f"{error.format_message()}{_help_hint(error)}")
    except D2NError as error:
        _fail(str(error))
    except (KeyboardInterrupt, click.Abort) as error:
        from d2n.workflows import interruption

        cause = (isinstance(error, click.Abort) and error.__context__) or error  # click 8.1.0 names no cause
        for said in interruption.lines(cause, sys.argv[1:] if arguments is None else arguments):
            click.echo(said, err=True)
        sys.exit(getattr(cause, "exit_code", EXIT_INTERRUPTED))
    except Exception as error:
        line = refusal(error)
        if line is None:
            raise
        logger.debug("the operating system said no", exc_info=error)
        _fail(" ".join(line.split("\n")))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    line = BREAKS.sub(" ", secrets.scrub(message))
    click.echo(f"error: {line}", err=True)
    sys.exit(EXIT_USER)


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see `{context.command_path} --help`)" if context is not None else ""
