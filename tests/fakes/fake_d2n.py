"""d2n's own command line in a process of its own, whose trials train nothing: ``python fake_d2n.py search …``."""

from __future__ import annotations

import signal
import sys
from typing import Any

if __name__ == "__main__":  # the fakes load what d2n itself loads later, when it listens for signals
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    from fake_training import FAKE

    from d2n.cli import main
    from d2n.workflows import kinds

    class _Fakes(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            return super().__getitem__(name)

    kinds.KINDS = _Fakes({**kinds.KINDS, "translation": FAKE})
    main(sys.argv[1:])
