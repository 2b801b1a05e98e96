"""The verb that decides which generator is the champion."""

from __future__ import annotations

import json
from typing import Any

import click

from d2n.cli.console import examples, print_lines, starting
from d2n.cli.options import tracking


@click.command(
    epilog=examples(
        "d2n promote toycity --dry-run",
        "d2n promote toycity --no-retrain --min-gain 5",
        'd2n promote toycity --metric prd/f8 --constraint "map/toycity/day >= 80"',
    )
)
@click.argument("dataset")
@click.option("--dry-run", is_flag=True, help="decide and say why; train nothing, register nothing")
@click.option(
    "--rule",
    default="promotion",
    show_default=True,
    metavar="FILE",
    help="the YAML with the promotion's knobs, a file or a name",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KNOB=VALUE",
    help="a knob of the promotion, as in level=0.01; may be repeated (`d2n knobs promotion` explains them)",
)
@click.option(
    "--metric", multiple=True, help="what decides: fid, prd/f8, map/BENCHMARK; several with weights: fid=2"
)
@click.option("--constraint", "constraints", multiple=True, help='a bound, as in "map/toycity/day >= 80"')
@click.option("--top", type=click.IntRange(1), help="settings by validation that are looked at [default: 3]")
@click.option("--seeds", type=click.IntRange(1), help="seeds of each setting [default: 3]")
@click.option("--no-retrain", is_flag=True, help="take the seeds that are there: faster, and less is known")
@click.option(
    "--min-gain", type=click.FloatRange(0), help="what a new champion must gain besides [default: 0]"
)
@click.option("--accept-noise", is_flag=True, help="promote a gain within the noise too; it is recorded")
@click.option("--require-clear", is_flag=True, hidden=True, help="the default by now")
@click.option("--protocol", help="only runs scored under this protocol identity")
@tracking
def promote(**options: Any) -> None:
    """Train the missing seeds, compare with the champion on test images, register, move the alias; print why.

    DATASET is the name that its runs were trained under, such as toycity.
    """
    from d2n.config import load_promotion
    from d2n.workflows import preflight

    rule = load_promotion(options["rule"], _overrides(options))
    preflight.promoting(rule, options["tracking_uri"])
    starting(f"d2n promote: the best generator of {options['dataset']}")
    from d2n.workflows import promote as workflow

    kept = {key: options[key] for key in ("tracking_uri", "dry_run", "protocol")}
    print_lines(workflow.promote_command(options["dataset"], rule=rule, progress=True, **kept))


def _overrides(options: dict[str, Any]) -> list[str]:
    """The options as ``knob=value``; what --set says comes first, an option wins."""
    knobs = {
        "metric": list(options["metric"]) or None,
        "constraints": list(options["constraints"]) or None,
        "settings": options["top"],
        "seeds": options["seeds"],
        "retrain": False if options["no_retrain"] else None,
        "min_gain": options["min_gain"],
        "accept_noise": True if options["accept_noise"] else None,
    }
    given = [f"{knob}={json.dumps(value)}" for knob, value in knobs.items() if value is not None]
    return [*options["overrides"], *given]
