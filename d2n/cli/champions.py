"""Verbs on the registry: its versions, its history, back to the champion before, vetoes, and lineage."""

from __future__ import annotations

from pathlib import Path

import click

from d2n import secrets
from d2n.cli.console import Verbs, examples, print_lines, say, starting
from d2n.cli.options import tracking

_WHY = click.option("--why", required=True, help="the reason, kept with it: one line")
_JSON = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.group(
    cls=Verbs, epilog=examples("d2n registry list", 'd2n registry rollback toycity --why "streaks at dusk"')
)
def registry() -> None:
    """Registered models: versions, how the aliases moved, back to the one before, vetoes."""


@registry.command("list", epilog=examples("d2n registry list", "d2n registry list toycity --json"))
@click.argument("model", required=False)
@_JSON
@tracking
def registry_list(model: str | None, as_json: bool, tracking_uri: str | None) -> None:
    """Every version with its aliases, method, score and veto.

    MODEL is a registered model, or the data set whose generator it is; without it, all that d2n registered.
    """
    from d2n.workflows import preflight

    preflight.store(tracking_uri)
    from d2n.workflows import registry as workflow

    _print(workflow.list_command(model, tracking_uri=tracking_uri, as_json=as_json), as_json)


@registry.command("history", epilog=examples("d2n registry history toycity"))
@click.argument("model")
@_JSON
@tracking
def registry_history(model: str, as_json: bool, tracking_uri: str | None) -> None:
    """How the aliases of MODEL moved, oldest first: by what, why, and what was moved by hand."""
    from d2n.workflows import preflight

    preflight.store(tracking_uri)
    from d2n.workflows import registry as workflow

    _print(workflow.history_command(model, tracking_uri=tracking_uri, as_json=as_json), as_json)


@registry.command("rollback", epilog=examples('d2n registry rollback toycity --why "streaks at dusk"'))
@click.argument("model")
@click.option("--to", metavar="VERSION", help="a version's number [default: the champion before]")
@_WHY
@tracking
def registry_rollback(model: str, to: str | None, why: str, tracking_uri: str | None) -> None:
    """Give the champion's alias of MODEL back to the champion before, with a record."""
    from d2n.workflows import preflight

    preflight.store(tracking_uri)
    starting(f"d2n registry rollback: {model}")
    from d2n.workflows import registry as workflow

    print_lines(workflow.rollback_command(model, to=to, why=why, tracking_uri=tracking_uri))


@registry.command("veto", epilog=examples('d2n registry veto d2n-toycity/3 --why "inverts the sky"'))
@click.argument("version")
@_WHY
@tracking
def registry_veto(version: str, why: str, tracking_uri: str | None) -> None:
    """Keep VERSION (NAME/3 or NAME@ALIAS) from being the champion, for ever; its run too.

    Where it is the champion, the one before it takes over.
    """
    from d2n.workflows import preflight

    preflight.store(tracking_uri)
    starting(f"d2n registry veto: {version}")
    from d2n.workflows import registry as workflow

    print_lines(workflow.veto_command(version, why=why, tracking_uri=tracking_uri))


@click.command(
    epilog=examples("d2n lineage d2n-toycity@champion", "d2n lineage d2n-toycity/3 --out lineage.svg")
)
@click.argument("reference")
@_JSON
@click.option("--out", type=click.Path(path_type=Path), help="draw it into this .svg or .html file")
@tracking
def lineage(reference: str, as_json: bool, out: Path | None, tracking_uri: str | None) -> None:
    """From a number to its data, and back.

    REFERENCE is NAME@ALIAS, NAME/3, a run id, or the digest of a data set or its first characters: what it was made
    from (generator, trial, study, data, commit) and what was made from it.
    """
    from d2n.workflows import preflight

    preflight.store(tracking_uri)
    from d2n.workflows import lineage as workflow

    workflow.require_kind(out)
    _print(workflow.lineage_command(reference, tracking_uri=tracking_uri, as_json=as_json, out=out), as_json)


def _print(lines: list[str], as_json: bool) -> None:
    """Lines for people one by one; JSON as it is."""
    if as_json:
        click.echo(secrets.scrub("\n".join(lines)))
        return
    for line in lines:
        say(line)
