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
from click.shell_completion import CompletionItem

from d2n import __version__, secrets, shipped
from d2n.config import DEVICES_EXPECTED, Experiment, is_device_name, nearest
from d2n.errors import D2NError
from d2n.files.refusals import refusal
from d2n.files.writing import require_new, require_writable
from d2n.tracking.signals import termination_raises

F = TypeVar("F", bound=Callable[..., Any])
EXIT_USER, EXIT_INTERRUPTED = 2, 130
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")  # what would break a line, or colour a terminal
logger = logging.getLogger(__name__)
FIRST_COMMANDS = """\
d2n trains day-to-night image translators and measures what their nights are worth for image retrieval.

  d2n demo --quick    the whole road on a rendered toy city, in about two minutes
  d2n init            the experiments and studies that come with d2n, copied here to edit
  d2n --help          every verb; the --help of each has an example"""


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


def _examples(*lines: str) -> str:
    """The end of a help page; \\b keeps click from joining the lines."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


class _Verbs(click.Group):
    """A group whose unknown verb is answered with the nearest one, and whose verbs keep their order.

    Called bare it says what can be asked, and that is no error.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(FIRST_COMMANDS if ctx.parent is None else ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

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
    return _tracking(function)


def _tracking(function: F) -> F:
    return click.option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI [default: mlruns/mlflow.db]"
    )(function)


def _settings(function: F) -> F:
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KNOB=VALUE",
        help="override a knob, as in translator.lr=1e-4; may be repeated (`d2n knobs` explains them)",
    )(function)


def _device(context: click.Context, option: click.Parameter, name: str) -> str:
    """Refused by its name before anything is imported; whether it is here is asked by the workflow."""
    if not is_device_name(name):
        raise click.BadParameter(f"{name!r} is no device, expected {DEVICES_EXPECTED}")
    return name


class _Named(click.Path):
    """A YAML, or the name of one that comes with d2n; a shell completes both."""

    def __init__(self, kind: shipped.Kind) -> None:
        super().__init__(path_type=Path)
        self._kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        named = [CompletionItem(name) for name in shipped.names(self._kind) if name.startswith(incomplete)]
        return [*named, *super().shell_complete(ctx, param, incomplete)]


