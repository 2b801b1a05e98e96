"""Day-to-night image translation as data augmentation for image retrieval."""

import os
import sys

__version__ = "0.1.0"


def _bound_waiting() -> None:
    """Let torch's threads sleep soon when they wait for each other, before torch loads.

    Beside another busy process the default's long spinning costs many times a step
    (benchmarks/test_shared_machine.py). Whoever sets one of the two variables decides.
    """
    if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "10000"


_bound_waiting()
