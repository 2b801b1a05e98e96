"""The verbs: parse, call one workflow, print. Heavy imports stand inside the functions."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from d2n import __version__, secrets
from d2n.config import DEVICES_EXPECTED, is_device_name, nearest
from d2n.errors import D2NError
from d2n.files.refusals import refusal
from d2n.tracking.signals import termination_raises

F = TypeVar("F", bound=Callable[..., Any])
EXIT_USER, EXIT_INTERRUPTED = 2, 130
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")  # what would break a line, or colour a terminal
logger = logging.getLogger(__name__)


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

        cause = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
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
    line = _BREAKS.sub(" ", secrets.scrub(message))
    click.echo(f"error: {line}", err=True)
    sys.exit(EXIT_USER)


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see `{context.command_path} --help`)" if context is not None else ""


class _Verbs(click.Group):
    """A group whose unknown verb is answered with the nearest one, and whose verbs keep their order."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"unknown verb {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _stores(function: F) -> F:
    """The two options that choose the server."""
    function = click.option(
        "--study-storage", envvar="D2N_STUDY_STORAGE", help="Optuna storage URL [default: mlruns/optuna.db]"
    )(function)
    return click.option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI [default: mlruns/mlflow.db]"
    )(function)


def _tracking(function: F) -> F:
    return click.option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI [default: mlruns/mlflow.db]"
    )(function)


def _settings(function: F) -> F:
    return click.option(
        "--set", "overrides", multiple=True, metavar="KNOB=VALUE", help="override a knob; may be repeated"
    )(function)


def _device(context: click.Context, option: click.Parameter, name: str) -> str:
    """Refused by its name before anything is imported; whether it is here is asked by the workflow."""
    if not is_device_name(name):
        raise click.BadParameter(f"{name!r} is no device, expected {DEVICES_EXPECTED}")
    return name


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="d2n")
@click.option("-v", "--verbose", count=True, help="say more; twice for debugging")
def cli(verbose: int) -> None:
    """Day-to-night image translation as data augmentation for image retrieval."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("d2n").setLevel(min(level, logging.INFO) if verbose else logging.WARNING)


@cli.command()
@click.option("--quick", is_flag=True, help="2 minutes, with weaker results")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--out",
    "root",
    type=click.Path(path_type=Path),
    default=Path(),
    help="folder for data/, mlruns/, report/",
)
@click.option(
    "--workers", type=click.IntRange(1), default=None, help="[default: the machine's cores, at most 4]"
)
def demo(quick: bool, seed: int, root: Path, workers: int | None) -> None:
    """The whole road on the toy city, with progress and a closing summary."""
    from d2n.workflows import demo as workflow

    _print_lines(workflow.demo(root, quick=quick, seed=seed, workers=workers or min(4, os.cpu_count() or 1)))


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def check(paths: tuple[Path, ...]) -> None:
    """Every YAML loads, every search dimension fits; no torch imported."""
    from d2n.workflows import check as workflow

    _print_lines(workflow.check(paths))


@cli.group(cls=_Verbs)
def data() -> None:
    """What is here, build, index a download, find what is wrong with it."""


@data.command("list")
def data_list() -> None:
    """Every data set d2n knows, and what of it is here."""
    from d2n.workflows import data as workflow

    _print_lines(workflow.list_sets())


@data.command("make")
@click.argument("name", type=click.Choice(["toycity"]))
@click.option("--root", type=click.Path(path_type=Path), help="[default: data/toycity]")
@click.option("--seed", default=0, show_default=True)
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rebuild", is_flag=True, help="replace a city of another seed or scale in the same folder")
def data_make(name: str, root: Path | None, seed: int, scale: float, workers: int, rebuild: bool) -> None:
    """Render the embedded toy city from a seed."""
    from d2n.workflows import data as workflow

    _print_lines(
        workflow.make(name, root, seed=seed, scale=scale, workers=workers, rebuild=rebuild, progress=True)
    )


@data.command("prepare")
@click.argument("name")
@click.argument("root", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="where the index goes [default: beside the data]"
)
@click.option(
    "--rule", "rules", multiple=True, metavar="KEY=VALUE", help="a knob of the set's selection rule"
)
@click.option("--on-bad-image", type=click.Choice(["fail", "skip"]), default="fail", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--pickles", type=click.Path(path_type=Path), help="also write the public pickle layouts here")
@click.option("--as", "as_name", metavar="NAME", help="the name a folder of your own goes by")
def data_prepare(
    name: str,
    root: Path | None,
    out: Path | None,
    rules: tuple[str, ...],
    on_bad_image: Literal["fail", "skip"],
    workers: int,
    pickles: Path | None,
    as_name: str | None,
) -> None:
    """Index a download or a folder of your own; the counts stand beside the thesis's."""
    from d2n.config import parse_override
    from d2n.workflows import data as workflow

    rule = dict(map(parse_override, rules))
    _print_lines(
        workflow.prepare(
            name,
            root,
            out=out,
            rule=rule,
            on_bad_image=on_bad_image,
            workers=workers,
            pickles=pickles,
            as_name=as_name,
            progress=True,
        )
    )


