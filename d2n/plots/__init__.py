"""Figures: pure functions from numbers to plotly figures, and one to a PNG; nothing here reads a store."""

from d2n.plots.correlation import RankCorrelation, rank_correlation, spearman
from d2n.plots.graph import Arrow, Box, lineage
from d2n.plots.picture import pictures
from d2n.plots.report import map_bars, score_against_map
from d2n.plots.scores import history, prd_curves, prd_picture, score_bars
from d2n.plots.studies import (
    Direction,
    Span,
    TrialPoint,
    best_so_far,
    importances,
    intermediate_values,
    optimization_history,
    parallel_coordinates,
    pareto_figure,
    pareto_front,
    slices,
    timeline,
)
from d2n.plots.style import COLORS, to_html, write_html

__all__ = [
    "COLORS",
    "Arrow",
    "Box",
    "Direction",
    "RankCorrelation",
    "Span",
    "TrialPoint",
    "best_so_far",
    "history",
    "importances",
    "intermediate_values",
    "lineage",
    "map_bars",
    "optimization_history",
    "parallel_coordinates",
    "pareto_figure",
    "pareto_front",
    "pictures",
    "prd_curves",
    "prd_picture",
    "rank_correlation",
    "score_against_map",
    "score_bars",
    "slices",
    "spearman",
    "timeline",
    "to_html",
    "write_html",
]
