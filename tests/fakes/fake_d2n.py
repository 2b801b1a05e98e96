"""d2n's own command line in a process of its own, whose trials train nothing: ``python fake_d2n.py search …``."""

from __future__ import annotations

import sys

from fake_training import FAKE

from d2n.cli import main
from d2n.workflows import kinds

if __name__ == "__main__":
    kinds.KINDS = {**kinds.KINDS, "translation": FAKE}
    main(sys.argv[1:])