@data.command("verify")
@click.argument("name")
@click.argument("root", required=False, type=click.Path(path_type=Path))
@click.option(
    "--index", type=click.Path(path_type=Path), help="where the index lies [default: beside the data]"
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def data_verify(name: str, root: Path | None, index: Path | None, workers: int) -> int:
    """Find what is missing, unreadable, too small, duplicated or in both domains; exit 1 when anything is."""
    from d2n.workflows import data as workflow

    lines, is_clean = workflow.verify(name, root, index=index, workers=workers, progress=True)
    _print_lines(lines)
    return 0 if is_clean else 1


@cli.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@_settings
@click.option(
    "--resume",
    metavar="RUN_ID|last",
    help="go on with an interrupted run; last: the newest of this experiment",
)
@click.option("--dry-run", is_flag=True, help="show the resolved knobs and what would be read, train nothing")
@_tracking
def train(
    experiment: Path, overrides: tuple[str, ...], resume: str | None, dry_run: bool, tracking_uri: str | None
) -> None:
    """Train a translator, scored on held-out images, as a tracked run."""
    from d2n.config import load_experiment

    resolved = load_experiment(experiment, overrides)
    from d2n.workflows import train as workflow

    if dry_run:
        _print_lines(workflow.dry_run(resolved))
        return
    result = workflow.train_command(resolved, tracking_uri=tracking_uri, resume=resume, progress=True)
    _print_lines(workflow.summary(result))


@cli.command()
@click.argument("run_id", required=False)
@click.option("--real", type=click.Path(path_type=Path), help="folder of real night photographs")
@click.option("--fake", type=click.Path(path_type=Path), help="folder of translated photographs")
@click.option("--scores", "names", default="fid,kid,prd", show_default=True, help="comma-separated")
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--plot", type=click.Path(path_type=Path), help="write the PRD figure (.html or .png)")
@click.option(
    "--extractor",
    help="inception, a torchvision name, retrieval:MODEL@ALIAS [default: the run's, or inception]",
)
@click.option("--weights", type=click.Path(path_type=Path), help="local weights file of the extractor")
@click.option("--resize", type=click.Choice(["clean", "tf1", "torch"]), default=None)
@click.option(
    "--num-images", type=click.IntRange(2), default=None, help="N on both sides [default: all that both have]"
)
@click.option("--seed", default=0, show_default=True)
@_tracking
def score(**options: Any) -> None:
    """All scores of a generator, or of two folders."""
    from d2n.workflows import score as workflow

    options["names"] = tuple(name.strip() for name in options["names"].split(",") if name.strip())
    _print_lines(workflow.score_command(**options, progress=True))


class _SearchGroup(_Verbs):
    """``d2n search FILE`` starts or continues a study; ``status``, ``stop`` and ``export`` are its verbs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@cli.group(cls=_SearchGroup)
def search() -> None:
    """Start or continue a study: d2n search STUDY.yaml; or ask: d2n search status | stop | export."""


@search.command("run", hidden=True)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--trials", type=click.IntRange(1), default=None, help="how many more [default: the study's stop rule]"
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--new-space", is_flag=True, help="continue although the search space changed")
@_settings
@_stores
def search_run(
    study: Path,
    trials: int | None,
    workers: int,
    new_space: bool,
    overrides: tuple[str, ...],
    tracking_uri: str | None,
    study_storage: str | None,
) -> None:
    """Start or continue a study."""
    from d2n.workflows import search as workflow

    _print_lines(
        workflow.search(
            study,
            trials=trials,
            workers=workers,
            new_space=new_space,
            overrides=overrides,
            tracking_uri=tracking_uri,
            study_storage=study_storage,
            progress=True,
        )
    )


@search.command("status")
@click.argument("study", required=False)
@_stores
def search_status(study: str | None, tracking_uri: str | None, study_storage: str | None) -> None:
    """Trials by state, the best so far and whether it leads by more than noise, who works on what."""
    from d2n.workflows import search as workflow

    _print_lines(workflow.status(study, tracking_uri=tracking_uri, study_storage=study_storage))


@search.command("stop")
@click.argument("study")
@_stores
def search_stop(study: str, tracking_uri: str | None, study_storage: str | None) -> None:
    """Let the running trials end and start no more."""
    from d2n.workflows import search as workflow

    _print_lines(workflow.stop(study, tracking_uri=tracking_uri, study_storage=study_storage))


@search.command("export")
@click.argument("study")
@click.argument("out", type=click.Path(path_type=Path))
@_stores
def search_export(study: str, out: Path, tracking_uri: str | None, study_storage: str | None) -> None:
    """The study's trials (CSV) and figures (HTML) into a folder."""
    from d2n.workflows import search as workflow

    _print_lines(workflow.export(study, out, tracking_uri=tracking_uri, study_storage=study_storage))


@cli.command()
@click.argument("dataset")
@click.option("--dry-run", is_flag=True, help="decide and say why, register nothing")
@click.option(
    "--min-gain",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="what a new champion must gain",
)
@click.option(
    "--top", type=click.IntRange(1), default=4, show_default=True, help="candidates scored on the test split"
)
@click.option("--require-clear", is_flag=True, help="only when the gain exceeds its noise")
@click.option("--protocol", help="only runs scored under this protocol identity")
@_tracking
def promote(**options: Any) -> None:
    """Pick, re-evaluate, register, move the alias; print why."""
    from d2n.workflows import promote as workflow

    _print_lines(workflow.promote_command(**options))


@cli.command()
@click.argument("model")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--max-pixels",
    type=click.IntRange(4096),
    default=4_000_000,
    show_default=True,
    help="larger images go through in strips, in less memory",
)
@click.option("--device", default="auto", show_default=True, callback=_device)
@click.option("--on-bad-image", type=click.Choice(["fail", "skip"]), default="fail", show_default=True)
@click.option(
    "--shorter-side-px", type=click.IntRange(8), help="shrink larger photographs to this before translation"
)
@click.option("--overwrite", is_flag=True, help="make anew what is there, also what another model made")
@_tracking
def translate(model: str, source: Path, target: Path, **knobs: Any) -> None:
    """Day photographs to night with MODEL: NAME@ALIAS, a run id, or a folder with generator.safetensors.

    SOURCE is a folder and TARGET another, or SOURCE one image and TARGET a file name or a folder.
    The same command goes on where it was; it makes anew what has changed since.
    """
    from d2n.workflows import translate as workflow

    _print_lines(workflow.translate_command(model, source, target, progress=True, **knobs))


