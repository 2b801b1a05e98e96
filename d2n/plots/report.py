"""Figures that compare arms: mAP bars, and a score against mAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from d2n.core import ScoreProtocol, require_one_protocol
from d2n.errors import D2NError
from d2n.plots.correlation import RankCorrelation
from d2n.plots.style import COLORS, color, figure


def map_bars(
    arms: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float | None] | None]],
    *,
    title: str = "mAP without and with night augmentation",
    y: str = "mAP [%]",
) -> go.Figure:
    """Grouped bars: for each benchmark the mAP (in percent) of each arm, whiskers one deviation over seeds.

    ``series`` maps a benchmark to one (mean, deviation or None) an arm, None where it was not measured.
    """
    for name, cells in series.items():
        if len(cells) != len(arms):
            raise D2NError(f"{name} has {len(cells)} values for {len(arms)} arms; expected one an arm")
    fig = figure(title, "", y, barmode="group")
    for i, (name, cells) in enumerate(series.items()):
        means = [None if cell is None else cell[0] for cell in cells]
        deviations = [0.0 if cell is None or cell[1] is None else cell[1] for cell in cells]
        # without caps, so that a deviation of 0, of one seed, draws nothing
        error = {"type": "data", "array": deviations, "color": "#22252b", "width": 0}
        text = ["" if mean is None else f"{mean:.1f}" for mean in means]
        fig.add_trace(
            go.Bar(
                x=list(arms),
                y=means,
                error_y=error if any(deviations) else None,
                name=name,
                marker_color=color(i),
                text=text,
                textposition="inside",
            )
        )
    return fig


def score_against_map(
    scores: Sequence[float],
    maps: Sequence[float],
    labels: Sequence[str],
    *,
    score_name: str,
    map_name: str,
    correlation: RankCorrelation | None = None,
    protocols: Sequence[ScoreProtocol] = (),
) -> go.Figure:
    """A score against mAP, one labelled point a generator, with the rank correlation in the title.

    Give the scores' ``protocols`` to have a mixture refused (ProtocolMismatchError).
    """
    require_one_protocol(protocols, "plot")
    if not len(scores) == len(maps) == len(labels):
        raise D2NError(
            f"{len(scores)} scores, {len(maps)} mAPs and {len(labels)} labels; expected as many of each"
        )
    title = f"{map_name} against {score_name}"
    if correlation is not None:
        title += f"<br><sup>Spearman {correlation.describe()}</sup>"
    fig = figure(title, score_name, f"{map_name} [%]")
    fig.add_trace(
        go.Scatter(
            x=list(scores),
            y=list(maps),
            text=list(labels),
            mode="markers+text",
            textposition="top center",
            marker={"size": 11, "color": COLORS[0]},
            cliponaxis=False,
        )
    )
    return fig
