"""optuna-dashboard on a study storage: ``python -m d2n.studies.dashboard HOST PORT``, the storage in the environment.

Its address may hold a password: as an argument every user of the machine could read it.
"""

from __future__ import annotations

import logging
import os
import sys

from d2n.studies.storage import storage_url


def serve(host: str, port: int) -> None:
    """Serve the studies of D2N_STUDY_STORAGE until the process ends; needs the extra ``dashboard``."""
    from optuna_dashboard import run_server

    logging.getLogger("bottle").setLevel(logging.WARNING)
    run_server(storage_url(os.environ["D2N_STUDY_STORAGE"]), host=host, port=port)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