@cli.command()
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@_tracking
def pull(model: str, out: Path, tracking_uri: str | None) -> None:
    """Download a registered generator (NAME@ALIAS) with its card."""
    from d2n.workflows import pull as workflow

    _print_lines(workflow.pull(model, out, tracking_uri=tracking_uri))


@cli.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@_settings
@click.option(
    "--resume",
    metavar="RUN_ID|last",
    help="go on with an interrupted run; last: the newest of this experiment",
)
@_tracking
def retrieve(
    experiment: Path, overrides: tuple[str, ...], resume: str | None, tracking_uri: str | None
) -> None:
    """Fine-tune and evaluate a retrieval network, with or without a registered generator."""
    from d2n.config import load_experiment

    resolved = load_experiment(experiment, overrides)
    from d2n.workflows import retrieve as workflow

    result = workflow.retrieve_command(resolved, tracking_uri=tracking_uri, resume=resume, progress=True)
    _print_lines(workflow.summary(result))


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True)
@click.option("--dataset", help="only this data set")
@_tracking
def report(out: Path, dataset: str | None, tracking_uri: str | None) -> None:
    """The paper's table and figures from the tracked runs, one self-contained HTML."""
    from d2n.workflows import report as workflow

    _say(f"wrote {workflow.report_command(out, dataset=dataset, tracking_uri=tracking_uri)}")


