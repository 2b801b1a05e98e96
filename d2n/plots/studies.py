"""Figures of a study, from its trials as plain values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from d2n.errors import D2NError
from d2n.plots.style import COLORS, GREY, SEQUENTIAL, TEMPLATE, figure, translucent

Direction = Literal["minimize", "maximize"]
STATE_COLORS = {
    "COMPLETE": COLORS[0],
    "PRUNED": COLORS[4],
    "FAIL": COLORS[1],
    "RUNNING": COLORS[2],
    "WAITING": GREY,
}


@dataclass(frozen=True)
class Span:
    """A stretch of work on a trial: one attempt by one worker."""

    worker: str
    start: datetime
    end: datetime | None = None  # None: still at it
    attempt: int = 1


@dataclass(frozen=True)
class TrialPoint:
    """A trial as the figures need it."""

    number: int
    state: str  # COMPLETE, PRUNED, FAIL, RUNNING, WAITING
    values: tuple[float, ...] = ()  # one an objective; of a pruned trial the last seen; empty: none yet
    params: Mapping[str, Any] = field(default_factory=dict)
    std: float | None = None  # of the first objective over seeds
    intermediate: Mapping[int, float] = field(default_factory=dict)  # epoch → first objective
    spans: tuple[Span, ...] = ()


def best_so_far(values: Sequence[float | None], direction: Direction = "minimize") -> list[float | None]:
    """The best value up to each trial; None until the first finite one."""
    best: float | None = None
    so_far: list[float | None] = []
    for value in values:
        if value is not None and math.isfinite(value) and (best is None or _better(value, best, direction)):
            best = value
        so_far.append(best)
    return so_far


def optimization_history(
    trials: Sequence[TrialPoint],
    *,
    name: str = "fid",
    direction: Direction = "minimize",
    floor: float | None = None,
    noise: float | None = None,
) -> go.Figure:
    """Every trial's value, the best so far, and what is noise.

    ``floor``: the score of real images against real ones, below which nothing is to be won.
    ``noise``: the deviation over seeds; the band around the leader in which no trial is told apart from it.
    """
    trials = sorted(trials, key=lambda t: t.number)
    fig = figure("Optimization history", "trial", name)
    _whole_ticks(fig, [t.number for t in trials])
    for state in STATE_COLORS:
        _add_values(fig, [t for t in trials if t.state == state and _value(t) is not None], state)
    best = best_so_far([_value(t) if t.state == "COMPLETE" else None for t in trials], direction)
    line = {"color": COLORS[-1], "width": 2, "shape": "hv"}
    numbers = [t.number for t in trials]
    fig.add_trace(go.Scatter(x=numbers, y=best, mode="lines", line=line, name="best so far"))
    if floor is not None:
        fig.add_hline(y=floor, line={"dash": "dot", "color": GREY}, annotation_text="real against real")
    if noise is not None and best and best[-1] is not None:
        band = {"fillcolor": translucent(COLORS[2], 0.15), "line_width": 0}
        text = "within noise of the best"
        fig.add_hrect(y0=best[-1] - noise, y1=best[-1] + noise, annotation_text=text, **band)
    return fig


def importances(values: Mapping[str, float], *, name: str = "fid") -> go.Figure:
    """How much each dimension moves the objective, given as numbers; the largest on top."""
    order = sorted(values, key=lambda key: (values[key], key))
    fig = figure(f"Importance for {name}", "importance", "", height=120 + 34 * len(order))
    shares = [values[key] for key in order]
    text = [f"{share:.2f}" for share in shares]
    fig.add_trace(go.Bar(x=shares, y=order, orientation="h", marker_color=COLORS[0], text=text))
    return fig


def parallel_coordinates(
    trials: Sequence[TrialPoint],
    *,
    name: str = "fid",
    direction: Direction = "minimize",
    log_dims: Collection[str] = (),
) -> go.Figure:
    """One line a trial through its params to its value; dimensions of ``log_dims`` on their log10.

    Pruned trials take part with their last value. A param that a trial lacks (a conditional dimension)
    lies below the axis's range at the tick "none".
    """
    shown = [t for t in trials if _value(t) is not None]
    fig = figure("Parallel coordinates", height=460)
    if not shown:
        return _note(fig, "no trial has a value yet")
    values = [_required(t) for t in shown]
    dimensions = [
        _dimension(key, [t.params.get(key) for t in shown], key in log_dims) for key in _params(shown)
    ]
    line = {
        "color": values,
        "colorscale": SEQUENTIAL,
        "reversescale": direction == "minimize",  # the best are the brightest
        "showscale": True,
        "colorbar": {"title": {"text": name}},
    }
    fig.add_trace(go.Parcoords(line=line, dimensions=[*dimensions, {"label": name, "values": values}]))
    return fig.update_layout(margin={"l": 110, "r": 60, "t": 110, "b": 40})


def slices(trials: Sequence[TrialPoint], *, name: str = "fid", log_dims: Collection[str] = ()) -> go.Figure:
    """The value against each param, coloured by the trial's number: darker is later."""
    shown = [t for t in trials if _value(t) is not None]
    keys = _params(shown)
    if not keys:
        return _note(figure("Slices"), "no trial has a value yet")
    fig = make_subplots(rows=1, cols=len(keys), shared_yaxes=True, horizontal_spacing=0.03)
    for column, key in enumerate(keys, start=1):
        having = [t for t in shown if t.params.get(key) is not None]
        raw = [t.params[key] for t in having]
        x = raw if all(_is_number(value) for value in raw) else [str(value) for value in raw]
        marker = {
            "color": [t.number for t in having],
            "colorscale": SEQUENTIAL,
            "reversescale": True,
            "size": 9,
        }
        marker |= {"showscale": column == len(keys), "colorbar": {"title": {"text": "trial"}}}
        text = [f"trial {t.number}" for t in having]
        points = go.Scatter(x=x, y=[_value(t) for t in having], mode="markers", marker=marker, text=text)
        fig.add_trace(points, row=1, col=column)
        fig.update_xaxes(title_text=key, type="log" if key in log_dims else None, row=1, col=column)
    fig.update_yaxes(title_text=name, col=1)
    width = max(500, 280 * len(keys))
    return fig.update_layout(
        template=TEMPLATE, title_text="Slices", showlegend=False, height=420, width=width
    )