def _starting(text: str) -> None:
    """Say what is about to happen before the libraries load, which takes seconds."""
    click.echo(f"{text} …", err=True)


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_examples("d2n demo --quick", "d2n train cyclegan_toycity --dry-run", "d2n knobs translator"),
)
@click.version_option(__version__, prog_name="d2n")
@click.option("-v", "--verbose", count=True, help="say more; twice for debugging")
def cli(verbose: int) -> None:
    """Day-to-night image translation as data augmentation for image retrieval."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("d2n").setLevel(min(level, logging.INFO) if verbose else logging.WARNING)


@cli.command(epilog=_examples("d2n init", "d2n init my-project"))
@click.argument("target", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init(target: Path) -> None:
    """Copy the experiments and studies that come with d2n into DIR (default: here), to edit.

    A file that is there already stays as it is; a file here wins over the one of the same name in d2n.
    """
    from d2n.workflows import init as workflow

    _print_lines(workflow.init(target))


@cli.command(epilog=_examples("d2n knobs", "d2n knobs translator", "d2n knobs translator.lambda_cycle"))
@click.argument("room", required=False)
def knobs(room: str | None) -> None:
    """Explain the knobs: name, default, range, meaning.

    ROOM is a room such as dataset or training, or one knob; left out, all are listed.
    """
    from d2n.workflows import knobs as workflow

    _print_lines(workflow.explain(room))


@cli.command(epilog=_examples("d2n demo", "d2n demo --quick --out /tmp/demo"))
@click.option("--quick", is_flag=True, help="2 minutes, with weaker results, in demo-quick/")
@click.option("--seed", default=0, show_default=True, help="seed of the city and of every training")
@click.option(
    "--out",
    "root",
    type=click.Path(path_type=Path),
    default=Path(),
    help="folder for data/, mlruns/, report/ [default: here]",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="processes that render and search [default: the machine's cores, at most 4]",
)
def demo(quick: bool, seed: int, root: Path, workers: int | None) -> None:
    """The whole road on the toy city, with progress and a closing summary.

    Interrupted, the same command goes on where it was.
    """
    from d2n.workflows import demo as workflow

    _print_lines(workflow.demo(root, quick=quick, seed=seed, workers=workers or min(4, os.cpu_count() or 1)))


@cli.command(
    epilog=_examples("d2n check", "d2n check optuna_studies/mine.yaml", "d2n check cyclegan_toycity")
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def check(paths: tuple[Path, ...]) -> None:
    """Every YAML loads, every search dimension fits; no torch imported.

    PATHS are YAMLs, folders of them, or names; left out, experiments/ and optuna_studies/ here, where they are
    absent those that come with d2n.
    """
    from d2n.workflows import check as workflow

    _print_lines(workflow.check(paths))


@cli.group(cls=_Verbs, epilog=_examples("d2n data list", "d2n data prepare folders photos"))
def data() -> None:
    """What is here, build, index a download, find what is wrong with it."""


@data.command("list", epilog=_examples("d2n data list"))
def data_list() -> None:
    """Every data set d2n knows, and what of it is here."""
    from d2n.workflows import data as workflow

    _print_lines(workflow.list_sets())


@data.command(
    "make", epilog=_examples("d2n data make toycity", "d2n data make toycity --scale 0.1 --root tiny")
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
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="processes that render")
@click.option("--rebuild", is_flag=True, help="replace a city of another seed or scale in the same folder")
def data_make(name: str, root: Path | None, seed: int, scale: float, workers: int, rebuild: bool) -> None:
    """Render the embedded toy city from a seed; NAME is toycity, the one set that is rendered."""
    from d2n.workflows import data as workflow

    _print_lines(
        workflow.make(name, root, seed=seed, scale=scale, workers=workers, rebuild=rebuild, progress=True)
    )


@data.command(
    "prepare",
    epilog=_examples(
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
@click.option(
    "--on-bad-image",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="stop at an image that cannot be read, or leave it out and count it",
)
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="processes that read images"
)
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
    """Index a download or a folder of your own; the counts stand beside the thesis's.

    NAME is a set of `d2n data list`, `folders` for photographs of your own; ROOT is where its images lie
    (default: data/NAME).
    """
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


@data.command("verify", epilog=_examples("d2n data verify folders photos"))
@click.argument("name")
@click.argument("root", required=False, type=click.Path(path_type=Path))
@click.option(
    "--index", type=click.Path(path_type=Path), help="where the index lies [default: beside the data]"
)
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="processes that read images"
)
def data_verify(name: str, root: Path | None, index: Path | None, workers: int) -> int:
    """Find what is missing, unreadable, too small, duplicated or in both domains; exit 1 when anything is.

    NAME is the set, or the name that a folder was prepared under; ROOT is where its images lie (default: data/NAME).
    """
    from d2n.workflows import data as workflow

    lines, is_clean = workflow.verify(name, root, index=index, workers=workers, progress=True)
    _print_lines(lines)
    return 0 if is_clean else 1


@cli.command(
    epilog=_examples(
        "d2n train cyclegan_toycity --set translator.lr=1e-4",
        "d2n train folders --set dataset.root=photos --dry-run",
    )
)
@click.argument("experiment", type=_Named("experiments"))
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
    """Train a translator, scored on held-out images, as a tracked run.

    EXPERIMENT is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    from d2n.config import load_experiment
    from d2n.workflows import preflight

    resolved = load_experiment(experiment, overrides)
    if dry_run and not _knobs_and_to_do(resolved, preflight.translation, tracking_uri):
        return
    checked = preflight.translation(resolved, tracking_uri)
    if not dry_run:
        _starting(f"d2n train: {checked.name}, {checked.translator.method} on {checked.dataset.name}")
    from d2n.workflows import train as workflow

    if dry_run:
        _print_lines(workflow.dry_run(resolved))
        return
    result = workflow.train_command(resolved, tracking_uri=tracking_uri, resume=resume, progress=True)
    _print_lines(workflow.summary(result))


