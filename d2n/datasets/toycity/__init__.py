"""The toy city: a rendered day and night world of streets, the embedded default data set."""

from d2n.datasets.toycity.making import RENDERER, make, make_oracle, photograph
from d2n.datasets.toycity.plan import SPLITS, Job, Shot, benchmark, plan
from d2n.datasets.toycity.view import IMAGE_SIZE_PX

__all__ = [
    "IMAGE_SIZE_PX",
    "RENDERER",
    "SPLITS",
    "Job",
    "Shot",
    "benchmark",
    "make",
    "make_oracle",
    "photograph",
    "plan",
]
