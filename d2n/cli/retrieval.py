"""Verbs that use a retrieval network without training it: evaluate."""

from __future__ import annotations

from pathlib import Path

import click

from d2n.cli.console import examples, print_lines, starting
from d2n.cli.options import settings, tracking


@click.command(
    epilog=examples(
        "d2n evaluate d2n-retrieval-toycity@baseline toycity",
        "d2n evaluate cyclegan_embed_vgg16.pth roxford5k --root data/test --whitening cyclegan_embed_vgg16_lw.pkl",
        "d2n evaluate d2n-retrieval-toycity@baseline photos --set evaluation.image_size_px=512",
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
@settings
@tracking
def evaluate(
    model: str,
    benchmark: str,
    root: Path | None,
    whitening: str,
    turn: bool | None,
    overrides: tuple[str, ...],
    tracking_uri: str | None,
) -> None:
    """Measure a retrieval network on a benchmark, without training it.

    MODEL is NAME@ALIAS, a run id, a folder that d2n wrote, or a file of cirtorch, mdir or gandtr. BENCHMARK is
    toycity, roxford5k, rparis6k, tokyo247, the name a folder was prepared as, or a folder with a ground truth.
    """
    from d2n.workflows import preflight

    preflight.evaluating(model, root, overrides, tracking_uri)
    starting(f"d2n evaluate: {model} on {benchmark}")
    from d2n.workflows import evaluate as workflow

    request = workflow.Request(model, benchmark, root, whitening, turn, overrides)
    print_lines(workflow.evaluate_command(request, tracking_uri=tracking_uri, progress=True))
