"""Which generator becomes a data set's champion: pure, candidates in, a decision with its reasons out."""

from d2n.promotion.budget import Split, part_of, reuse_bias, split
from d2n.promotion.comparing import Resampled, compare, detectable
from d2n.promotion.metrics import (
    Constraint,
    Metric,
    lower_is_better,
    parse_constraints,
    parse_metrics,
    weighted_ranks,
)
from d2n.promotion.rule import Found, by_validation, decide, exceeds_noise, is_champions, unusable
from d2n.promotion.values import Candidate, Comparison, Decision, LeftOut
from d2n.promotion.wording import nobody

__all__ = [
    "Candidate",
    "Comparison",
    "Constraint",
    "Decision",
    "Found",
    "LeftOut",
    "Metric",
    "Resampled",
    "Split",
    "by_validation",
    "compare",
    "decide",
    "detectable",
    "exceeds_noise",
    "is_champions",
    "lower_is_better",
    "nobody",
    "parse_constraints",
    "parse_metrics",
    "part_of",
    "reuse_bias",
    "split",
    "unusable",
    "weighted_ranks",
]