def intermediate_values(trials: Sequence[TrialPoint], *, name: str = "fid", x: str = "epoch") -> go.Figure:
    """Each trial's value over its epochs; the pruned end early."""
    fig = figure("Intermediate values", x, name)
    _whole_ticks(fig, [step for trial in trials for step in trial.intermediate])
    for trial in sorted(trials, key=lambda t: t.number):
        if not trial.intermediate:
            continue
        steps = sorted(trial.intermediate)
        width = 2 if trial.state == "COMPLETE" else 1
        line = {"color": STATE_COLORS.get(trial.state, GREY), "width": width}
        y = [trial.intermediate[step] for step in steps]
        label = f"{trial.number} {trial.state.lower()}"
        fig.add_trace(go.Scatter(x=steps, y=y, mode="lines+markers", line=line, name=label, opacity=0.8))
    return fig if fig.data else _note(fig, "no trial has reported a value yet")


def pareto_front(points: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[int]:
    """Indices of the points that no other beats in all objectives; equal points are all kept."""
    signed = [[v if d == "minimize" else -v for v, d in zip(p, directions, strict=True)] for p in points]
    return [i for i, p in enumerate(signed) if not any(_dominates(q, p) for q in signed)]


def pareto_figure(
    trials: Sequence[TrialPoint], *, names: Sequence[str], directions: Sequence[Direction]
) -> go.Figure:
    """Two objectives against each other, the front joined; D2NError for another number of objectives."""
    if len(names) != 2 or len(directions) != 2:
        raise D2NError(f"a Pareto figure of {len(names)} objectives; expected two")
    shown = [t for t in trials if t.state == "COMPLETE" and len(t.values) == 2]
    front = {shown[i].number for i in pareto_front([t.values for t in shown], directions)}
    fig = figure("Pareto front", names[0], names[1])
    rest = [t for t in shown if t.number not in front]
    best = sorted((t for t in shown if t.number in front), key=lambda t: t.values)
    for group, label, tint, mode in (
        (rest, "others", GREY, "markers"),
        (best, "front", COLORS[0], "lines+markers"),
    ):
        x, y = [t.values[0] for t in group], [t.values[1] for t in group]
        text = [f"trial {t.number}" for t in group]
        marker = {"size": 10, "color": tint}
        fig.add_trace(go.Scatter(x=x, y=y, mode=mode, name=label, marker=marker, text=text, line_dash="dot"))
    return fig if shown else _note(fig, "no trial has both objectives yet")


def timeline(trials: Sequence[TrialPoint], *, now: datetime | None = None) -> go.Figure:
    """Who worked on what and when: a row a worker, a bar an attempt, its colour the trial's state.

    Spans without an end reach to ``now`` (None: they are left out).
    """
    spans = [(t, s, s.end or now) for t in trials for s in t.spans if s.end or now]
    workers = sorted({s.worker for _, s, _ in spans})
    fig = figure("Timeline of workers", "", "", barmode="overlay", height=140 + 42 * len(workers))
    for state in STATE_COLORS:
        bars = [(t, s, end) for t, s, end in spans if t.state == state and end is not None]
        if bars:
            fig.add_trace(
                go.Bar(
                    base=[s.start for _, s, _ in bars],
                    x=[(end - s.start).total_seconds() * 1000 for _, s, end in bars],
                    y=[s.worker for _, s, _ in bars],
                    text=[
                        f"{t.number}" + (f" (attempt {s.attempt})" if s.attempt > 1 else "")
                        for t, s, _ in bars
                    ],
                    orientation="h",
                    marker={"color": STATE_COLORS[state], "line": {"color": "white", "width": 1}},
                    name=state.lower(),
                )
            )
    fig.update_xaxes(type="date")
    return fig if spans else _note(fig, "no worker has started a trial yet")


def _better(a: float, b: float, direction: Direction) -> bool:
    return a < b if direction == "minimize" else a > b


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def _value(trial: TrialPoint) -> float | None:
    return trial.values[0] if trial.values and math.isfinite(trial.values[0]) else None


def _required(trial: TrialPoint) -> float:
    value = _value(trial)
    return math.nan if value is None else value


def _params(trials: Sequence[TrialPoint]) -> list[str]:
    return list(dict.fromkeys(key for trial in trials for key in trial.params))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _add_values(fig: go.Figure, trials: Sequence[TrialPoint], state: str) -> None:
    if not trials:
        return
    error = {"type": "data", "array": [t.std or 0.0 for t in trials], "thickness": 1, "color": GREY}
    error |= {"width": 0}  # without caps: an unknown deviation draws nothing
    marker = {
        "size": 9,
        "color": STATE_COLORS[state],
        "symbol": "circle" if state == "COMPLETE" else "x-thin-open",
    }
    if state != "COMPLETE":
        marker["line"] = {"width": 2}
    x, y = [t.number for t in trials], [_value(t) for t in trials]
    points = go.Scatter(x=x, y=y, mode="markers", marker=marker, name=state.lower())
    fig.add_trace(points.update(error_y=error) if any(t.std for t in trials) else points)


def _dimension(label: str, raw: Sequence[Any], log: bool) -> dict[str, Any]:
    present = [value for value in raw if value is not None]
    if not all(_is_number(value) for value in present):
        return _categories(label, raw)
    numbers = [math.log10(value) if log else float(value) for value in present]
    low, high = min(numbers), max(numbers)
    ticks = _log_ticks(low, high) if log else _ticks(low, high)
    text = [f"{10**tick:.3g}" if log else f"{tick:.4g}" for tick in ticks]
    values = [None if value is None else math.log10(value) if log else float(value) for value in raw]
    if len(present) < len(raw):
        absent = low - 0.15 * ((high - low) or 1.0)
        values = [absent if value is None else value for value in values]
        ticks, text, low = [absent, *ticks], ["none", *text], absent
    pad = 0.5 if high == low else 0.0
    range_ = [low - pad, high + pad]
    return {"label": label, "values": values, "tickvals": ticks, "ticktext": text, "range": range_}


def _categories(label: str, raw: Sequence[Any]) -> dict[str, Any]:
    names = ["none" if value is None else str(value) for value in raw]
    codes = {name: i for i, name in enumerate(sorted(set(names)))}
    return {
        "label": label,
        "values": [codes[name] for name in names],
        "tickvals": list(codes.values()),
        "ticktext": list(codes),
        "range": [-0.3, len(codes) - 0.7],
    }


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    return [low] if low == high else [low + (high - low) * i / (count - 1) for i in range(count)]


def _log_ticks(low: float, high: float) -> list[float]:
    whole = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
    return whole if len(whole) >= 2 else _ticks(low, high)


def _whole_ticks(fig: go.Figure, numbers: Sequence[int]) -> None:
    """Ticks of an axis that counts: whole numbers alone."""
    span = max(numbers, default=0) - min(numbers, default=0)
    steps = [factor * 10**power for power in range(12) for factor in (1, 2, 5)]
    fig.update_xaxes(tick0=0, dtick=next(step for step in steps if step * 10 >= span), tickformat="d")


def _note(fig: go.Figure, text: str) -> go.Figure:
    fig.add_annotation(
        text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"color": GREY}
    )
    return fig
