"""Options and arguments that several verbs share, each spelled once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from d2n import shipped

F = TypeVar("F", bound=Callable[..., Any])


def stores(function: F) -> F:
    """The two options that choose the server."""
    function = click.option(
        "--study-storage", envvar="D2N_STUDY_STORAGE", help="Optuna storage URL [default: mlruns/optuna.db]"
    )(function)
    return tracking(function)


def tracking(function: F) -> F:
    """The option that chooses the tracking server."""
    return click.option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI [default: mlruns/mlflow.db]"
    )(function)


def settings(function: F) -> F:
    """Knobs for this once, as often as it is given."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KNOB=VALUE",
        help="override a knob, as in translator.lr=1e-4; may be repeated (`d2n knobs` explains them)",
    )(function)


def resuming(function: F) -> F:
    """The run to go on with."""
    return click.option(
        "--resume",
        metavar="RUN_ID|last",
        help="go on with an interrupted run; last: the newest of this experiment",
    )(function)


def on_bad_image(function: F) -> F:
    """What becomes of an image that cannot be read."""
    return click.option(
        "--on-bad-image",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="stop at an image that cannot be read, or leave it out and count it",
    )(function)


def searching(function: F) -> F:
    """Where descriptors are looked for, and how."""
    function = click.option(
        "--approximate", is_flag=True, help="by the store's index; its recall@10 against exact search is told"
    )(function)
    return click.option(
        "--vectors",
        metavar="STORE",
        help="a vector store, folder or s3://, in place of memory (`d2n vectors`)",
    )(function)


def workers(deed: str) -> Callable[[F], F]:
    """How many processes do the ``deed``, as in "read images"."""
    return click.option(
        "--workers", type=click.IntRange(1), default=2, show_default=True, help=f"processes that {deed}"
    )


def device(function: F) -> F:
    """Where torch computes."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        callback=_device_name,
        help="cpu, cuda, or auto: CUDA where it is",
    )(function)


class Named(click.Path):
    """A YAML, or the name of one that comes with d2n; a shell completes both."""

    def __init__(self, kind: shipped.Kind) -> None:
        super().__init__(path_type=Path)
        self._kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What comes with d2n first, then what lies here."""
        named = [CompletionItem(name) for name in shipped.names(self._kind) if name.startswith(incomplete)]
        return [*named, *super().shell_complete(ctx, param, incomplete)]


class Method(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.3
    """A GAN method by name. They are read where one is named, so that no other verb waits for them."""

    name = "method"

    @property
    def _choice(self) -> click.Choice[str]:
        from d2n.config.methods import METHODS

        return click.Choice(list(METHODS))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; BadParameter with all there are where it is none."""
        return self._choice.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """All there are, for --help."""
        return f"[{'|'.join(self._choice.choices)}]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Those that begin so."""
        return self._choice.shell_complete(ctx, param, incomplete)


def _device_name(context: click.Context, option: click.Parameter, name: str) -> str:
    """Refused by its name before anything is imported; whether it is here is asked by the workflow."""
    from d2n.config import DEVICES_EXPECTED, is_device_name

    if not is_device_name(name):
        raise click.BadParameter(f"{name!r} is no device, expected {DEVICES_EXPECTED}")
    return name