@cli.command("import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(["pix2pix", "cyclegan"]), required=True)
@_settings
def import_weights(file: Path, out: Path, method: str, overrides: tuple[str, ...]) -> None:
    """A generator of the public reference code (.pth state_dict) into a folder that `translate` takes."""
    from d2n.workflows import translate as workflow

    _print_lines(workflow.import_weights(file, out, method=method, overrides=overrides))


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@_tracking
def ui(port: int, host: str, tracking_uri: str | None) -> None:
    """The MLflow UI on the right stores."""
    from d2n.workflows import ui as workflow

    workflow.ui(tracking_uri=tracking_uri, host=host, port=port, announce=_say)


@cli.command()
@click.option("--mend", is_flag=True, help="close orphans, drop stale leases, upgrade schemas")
@click.option(
    "--silent-h",
    type=click.FloatRange(0),
    default=None,
    help="a run whose process cannot be asked is dead once it gave no sign for so many hours "
    "[default: 5 minutes; 1 hour for runs of earlier releases]",
)
@_stores
def doctor(mend: bool, silent_h: float | None, tracking_uri: str | None, study_storage: str | None) -> int:
    """What is orphaned, stale or broken; exit 1 when anything is."""
    from d2n.workflows import doctor as workflow

    silence_s = None if silent_h is None else 3600 * silent_h
    lines, is_well = workflow.doctor(
        mend=mend, tracking_uri=tracking_uri, study_storage=study_storage, silence_s=silence_s
    )
    _print_lines(lines)
    return 0 if is_well else 1


@cli.group(cls=_Verbs)
def store() -> None:
    """An embedded store (the folder with mlflow.db, optuna.db and artifacts/) in another place."""


@store.command("move")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def store_move(source: str, target: str) -> None:
    """Move a store's folder, and its artifact places with it: d2n store move mlruns /data/mlruns.

    Refused while a run is alive in it. Where SRC was moved to DST by hand already, only the places are rewritten.
    """
    from d2n.workflows import store as workflow

    _print_lines(workflow.move(source, target))


@store.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def store_copy(source: str, target: str) -> None:
    """Copy a store's folder; the copy writes into its own artifacts: d2n store copy mlruns backup/mlruns."""
    from d2n.workflows import store as workflow

    _print_lines(workflow.copy(source, target))


def _print_lines(lines: Iterable[str] | Mapping[str, Any]) -> None:
    for line in lines:
        _say(line)


def _say(line: str) -> None:
    """A line on stdout: whatever a workflow tells, no password goes out."""
    click.echo(secrets.scrub(line))


if __name__ == "__main__":
    main()
