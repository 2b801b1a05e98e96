"""Measures each new champion: listens to MLflow's webhook, checks its signature, runs one retrieval arm a champion.

D2N_WEBHOOK_SECRET=… python docs/receiver.py d2n-toycity EXPERIMENT.yaml 8787
"""

import base64
import hashlib
import hmac
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from d2n.errors import D2NError
from d2n.workflows.champion import measure_champions

wake, secret = threading.Event(), os.environ.get("D2N_WEBHOOK_SECRET", "")


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; the arm runs beside it, and a second word of the same champion starts no other."""

    def do_POST(self) -> None:
        """204 for what is signed and new, 403 for anything else."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20))
        at, delivery = (self.headers.get(f"X-MLflow-{part}", "") for part in ("Timestamp", "Delivery-Id"))
        made = hmac.new(secret.encode(), f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
        is_signed = hmac.compare_digest(
            self.headers.get("X-MLflow-Signature", "").encode(), b"v1," + base64.b64encode(made)
        )
        is_new = at.isdecimal() and abs(time.time() - int(at)) < 300  # an old one may be played again
        is_believed = bool(secret) and is_signed and is_new
        if is_believed:
            wake.set()
        self.send_response(204 if is_believed else 403)
        self.end_headers()


def main(model: str, experiment: str, port: int) -> None:
    """Serve for ever; what was missed while nobody listened is done first."""
    server = HTTPServer(("127.0.0.1", port), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wake.set()
    while wake.wait():
        wake.clear()
        try:
            measure_champions(model, experiment)
        except D2NError as error:  # no champion yet, a store that is away: the next word tries again
            print(error, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