@cli.command(
    epilog=_examples(
        "d2n score RUN_ID",
        "d2n score --real photos/night --fake photos/fake_night --extractor squeezenet1_0",
    )
)
@click.argument("run_id", required=False)
@click.option("--real", type=click.Path(path_type=Path), help="folder of real night photographs")
@click.option("--fake", type=click.Path(path_type=Path), help="folder of translated photographs")
@click.option("--scores", "names", default="fid,kid,prd", show_default=True, help="which, comma-separated")
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    default="test",
    show_default=True,
    help="held-out images that a run is scored on",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--plot", type=click.Path(path_type=Path), help="write the PRD figure (.html or .png)")
@click.option(
    "--extractor",
    help="inception, a torchvision name, retrieval:MODEL@ALIAS [default: the run's, or inception]",
)
@click.option("--weights", type=click.Path(path_type=Path), help="local weights file of the extractor")
@click.option(
    "--resize",
    type=click.Choice(["clean", "tf1", "torch"]),
    default=None,
    help="how images are resized for the extractor [default: the run's, or clean]",
)
@click.option(
    "--num-images", type=click.IntRange(2), default=None, help="N on both sides [default: all that both have]"
)
@click.option(
    "--seed", default=0, show_default=True, help="of the images drawn where a folder has more than N"
)
@_tracking
def score(**options: Any) -> None:
    """All scores of a generator, or of two folders.

    RUN_ID is a finished translation run; its test scores are added to it.
    """
    from d2n.workflows import preflight

    options["names"] = tuple(name.strip() for name in options["names"].split(",") if name.strip())
    asked = ("names", "run_id", "real", "fake", "weights", "tracking_uri")
    preflight.scoring(*(options[key] for key in asked))
    if options["plot"] is not None:
        require_writable(options["plot"].parent)
    _starting(f"d2n score: {', '.join(options['names'])} of {options['run_id'] or options['fake']}")
    from d2n.workflows import score as workflow

    _print_lines(workflow.score_command(**options, progress=True))


class _SearchGroup(_Verbs):
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


@cli.group(
    cls=_SearchGroup,
    subcommand_metavar="STUDY [OPTIONS] | status | stop | export",
    epilog=_examples("d2n search pix2pix_toycity --workers 2", "d2n search status pix2pix_toycity"),
)
def search() -> None:
    """Start or continue a study, or ask about one.

    STUDY is a YAML, or the name of one that comes with d2n (`d2n check` lists them). The same command goes on
    with a study, also on another machine.
    """


@search.command("run", hidden=True, epilog=_examples("d2n search pix2pix_toycity --workers 2"))
@click.argument("study", type=_Named("optuna_studies"))
@click.option(
    "--trials", type=click.IntRange(1), default=None, help="how many more [default: the study's stop rule]"
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="trials at a time, a process each"
)
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
    """Start or continue a study.

    STUDY is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    from d2n.workflows import preflight

    name = preflight.study(study, overrides, tracking_uri)
    _starting(f"d2n search: {name}, {workers} {'worker' if workers == 1 else 'workers'}")
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


@search.command("status", epilog=_examples("d2n search status", "d2n search status pix2pix_toycity"))
@click.argument("study", required=False)
@_stores
def search_status(study: str | None, tracking_uri: str | None, study_storage: str | None) -> None:
    """Trials by state, the best so far and whether it leads by more than noise, who works on what.

    STUDY is a study's name; left out, all are told.
    """
    from d2n.workflows import preflight

    preflight.studies(study_storage)
    from d2n.workflows import search as workflow

    _print_lines(workflow.status(study, tracking_uri=tracking_uri, study_storage=study_storage))


@search.command("stop", epilog=_examples("d2n search stop pix2pix_toycity"))
@click.argument("study")
@_stores
def search_stop(study: str, tracking_uri: str | None, study_storage: str | None) -> None:
    """Let the running trials of STUDY, a study's name, end and start no more; `d2n search` goes on later."""
    from d2n.workflows import preflight

    preflight.studies(study_storage)
    from d2n.workflows import search as workflow

    _print_lines(workflow.stop(study, tracking_uri=tracking_uri, study_storage=study_storage))


