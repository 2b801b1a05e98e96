"""Verbs on registered generators: translate, pull, export, import-weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from d2n.cli.console import examples, print_lines, starting
from d2n.cli.options import Method, device, on_bad_image, settings, tracking


@click.command(
    epilog=examples(
        "d2n translate d2n-toycity@champion photos/day photos/fake_night",
        "d2n translate generator-folder day.jpg nights --device cpu",
    )
)
@click.argument("model")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="images of one size at a time"
)
@click.option(
    "--max-pixels",
    type=click.IntRange(4096),
    default=4_000_000,
    show_default=True,
    help="larger images go through in strips, in less memory",
)
@device
@on_bad_image
@click.option(
    "--shorter-side-px", type=click.IntRange(8), help="shrink larger photographs to this before translation"
)
@click.option("--overwrite", is_flag=True, help="make anew what is there, also what another model made")
@tracking
def translate(model: str, source: Path, target: Path, **knobs: Any) -> None:
    """Day photographs to night with MODEL: NAME@ALIAS, a run id, or a folder with generator.safetensors.

    SOURCE is a folder and TARGET another, or SOURCE one image and TARGET a file name or a folder.
    The same command goes on where it was; it makes anew what has changed since.
    """
    from d2n.workflows import preflight

    preflight.translating(model, source, knobs["device"], knobs["tracking_uri"])
    starting(f"d2n translate: {source} to night with {model}")
    from d2n.workflows import translate as workflow

    print_lines(workflow.translate_command(model, source, target, progress=True, **knobs))


@click.command(epilog=examples("d2n pull d2n-toycity@champion champion"))
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@tracking
def pull(model: str, out: Path, tracking_uri: str | None) -> None:
    """Download a registered generator (MODEL: NAME@ALIAS or NAME/VERSION) with its card into the new folder OUT."""
    from d2n.files.writing import require_new
    from d2n.workflows import preflight

    require_new(out)
    preflight.store(tracking_uri)
    starting(f"d2n pull: {model} into {out}")
    from d2n.workflows import pull as workflow

    print_lines(workflow.pull(model, out, tracking_uri=tracking_uri))


@click.command(
    epilog=examples(
        "d2n export d2n-toycity@champion champion.onnx --format onnx",
        "d2n export d2n-toycity@champion champion-hub --format hub",
    )
)
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format",
    type=click.Choice(["onnx", "torchscript", "safetensors", "hub", "reference"]),
    required=True,
    help="a file for onnxruntime or torch.jit, a folder with the weights, one as model hubs have it, or the .pth of "
    "the public implementation of pix2pix and CycleGAN",
)
@tracking
def export(model: str, out: Path, format: str, tracking_uri: str | None) -> None:  # noqa: A002 - the option's name
    """A generator for other tools: MODEL (NAME@ALIAS, NAME/VERSION, a run id, a folder) into the new OUT.

    What is written is compared with the generator at 20 sizes; it takes float32 in [0, 1].
    """
    from d2n.workflows import preflight

    if not Path(model).exists():
        preflight.store(tracking_uri)
    starting(f"d2n export: {model} as {format} into {out}")
    from d2n.workflows import export as workflow

    print_lines(workflow.export(model, out, format=format, tracking_uri=tracking_uri))


@click.command(
    "import-weights",
    epilog=examples(
        "d2n import-weights latest_net_G.pth generator --method cyclegan",
        "d2n import-weights 150_net_G1.pth night-to-day --decoder 150_net_G2.pth --method todaygan",
        "d2n import-weights 200000-G.ckpt generator --domain 2",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=Method(),
    help="what the generator was trained as [default: what the weights tell]",
)
@click.option(
    "--decoder",
    type=click.Path(path_type=Path),
    help="ComboGAN, ToDayGAN: the decoder of the domain that it shall make, where FILE is an encoder",
)
@click.option(
    "--domain", type=click.IntRange(0), help="StarGAN: the domain that it shall make, counted from 0"
)
@settings
def import_weights(
    file: Path,
    out: Path,
    method: str | None,
    decoder: Path | None,
    domain: int | None,
    overrides: tuple[str, ...],
) -> None:
    """A generator of a public code (.pth state_dict) into a folder that `translate` takes.

    FILE holds the weights, OUT is the new folder. Files of pix2pix, CycleGAN, CUT, gandtr, mdir, ComboGAN, ToDayGAN
    and StarGAN are recognised by their keys.
    """
    from d2n.files.writing import require_writable

    require_writable(out)
    starting(f"d2n import-weights: {file}")
    from d2n.workflows import translate as workflow

    print_lines(
        workflow.import_weights(file, out, method=method, decoder=decoder, domain=domain, overrides=overrides)
    )
