"""A figure as SVG or PNG for a paper, drawn from the same plotly figure without a browser."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from d2n.plots.style import COLORS, GREY

Form = Literal["svg", "png"]
_DASHES: dict[str, Any] = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
_DPI = 100
_LONG_LABEL = 14  # characters of a category's name, from which names are written aslant


def pictures(
    fig: go.Figure, forms: Sequence[Form] = ("svg", "png"), *, width_px: int = 900, height_px: int = 560
) -> dict[Form, bytes]:
    """Bars, lines, points and parallel coordinates of a figure in each form; the same figure, the same bytes."""
    # matplotlib, for plotly's own export starts a browser; imported late, for that takes half a second
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(drawn)
    _draw(drawn, fig)
    saved: dict[Form, bytes] = {}
    for form in forms:
        buffer = io.BytesIO()
        stamp = "Date" if form == "svg" else "Software"
        with matplotlib.rc_context({"svg.hashsalt": "d2n"}):
            drawn.savefig(buffer, format=form, metadata={stamp: None})
        drawn.set_layout_engine("none")  # the places are found: they need not be again
        saved[form] = buffer.getvalue()
    return saved


def _draw(drawn: Any, fig: go.Figure) -> None:
    axes = drawn.add_subplot()
    bars = [trace for trace in fig.data if trace.type == "bar"]
    for number, trace in enumerate(bars):
        _draw_bars(axes, trace, number, len(bars))
    for trace in fig.data:
        if trace.type == "scatter":
            _draw_points(axes, trace)
        elif trace.type == "parcoords":
            _draw_parallel(drawn, axes, trace)
    _finish(axes, fig)


def _draw_bars(axes: Any, trace: Any, number: int, count: int) -> None:
    tint = _plain(trace.marker.color) or COLORS[0]
    if trace.orientation == "h":
        axes.barh([_escaped(name) for name in trace.y], _numbers(trace.x), color=tint)
        return
    width = 0.8 / count
    at = np.arange(len(trace.x)) + (number - (count - 1) / 2) * width
    heights, errors = _numbers(trace.y), trace.error_y.array
    axes.bar(at, heights, width=width, color=tint, label=_escaped(trace.name))
    for x, y, error in zip(at, heights, errors if errors is not None else (), strict=False):
        if error:
            axes.errorbar([x], [y], yerr=[error], color="#22252b", capsize=3)
    labels = [_escaped(name) for name in trace.x]
    slanted = max(map(len, labels), default=0) > _LONG_LABEL and len(labels) > 3
    axes.set_xticks(
        np.arange(len(labels)), labels, rotation=20 if slanted else 0, ha="right" if slanted else "center"
    )


def _draw_points(axes: Any, trace: Any) -> None:
    mode = trace.mode or "lines"
    tint = _plain(trace.line.color if "lines" in mode else None) or _plain(trace.marker.color) or COLORS[0]
    style = _DASHES.get(trace.line.dash or "solid", "-") if "lines" in mode else "none"
    symbol = str(trace.marker.symbol or "circle")
    marker = ("x" if symbol.startswith("x") else "o") if "markers" in mode else None
    steps = "steps-post" if trace.line.shape == "hv" else "default"
    y = _numbers(trace.y)
    axes.plot(
        list(trace.x),
        y,
        color=tint,
        linestyle=style,
        marker=marker,
        linewidth=2,
        drawstyle=steps,
        label=_escaped(trace.name),
    )
    errors = trace.error_y.array
    if errors is not None and any(error for error in errors):
        axes.errorbar(list(trace.x), y, yerr=[error or 0.0 for error in errors], fmt="none", ecolor=GREY)
    if "text" in mode:
        for x, height, text in zip(trace.x, y, trace.text or (), strict=False):
            axes.annotate(_escaped(text), (x, height), textcoords="offset points", xytext=(0, 8), ha="center")


def _draw_parallel(drawn: Any, axes: Any, trace: Any) -> None:
    """A line a trial over axes that each reach from 0 to 1, their ends written at them."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    columns = [np.asarray(_numbers(one["values"]), dtype=float) for one in trace.dimensions]
    spans = [_span(one, column) for one, column in zip(trace.dimensions, columns, strict=True)]
    heights = np.stack(
        [(column - low) / (high - low) for column, (low, high) in zip(columns, spans, strict=True)]
    )
    values = np.asarray(_numbers(trace.line.color), dtype=float)
    colors = ScalarMappable(
        Normalize(values.min(), values.max()), "cividis_r" if trace.line.reversescale else "cividis"
    )
    for line, tint in zip(heights.T, colors.to_rgba(values), strict=True):
        axes.plot(range(len(columns)), line, color=tint, linewidth=1.5, alpha=0.8)
    drawn.colorbar(colors, ax=axes, label=_escaped(trace.line.colorbar.title.text))
    for x, (one, (low, high)) in enumerate(zip(trace.dimensions, spans, strict=True)):
        axes.axvline(x, color="#5b6069", linewidth=1)
        marked = one["tickvals"] if one["tickvals"] is not None else (low, high)
        texts = one["ticktext"] if one["ticktext"] is not None else [f"{tick:.4g}" for tick in marked]
        for tick, text in zip(marked, texts, strict=True):
            axes.annotate(
                _escaped(text),
                (x, (tick - low) / (high - low)),
                textcoords="offset points",
                xytext=(4, 0),
                fontsize=8,
                va="center",
            )
    axes.set_xticks(range(len(columns)), [_escaped(one["label"]) for one in trace.dimensions])
    axes.set_yticks([])


def _span(dimension: Any, column: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = dimension["range"] or (float(np.nanmin(column)), float(np.nanmax(column)))
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def _finish(axes: Any, fig: go.Figure) -> None:
    """Titles, ranges, scales, the legend, and as much frame as is needed."""
    from matplotlib.ticker import MaxNLocator

    layout = fig.layout
    axes.set_title(_escaped((layout.title.text or "").split("<br>")[0]), loc="left")
    axes.set_xlabel(_escaped(layout.xaxis.title.text))
    axes.set_ylabel(_escaped(layout.yaxis.title.text))
    if layout.xaxis.range is not None:
        axes.set_xlim(*layout.xaxis.range)
    if layout.yaxis.range is not None:
        axes.set_ylim(*layout.yaxis.range)
    if layout.yaxis.type == "log":
        axes.set_yscale("log")
    if layout.xaxis.tickformat == "d":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if layout.yaxis.scaleanchor:
        axes.set_aspect("equal")
    if fig.data and fig.data[0].type != "parcoords":
        axes.grid(visible=True, color="#e6e8ec")
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    named = [label for label in axes.get_legend_handles_labels()[1] if label]
    if len(named) > 1:
        axes.legend(frameon=False)


def _numbers(values: Any) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _plain(color: Any) -> str | None:
    """A colour that is one; None for a list of them, or none."""
    return color if isinstance(color, str) else None


def _escaped(text: object) -> str:
    """A name as it is written: matplotlib reads what stands between dollars as mathematics."""
    return "" if text is None else str(text).replace("$", r"\$")