@search.command("export", epilog=_examples("d2n search export pix2pix_toycity out"))
@click.argument("study")
@click.argument("out", type=click.Path(path_type=Path))
@_stores
def search_export(study: str, out: Path, tracking_uri: str | None, study_storage: str | None) -> None:
    """The trials (CSV) and figures (HTML) of STUDY, a study's name, into the folder OUT."""
    from d2n.workflows import preflight

    require_writable(out)
    preflight.studies(study_storage)
    from d2n.workflows import search as workflow

    _print_lines(workflow.export(study, out, tracking_uri=tracking_uri, study_storage=study_storage))


@cli.command(epilog=_examples("d2n promote toycity --dry-run", "d2n promote toycity --min-gain 5"))
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
    """Pick, re-evaluate, register, move the alias; print why.

    DATASET is the name that its runs were trained under, such as toycity.
    """
    from d2n.workflows import preflight

    preflight.store(options["tracking_uri"])
    _starting(f"d2n promote: the best generator of {options['dataset']}")
    from d2n.workflows import promote as workflow

    _print_lines(workflow.promote_command(**options))


@cli.command(
    epilog=_examples(
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
@click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_device,
    help="cpu, cuda, or auto: CUDA where it is",
)
@click.option(
    "--on-bad-image",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="stop at an image that cannot be read, or leave it out and count it",
)
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
    from d2n.workflows import preflight

    preflight.translating(model, source, knobs["device"], knobs["tracking_uri"])
    _starting(f"d2n translate: {source} to night with {model}")
    from d2n.workflows import translate as workflow

    _print_lines(workflow.translate_command(model, source, target, progress=True, **knobs))


@cli.command(epilog=_examples("d2n pull d2n-toycity@champion champion"))
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@_tracking
def pull(model: str, out: Path, tracking_uri: str | None) -> None:
    """Download a registered generator (MODEL: NAME@ALIAS or NAME/VERSION) with its card into the new folder OUT."""
    from d2n.workflows import preflight

    require_new(out)
    preflight.store(tracking_uri)
    _starting(f"d2n pull: {model} into {out}")
    from d2n.workflows import pull as workflow

    _print_lines(workflow.pull(model, out, tracking_uri=tracking_uri))


@cli.command(
    epilog=_examples(
        "d2n retrieve retrieval_toycity_baseline",
        "d2n retrieve retrieval_toycity --set night.probability=0.3 --dry-run",
    )
)
@click.argument("experiment", type=_Named("experiments"))
@_settings
@click.option(
    "--resume",
    metavar="RUN_ID|last",
    help="go on with an interrupted run; last: the newest of this experiment",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="show the resolved knobs and what would be read and measured, train nothing",
)
@_tracking
def retrieve(
    experiment: Path, overrides: tuple[str, ...], resume: str | None, dry_run: bool, tracking_uri: str | None
) -> None:
    """Fine-tune and evaluate a retrieval network, with or without a registered generator.

    EXPERIMENT is a YAML, or the name of one that comes with d2n (`d2n check` lists them).
    """
    from d2n.config import load_experiment
    from d2n.workflows import preflight

    resolved = load_experiment(experiment, overrides)
    if dry_run and not _knobs_and_to_do(resolved, preflight.retrieval, tracking_uri):
        return
    checked = preflight.retrieval(resolved, tracking_uri)
    if dry_run:
        from d2n.workflows import dry_run as showing

        _print_lines(showing.retrieval(checked, tracking_uri))
        return
    _starting(f"d2n retrieve: {checked.name}, {checked.network.backbone} on {checked.dataset.name}")
    from d2n.workflows import retrieve as workflow

    result = workflow.retrieve_command(resolved, tracking_uri=tracking_uri, resume=resume, progress=True)
    _print_lines(workflow.summary(result))


@cli.command(epilog=_examples("d2n report", "d2n report --dataset toycity --out toycity-report"))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="folder of the page and its figures",
)
@click.option("--dataset", help="only this data set")
@_tracking
def report(out: Path, dataset: str | None, tracking_uri: str | None) -> None:
    """The paper's table and figures from the tracked runs, one self-contained HTML."""
    from d2n.workflows import preflight

    require_writable(out)
    preflight.store(tracking_uri)
    _starting("d2n report: reading the tracked runs")
    from d2n.workflows import report as workflow

    _say(f"wrote {workflow.report_command(out, dataset=dataset, tracking_uri=tracking_uri)}")


