"""Learning rate schedules: pure functions of the step, so that a resumed run needs no state of them."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def lr_factor(schedule: Schedule, step: int, total_steps: int, decay_start: float) -> float:
    """What the learning rate is multiplied by in step ``step`` (from 0).

    1 until ``decay_start`` (a share of all steps); then to 0 at ``total_steps``, on a line (Zhu et al. 2017,
    7.1) or half a cosine (Loshchilov and Hutter 2017).
    """
    start = decay_start * total_steps
    if schedule == "constant" or step < start:
        return 1.0
    progress = min((step - start) / max(total_steps - start, 1), 1.0)
    return 1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
