"""What verbs say, and how groups of verbs answer what they do not know."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import click

from d2n import secrets

FIRST_COMMANDS = """\
d2n trains day-to-night image translators and measures what their nights are worth for image retrieval.

  d2n demo --quick    the whole road on a rendered toy city, in about two minutes
  d2n init            the experiments and studies that come with d2n, copied here to edit
  d2n --help          every verb; the --help of each has an example"""


BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")  # what would break a line, or colour a terminal


def examples(*lines: str) -> str:
    """The end of a help page; \\b keeps click from joining the lines."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def starting(text: str) -> None:
    """Say what is about to happen before the libraries load, which takes seconds; one of torchrun's says it."""
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"{text} …", err=True)


def print_lines(lines: Iterable[str] | Mapping[str, Any]) -> None:
    """Each as a line on stdout."""
    for line in lines:
        say(line)


def say(line: str) -> None:
    """A line on stdout: whatever a workflow tells, no password goes out, and no name in it breaks the line."""
    click.echo(BREAKS.sub(" ", secrets.scrub(line)))


class Verbs(click.Group):
    """A group whose unknown verb is answered with the nearest one, and whose verbs keep their order.

    Called bare it says what can be asked, and that is no error.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say what can be asked where nothing was."""
        if not args and not ctx.resilient_parsing:
            click.echo(FIRST_COMMANDS if ctx.parent is None else ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was asked for; UsageError with the nearest one where there is none."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from d2n.config import nearest

            raise click.UsageError(f"unknown verb {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)
