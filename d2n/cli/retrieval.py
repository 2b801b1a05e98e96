"""Verbs that use a retrieval network without training it: evaluate, find, export-descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d2n.cli.console import examples, print_lines, starting
from d2n.cli.options import searching, settings, tracking


@click.command(
    epilog=examples(
        "d2n evaluate d2n-retrieval-toycity@baseline toycity",
        "d2n evaluate cyclegan_embed_vgg16.pth roxford5k --root data/test --whitening cyclegan_embed_vgg16_lw.pkl",
        "d2n evaluate d2n-retrieval-toycity@baseline photos --set evaluation.image_size_px=512",
        "d2n evaluate d2n-retrieval-toycity@baseline photos --vectors vectors --approximate",
    )
)
@click.argument("model")
@click.argument("benchmark")
@click.option("--root", type=click.Path(path_type=Path), help="folder of the benchmark's images")
@click.option(
    "--whitening",
    default="stored",
    show_default=True,
    help="stored with the model or beside its file; none; a file of m and P; a name in its Lw; or a …-whiten.pkl to "
    "learn on",
)
@click.option(
    "--exif/--no-exif",
    "turn",
    default=None,
    help="turn images as their EXIF says [default: not those of published benchmarks]",
)
@click.option(
    "--depth",
    type=click.IntRange(10),
    default=1000,
    show_default=True,
    help="of the ranking through --vectors: what would be found later counts as not found",
)
@searching
@settings
@tracking
def evaluate(tracking_uri: str | None, depth: int, **asked: Any) -> None:
    """Measure a retrieval network on a benchmark, without training it.

    MODEL is NAME@ALIAS, a run id, a folder that d2n wrote, or a file of cirtorch, mdir or gandtr. BENCHMARK is
    toycity, roxford5k, rparis6k, tokyo247, svox, msls, nordland, the name a folder was prepared as, an index's
    file, or a folder with a ground truth.
    """
    from d2n.workflows import preflight

    url, approximate = asked.pop("vectors"), asked.pop("approximate")
    preflight.evaluating(asked["model"], asked["root"], asked["overrides"], tracking_uri)
    preflight.searching(url, approximate)
    starting(f"d2n evaluate: {asked['model']} on {asked['benchmark']}")
    from d2n.workflows import evaluate as workflow
    from d2n.workflows.evaluate.stored import Through

    through = Through(url, approximate, depth) if url is not None else None
    request = workflow.Request(**asked, through=through)
    print_lines(workflow.evaluate_command(request, tracking_uri=tracking_uri, progress=True))


@click.command(
    epilog=examples(
        "d2n find night.jpg photos --model d2n-retrieval-toycity@baseline",
        "d2n find night.jpg photos --top 20 --out found/night",
        "d2n find night.jpg photos --vectors vectors",
    )
)
@click.argument("photo", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--model", help="the network, as `d2n evaluate` takes it [default: the only registered baseline]"
)
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, help="photographs that are shown"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("found"),
    show_default=True,
    help="picture and page without their suffix: OUT.png, OUT.html",
)
@click.option("--whitening", default="stored", show_default=True, help="as of `d2n evaluate`")
@searching
@settings
@tracking
def find(tracking_uri: str | None, **asked: Any) -> None:
    """The photographs of FOLDER that are most like PHOTO, as a picture and an HTML page.

    With --vectors they are those that `d2n vectors fill` described; FOLDER is then not walked through.
    """
    from d2n.workflows import preflight

    preflight.finding(asked["photo"], asked["folder"], asked["model"], tracking_uri)
    preflight.searching(asked["vectors"], asked["approximate"], is_there=True)
    from d2n.files.writing import require_writable

    require_writable(asked["out"].parent)
    starting(f"d2n find: {asked['photo']} in {asked['folder']}")
    from d2n.workflows import find as workflow

    request = workflow.Request(**asked)
    print_lines(workflow.find_command(request, tracking_uri=tracking_uri, progress=True))


@click.command(
    "export-descriptors",
    epilog=examples(
        "d2n export-descriptors d2n-retrieval-toycity@baseline photos features",
        "d2n export-descriptors net.pth photos features --format kapture --top 50",
    ),
)
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["hloc", "kapture", "place"]),
    default="hloc",
    show_default=True,
    help="hloc: HDF5 and pairs; kapture; place: folders of the place recognition benchmarks",
)
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="pairs a query")
@click.option("--whitening", default="stored", show_default=True, help="as of `d2n evaluate`")
@settings
@tracking
def export_descriptors(tracking_uri: str | None, **asked: Any) -> None:
    """Descriptors of every photograph of FOLDER and the best pairs into the new folder OUT, for other tools.

    MODEL is what `d2n evaluate` takes. With queries/ and database/ in FOLDER the ones are looked for among the
    others; else each photograph among the rest.
    """
    from d2n.files.writing import require_new
    from d2n.workflows import preflight

    preflight.evaluating(asked["model"], None, asked["overrides"], tracking_uri)
    preflight.folder_of_photographs(asked["folder"])
    require_new(asked["out"])
    starting(f"d2n export-descriptors: {asked['folder']} by {asked['model']}")
    from d2n.workflows import export_descriptors as workflow

    request = workflow.Request(**asked)
    print_lines(workflow.export_command(request, tracking_uri=tracking_uri, progress=True))
