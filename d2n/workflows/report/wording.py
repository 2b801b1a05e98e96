"""Numbers and names as the report writes them."""

from __future__ import annotations

from d2n import naming
from d2n.core import Score
from d2n.scores import leading
from d2n.workflows.report.rows import Generator


def score_text(score: Score | None) -> str | None:
    """Four digits, with the interval or the deviation, and the floor."""
    if score is None:
        return None
    text = f"{score.value:.4g}"
    if score.interval is not None:
        text += f" [{score.interval[0]:.4g}, {score.interval[1]:.4g}]"
    elif score.std is not None:
        text += f" ± {score.std:.2g}"
    return text + (f", floor {score.floor:.3g}" if score.floor is not None else "")


def mean_text(mean: float, std: float | None) -> str:
    """Of a measure in percent; without ± where there is one seed."""
    return f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")


def signed_text(value: float, error: float | None) -> str:
    """A difference."""
    return f"{value:+.2f}" + (f" ± {error:.2f}" if error is not None else "")


def short(score_name: str) -> str:
    """A score's name without its feature space, which the protocol above the table tells; FID keeps it in short."""
    base, _, space = score_name.partition(".")
    return f"{base} ({short_space(space)})" if space and base == leading() else base


def short_space(space: str) -> str:
    """``toycity-3`` for d2n's own network of the toy city, version 3; any other space as it is: no two in one name."""
    own = f"retrieval-{naming.RETRIEVAL_NETWORKS}"
    rest = space.removeprefix(own)
    return space if rest.startswith(("retrieval-", "random-")) or not rest else rest


def generator_label(generator: Generator) -> str:
    """Method, data set and run."""
    return f"{generator.method}, {generator.dataset}, {generator.run_id[:8]}"


def hours_text(hours: float | None) -> str | None:
    """Hours, or minutes of less than one."""
    if hours is None:
        return None
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
