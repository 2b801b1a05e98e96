"""Logged models: what they may hold (description, archive, program), how they are read and written."""

from d2n.tracking.models.description import DESCRIPTION, EXPORTED, EXTRA_FILES, metadata
from d2n.tracking.models.reading import (
    CHECK_BATCHES,
    CHECK_SIZES,
    Network,
    check_folder,
    check_safe,
    input_range,
    load_folder,
    make_safe,
    require_safe,
    run_fresh,
)
from d2n.tracking.models.writing import default_requirements, log_model

__all__ = [
    "CHECK_BATCHES", "CHECK_SIZES", "DESCRIPTION", "EXPORTED", "EXTRA_FILES", "Network", "check_folder", "check_safe",
    "default_requirements", "input_range", "load_folder", "log_model", "make_safe", "metadata", "require_safe",
    "run_fresh",
]  # fmt: skip
