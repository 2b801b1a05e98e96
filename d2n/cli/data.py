"""``d2n data``: list, make, prepare, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d2n.cli.console import Verbs, examples, print_lines
from d2n.cli.options import on_bad_image, workers


@click.group(cls=Verbs, epilog=examples("d2n data list", "d2n data prepare folders photos"))
def data() -> None:
    """What is here, build, index a download, find what is wrong with it."""


@data.command("list", epilog=examples("d2n data list"))
def data_list() -> None:
    """Every data set d2n knows, and what of it is here."""
    from d2n.workflows import data as workflow

    print_lines(workflow.list_sets())


@data.command(
    "make",
    epilog=examples(
        "d2n data make toycity",
        "d2n data make toycity --scale 0.1 --root tiny",
        "d2n data make toycity --condition dusk --condition rain --root weather",
    ),
)
@click.argument("name", type=click.Choice(["toycity"]))
@click.option("--root", type=click.Path(path_type=Path), help="where the images go [default: data/toycity]")
@click.option("--seed", default=0, show_default=True, help="the same seed gives the same city")
@click.option(
    "--scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="share of the full city's scenes",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    type=click.Choice(["dusk", "rain"]),
    help="render it besides day and night; may be repeated",
)
@workers("render")
@click.option("--rebuild", is_flag=True, help="replace a city of another seed or scale in the same folder")
def data_make(**request: Any) -> None:
    """Render the embedded toy city from a seed; NAME is toycity, the one set that is rendered."""
    from d2n.workflows import data as workflow

    print_lines(workflow.make(**request, progress=True))


@data.command(
    "prepare",
    epilog=examples(
        "d2n data prepare folders photos", "d2n data prepare folders webcams --as webcams --rule pairs=scenes"
    ),
)
@click.argument("name")
@click.argument("root", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="where the index goes [default: beside the data]"
)
@click.option(
    "--rule", "rules", multiple=True, metavar="KEY=VALUE", help="a knob of the set's selection rule"
)
@on_bad_image
@workers("read images")
@click.option("--pickles", type=click.Path(path_type=Path), help="also write the public pickle layouts here")
@click.option("--as", "as_name", metavar="NAME", help="the name a folder of your own goes by")
def data_prepare(rules: tuple[str, ...], **request: Any) -> None:
    """Index a download or a folder of your own; the counts stand beside the thesis's.

    NAME is a set of `d2n data list`, `folders` for photographs of your own; ROOT is where its images lie
    (default: data/NAME).
    """
    from d2n.config import parse_override
    from d2n.datasets.preparing import Looking
    from d2n.workflows import data as workflow

    looking = Looking(request.pop("on_bad_image"), request.pop("workers"), progress=True)
    print_lines(workflow.prepare(**request, rule=dict(map(parse_override, rules)), looking=looking))


@data.command("verify", epilog=examples("d2n data verify folders photos"))
@click.argument("name")
@click.argument("root", required=False, type=click.Path(path_type=Path))
@click.option(
    "--index", type=click.Path(path_type=Path), help="where the index lies [default: beside the data]"
)
@workers("read images")
def data_verify(**request: Any) -> int:
    """Find what is missing, unreadable, too small, duplicated or in both domains; exit 1 when anything is.

    NAME is the set, or the name that a folder was prepared under; ROOT is where its images lie (default: data/NAME).
    """
    from d2n.workflows import data as workflow

    lines, is_clean = workflow.verify(**request, progress=True)
    print_lines(lines)
    return 0 if is_clean else 1


@data.command(
    "mirror",
    epilog=examples(
        "d2n data mirror s3://lab/photographs photographs --max-gb 200",
        "d2n data mirror https://data.lab/webcams webcams",
    ),
)
@click.argument("url")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--max-gb",
    type=click.FloatRange(min=0, min_open=True),
    default=100.0,
    show_default=True,
    help="of images that are kept; the longest unused ones make room",
)
def data_mirror(url: str, folder: Path, max_gb: float) -> None:
    """Make FOLDER stand for the images at URL, which are fetched as they are read.

    URL is of a file system that fsspec knows (s3://, gs://, https://) and holds an index beside the images. Its keys
    are found as that file system finds them.
    """
    from d2n.workflows import data as workflow

    print_lines(workflow.mirrored(url, folder, max_gb))