@cli.command(
    "import-weights", epilog=_examples("d2n import-weights latest_net_G.pth generator --method cyclegan")
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=click.Choice(["pix2pix", "cyclegan"]),
    required=True,
    help="what the generator was trained as: the kind of its network where the weights do not tell",
)
@_settings
def import_weights(file: Path, out: Path, method: str, overrides: tuple[str, ...]) -> None:
    """A generator of the public reference code (.pth state_dict) into a folder that `translate` takes.

    FILE holds the weights, OUT is the new folder.
    """
    require_writable(out)
    _starting(f"d2n import-weights: {file}")
    from d2n.workflows import translate as workflow

    _print_lines(workflow.import_weights(file, out, method=method, overrides=overrides))


@cli.command(epilog=_examples("d2n ui", "d2n ui --port 5001"))
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="where it is served"
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="address to listen at; the default is this machine alone",
)
@_tracking
def ui(port: int, host: str, tracking_uri: str | None) -> None:
    """The MLflow UI on the right stores; Ctrl-C ends it."""
    _starting(f"d2n ui: starting at http://{host}:{port}")
    from d2n.workflows import ui as workflow

    workflow.ui(tracking_uri=tracking_uri, host=host, port=port, announce=_say)


@cli.command(epilog=_examples("d2n doctor", "d2n doctor --mend"))
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
    _starting("d2n doctor: looking at the stores")
    from d2n.workflows import doctor as workflow

    silence_s = None if silent_h is None else 3600 * silent_h
    lines, is_well = workflow.doctor(
        mend=mend, tracking_uri=tracking_uri, study_storage=study_storage, silence_s=silence_s
    )
    _print_lines(lines)
    return 0 if is_well else 1


@cli.group(
    cls=_Verbs, epilog=_examples("d2n store move mlruns /data/mlruns", "d2n store copy mlruns backup/mlruns")
)
def store() -> None:
    """An embedded store (the folder with mlflow.db, optuna.db and artifacts/) in another place."""


@store.command("move", epilog=_examples("d2n store move mlruns /data/mlruns"))
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def store_move(source: str, target: str) -> None:
    """Move a store's folder SRC to DST, and its artifact places with it.

    Refused while a run is alive in it. Where SRC was moved to DST by hand already, only the places are rewritten.
    """
    from d2n.workflows import store as workflow

    _print_lines(workflow.move(source, target))


@store.command("copy", epilog=_examples("d2n store copy mlruns backup/mlruns"))
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def store_copy(source: str, target: str) -> None:
    """Copy a store's folder SRC to DST; the copy writes into its own artifacts."""
    from d2n.workflows import store as workflow

    _print_lines(workflow.copy(source, target))


def _knobs_and_to_do(
    experiment: Experiment, check: Callable[[Experiment, str | None], Experiment], tracking_uri: str | None
) -> bool:
    """Print the resolved knobs, and what has to be made first; whether all is here."""
    from d2n.config import flatten
    from d2n.workflows.preflight import NotHereYetError

    to_do = ""
    try:
        check(experiment, tracking_uri)
    except NotHereYetError as error:
        to_do = f"not here yet: {error}"
    _print_lines(f"{key} = {value}" for key, value in flatten(experiment).items())
    if to_do:
        click.echo(to_do)
    return not to_do


def _print_lines(lines: Iterable[str] | Mapping[str, Any]) -> None:
    for line in lines:
        _say(line)


def _say(line: str) -> None:
    """A line on stdout: whatever a workflow tells, no password goes out."""
    click.echo(secrets.scrub(line))


if __name__ == "__main__":
    main()
