"""A tracking server that goes away on command: refuses, hangs, cuts, answers 500 or rubbish, loses its answers.

Behind it stands ``Memory``, which speaks as much of MLflow's REST as a run needs and keeps every point it is sent,
one that it has already too.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

Mode = Literal["well", "hang", "500", "cut", "rubbish", "html", "other json", "lose"]
Answer = tuple[int, bytes]
Backend = Callable[[str, str, bytes, str], Answer]
_JSON = "application/json"


class AwayServer:
    """Serves a backend on 127.0.0.1 as ``mode`` says; ``down`` refuses connections until ``up``."""

    def __init__(self, backend: Backend) -> None:
        self.mode: Mode = "well"
        self.backend = backend
        self.num_requests = 0
        self._over = threading.Event()
        self._server = self._listening(0)
        self.port = int(self._server.server_port)
        self.uri = f"http://127.0.0.1:{self.port}"

    def down(self) -> None:
        """Nobody listens."""
        self._server.shutdown()
        self._server.server_close()

    def up(self) -> None:
        """Listen again at the same address, and well."""
        self.mode = "well"
        self._server = self._listening(self.port)

    def close(self) -> None:
        self._over.set()
        self.down()

    def _listening(self, port: int) -> http.server.ThreadingHTTPServer:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                outer._answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.num_requests += 1
        body = _body(handler)
        mode = self.mode
        if mode == "hang":
            while self.mode == "hang" and not self._over.wait(0.02):
                pass
        if mode in ("hang", "cut"):
            handler.close_connection = True
            return
        if mode in ("well", "lose"):
            kind = handler.headers.get("Content-Type", _JSON)
            status, content = self.backend(handler.command, handler.path, body, kind)
            if mode == "lose":
                handler.close_connection = True
                return
        else:
            status, content = {
                "500": (500, b"Internal Server Error"),
                "rubbish": (200, b"\x00\xff\xfe{[not json"),
                "html": (404, b"<html><body>no such page\n<p>really</body></html>"),
                "other json": (200, b'{"run": 7, "metrics": "none", "files": 3, "experiments": "x"}'),
            }[mode]
        try:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:  # whoever asked is gone
            return


class Memory:
    """As much of MLflow's REST as one run needs; metrics in the order in which they came, twice where twice sent."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.points: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.refused_tag = ""  # a batch with this tag is refused for good
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str, body: bytes, kind: str) -> Answer:
        with self._lock:
            place = urlsplit(path)
            if "/mlflow-artifacts/artifacts" in place.path:
                return self._artifact(method, place.path, place.query, body)
            query = {key: values[0] for key, values in parse_qs(place.query).items()}
            given = json.loads(body) if body else query
            return self._api(place.path.rpartition("/mlflow/")[2], given)

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """(step, value) of a metric, as they came."""
        return [(int(p["step"]), float(p["value"])) for p in self.points[run_id] if p["key"] == key]

    def histories(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Of all metrics, by step."""
        keys = {point["key"] for point in self.points[run_id]}
        return {key: sorted(self.history(run_id, key)) for key in keys}

    def tags(self, run_id: str) -> dict[str, str]:
        return dict(self.runs[run_id]["tags"])

    def _artifact(self, method: str, path: str, query: str, body: bytes) -> Answer:
        name = unquote(path.partition("/mlflow-artifacts/artifacts")[2]).strip("/")
        if method == "PUT":
            self.files[name] = body
            return 200, b"{}"
        if name:
            return (200, self.files[name]) if name in self.files else (404, b"{}")
        above = unquote(parse_qs(query).get("path", [""])[0]).strip("/")
        listed = [one for one in self.files if one.startswith(f"{above}/")]
        found = [{"path": one.removeprefix(f"{above}/"), "is_dir": False, "file_size": 1} for one in listed]
        return _json({"files": [one for one in found if "/" not in str(one["path"])]})

    def _api(self, what: str, given: dict[str, Any]) -> Answer:
        if what.startswith("experiments/"):
            one = {
                "experiment_id": "1",
                "name": "d2n/a",
                "lifecycle_stage": "active",
                "artifact_location": "x",
            }
            return _json({"experiments": [one]} if what.endswith("search") else {"experiment": one})
        if what == "runs/create":
            return self._create(given)
        if what == "runs/search":
            return _json({"runs": [self._told(run_id) for run_id in self.runs]})
        if what == "logged-models/search":
            return _json({"models": []})
        run_id = given.get("run_id") or given.get("run_uuid", "")
        if run_id not in self.runs:
            return _json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no run {run_id}"}, 404)
        if what == "runs/get":
            return _json({"run": self._told(run_id)})
        if what == "metrics/get-history":
            found = [point for point in self.points[run_id] if point["key"] == given["metric_key"]]
            return _json({"metrics": found})
        return self._write(what, run_id, given)

    def _write(self, what: str, run_id: str, given: dict[str, Any]) -> Answer:
        run, tags = self.runs[run_id], {tag["key"]: tag["value"] for tag in given.get("tags", ())}
        if self.refused_tag and self.refused_tag in tags:
            return _json({"error_code": "INVALID_PARAMETER_VALUE", "message": "never"}, 400)
        if what == "runs/update":
            run |= {key: given[key] for key in ("status", "end_time") if key in given}
        elif what == "runs/set-tag":
            run["tags"][given["key"]] = given["value"]
        elif what == "runs/log-batch":
            self.points[run_id] += given.get("metrics", [])
            run["params"] |= {param["key"]: param["value"] for param in given.get("params", ())}
            run["tags"] |= tags
        elif what == "runs/log-inputs":
            run["inputs"] = given
        else:
            return _json({"error_code": "ENDPOINT_NOT_FOUND", "message": what}, 404)
        return _json({})

    def _create(self, given: dict[str, Any]) -> Answer:
        run_id = uuid.uuid4().hex
        tags = {tag["key"]: tag["value"] for tag in given.get("tags", ())}
        known = {
            "name": given.get("run_name", ""),
            "start_time": int(time.time() * 1000),
            "status": "RUNNING",
        }
        self.runs[run_id] = {**known, "tags": tags, "params": {}}
        self.points[run_id] = []
        return _json({"run": self._told(run_id)})

    def _told(self, run_id: str) -> dict[str, Any]:
        run = self.runs[run_id]
        last = {point["key"]: point for point in sorted(self.points[run_id], key=lambda p: int(p["step"]))}
        info = {
            "run_id": run_id, "run_uuid": run_id, "run_name": run["name"], "experiment_id": "1",
            "status": run["status"], "start_time": run["start_time"], "end_time": run.get("end_time", 0),
            "artifact_uri": f"mlflow-artifacts:/1/{run_id}/artifacts", "lifecycle_stage": "active",
        }  # fmt: skip
        data = {
            "metrics": list(last.values()),
            "params": [{"key": key, "value": value} for key, value in run["params"].items()],
            "tags": [{"key": key, "value": value} for key, value in run["tags"].items()],
        }
        return {"info": info, "data": data}


def _body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding", "") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().strip() or b"0", 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    return body


def _json(content: dict[str, Any], status: int = 200) -> Answer:
    return status, json.dumps(content).encode()
