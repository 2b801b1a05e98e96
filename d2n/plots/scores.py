"""Figures of one or several runs' scores: PRD curves, histories, bars."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from d2n.core import Score, ScoreProtocol, require_one_protocol
from d2n.errors import D2NError
from d2n.plots.style import COLORS, color, dash, figure

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # name → (precision, recall), each in [0, 1]
_MPL_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}


def prd_curves(
    curves: Curves, *, protocols: Sequence[ScoreProtocol] = (), title: str = "Precision and recall (PRD)"
) -> go.Figure:
    """PRD curves on one square, recall to the right and precision up (Sajjadi et al. 2018, figure 4).

    ``curves`` maps a name to (precision, recall). Give the curves' ``protocols`` to have a mixture refused
    (ProtocolMismatchError). D2NError where a curve's sides differ in length or there is none.
    """
    require_one_protocol(protocols, "plot")
    _check_curves(curves)
    fig = figure(title, "recall", "precision", width=640, height=600)
    for i, (name, (precision, recall)) in enumerate(curves.items()):
        fig.add_trace(go.Scatter(x=list(recall), y=list(precision), name=name, mode="lines", line=_line(i)))
    fig.update_xaxes(range=[0, 1.01], constrain="domain")
    fig.update_yaxes(range=[0, 1.01], scaleanchor="x", constrain="domain")
    fig.update_layout(showlegend=len(curves) > 1)
    return fig


def prd_picture(
    curves: Curves,
    form: Literal["svg", "png"],
    *,
    protocols: Sequence[ScoreProtocol] = (),
    title: str = "Precision and recall (PRD)",
    size_px: int = 800,
) -> bytes:
    """The same as SVG or PNG, without a browser; errors as in prd_curves."""
    # matplotlib, for plotly's own export starts a browser; imported late, for that takes half a second
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    require_one_protocol(protocols, "plot")
    _check_curves(curves)
    fig = Figure(figsize=(size_px / 100, size_px / 100), dpi=100, layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.add_subplot(
        aspect="equal", xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall", ylabel="precision"
    )
    axes.set_title(title, loc="left")
    for i, (name, (precision, recall)) in enumerate(curves.items()):
        axes.plot(recall, precision, label=name, color=color(i), linestyle=_MPL_DASHES[dash(i)], linewidth=2)
    axes.grid(visible=True, color="#e6e8ec")
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        axes.legend(loc="lower left", frameon=False)
    buffer = io.BytesIO()
    stamp = "Date" if form == "svg" else "Software"
    with matplotlib.rc_context({"svg.hashsalt": "d2n"}):
        fig.savefig(buffer, format=form, metadata={stamp: None})  # same numbers, same bytes
    return buffer.getvalue()


def history(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str = "Losses",
    x: str = "step",
    y: str = "",
    log_y: bool = False,
    floor: float | None = None,
) -> go.Figure:
    """Losses or scores over steps or epochs: name → (steps, values); values that are not finite leave gaps.

    ``floor`` draws the score of real images against real ones.
    """
    fig = figure(title, x, y)
    for i, (name, (steps, values)) in enumerate(series.items()):
        fig.add_trace(go.Scatter(x=list(steps), y=_gaps(values), name=name, mode="lines", line=_line(i)))
        if len(steps) < 40:
            fig.data[-1].mode = "lines+markers"
    if floor is not None:
        fig.add_hline(y=floor, line={"dash": "dot", "color": COLORS[-1]}, annotation_text="real against real")
    fig.update_yaxes(type="log" if log_y else "linear")
    fig.update_layout(showlegend=len(series) > 1)
    return fig


def score_bars(scores: Mapping[str, Score], *, title: str = "") -> go.Figure:
    """One score of several runs with its intervals and its floor; run name → Score.

    The whiskers are the 95 % interval, else twice the deviation. Refuses different protocols
    (ProtocolMismatchError) and different scores (D2NError).
    """
    require_one_protocol([score.protocol for score in scores.values()], "plot")
    names = sorted({score.name for score in scores.values()})
    if len(names) != 1:
        raise D2NError(f"bars of {', '.join(names) or 'no scores'}; expected one score of one or more runs")
    below, above = zip(*(whiskers(score) for score in scores.values()), strict=True)
    values = [score.value for score in scores.values()]
    fig = figure(title or names[0], "", names[0])
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": "#22252b"}
    error |= {"width": 0}  # without caps: an unknown spread draws nothing
    fig.add_trace(
        go.Bar(x=list(scores), y=_gaps(values), error_y=error, marker_color=COLORS[0], name=names[0])
    )
    floors = [score.floor for score in scores.values()]
    if any(floor is not None for floor in floors):
        marker = {"symbol": "line-ew-open", "size": 30, "color": COLORS[1], "line": {"width": 3}}
        fig.add_trace(
            go.Scatter(x=list(scores), y=floors, mode="markers", marker=marker, name="real against real")
        )
    return fig


def whiskers(score: Score) -> tuple[float, float]:
    """How far the 95 % interval, else twice the deviation, reaches below and above; zeros if unknown."""
    if score.interval is not None:
        return max(score.value - score.interval[0], 0.0), max(score.interval[1] - score.value, 0.0)
    return (2 * score.std, 2 * score.std) if score.std is not None else (0.0, 0.0)


def _line(index: int) -> dict[str, object]:
    return {"color": color(index), "dash": dash(index), "width": 2.5}


def _gaps(values: Sequence[float]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _check_curves(curves: Curves) -> None:
    if not curves:
        raise D2NError("no PRD curve to draw; score a run with `d2n score RUN_ID` first")
    for name, (precision, recall) in curves.items():
        if len(precision) != len(recall) or len(precision) == 0:
            raise D2NError(
                f"PRD curve {name!r} has {len(precision)} precision and {len(recall)} recall values; "
                "expected as many of both, at least one"
            )
