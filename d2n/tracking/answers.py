"""What a tracking store answers, or fails to: whether waiting helps, and one line for people."""

from __future__ import annotations

import traceback
from pathlib import Path

from mlflow.exceptions import MlflowException, RestException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from d2n import databases, secrets
from d2n.errors import TrackingError
from d2n.files.refusals import fullest, named_path, space, temporary_folder

ERRORS = (MlflowException, SQLAlchemyError, OSError)
RUBBISH = "answers what no tracking server answers"

_FULL = "the disk is full: free space and start again, nothing logged before is lost"
# What SQLite says when waiting does not help, and what a user can do about it.
_LASTING = {
    "readonly database": "it is read-only: make the folder writable or choose another --tracking-uri",
    "unable to open database file": "it cannot be opened: check that the folder exists and is writable",
    "database or disk is full": _FULL,
    "no space left": _FULL,
    "disk i/o error": "the disk reports an error: check free space and quota, then start again",
    "input/output error": "the disk reports an error: check free space and quota, then start again",
    "disk quota exceeded": "the disk quota is used up: free space and start again",
    "file too large": "a file may not grow further: check free space and the file size limit",
    "read-only file system": "it is read-only: make the folder writable or choose another --tracking-uri",
    "permission denied": "access is denied: check the permissions or choose another --tracking-uri",
    "no such table": "its tables are missing: run `d2n doctor`",
    "no such column": "its tables are of another MLflow: run `d2n doctor`",
    "file is not a database": "the file is not a SQLite database: move it away or choose another --tracking-uri",
    "malformed": "the database file is damaged: restore a copy, or move it away to start anew",
    "password authentication failed": "the user or password is refused: check the URI",
}
_PASSING = (
    "database is locked",
    "database table is locked",
    "connection refused",
    "connection aborted",
    "connection reset",
    "connection already closed",
    "server closed the connection",
    "terminating connection",
    "starting up",
    "shutting down",
    "in recovery mode",
    "could not connect",
    "connection timed out",
    "timed out",
    "too many clients",
    "max retries exceeded",
    "failed to establish a new connection",
    "temporarily unavailable",
    "deadlock",
    "error code 500",
    "error code 502",
    "error code 503",
    "error code 504",
    "500 server error",
    "502 server error",
    "503 server error",
    "504 server error",
    "too many 503",
    "remote end closed connection",
    "incompleteread",
    "broken pipe",
    "not in a valid json format",
    "could not connect to the endpoint",
    RUBBISH,
)
# The same in few words.
_SAID = {
    "connection refused": "connection refused",
    "name or service not known": "its name is not known",
    "no route to host": "no route to it",
    "timed out": "no answer in time",
    RUBBISH: f"it {RUBBISH}",
    "not in a valid json format": f"it {RUBBISH}",
    "connection reset": "it cut the connection",
    "remote end closed connection": "it cut the connection",
    "connection broken": "it cut the connection",
    **{f"too many {status} error": f"it answers {status}" for status in (408, 429, 500, 502, 503, 504)},
    **{f"error code {status}": f"it answers {status}" for status in (401, 403, 404, 407, 429, 500, 502, 503)},
}
# What talks to servers: an error of these is the server's, whatever its kind.
_STORAGE = ("requests", "urllib3", "botocore", "boto3")
_READERS = ("http", "google.protobuf", "json")
_REST = (
    "rest_utils",
    "rest_store",
    "http_artifact_repo",
    "proto_json_utils",
)  # MLflow's modules that read answers
# Answers of a server that waiting does not change.
_NEVER = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
    "ENDPOINT_NOT_FOUND",
)
_ELSEWHERE = (
    "is behind a proxy that leads to another page, such as its log-in: give the address behind it, let the paths /api "
    "and /health pass, or name the server in NO_PROXY"
)
# What a server or a proxy before it answers to whom it does not let in.
_REFUSED = {
    401: "wants a log-in: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; where both are set, it takes "
    "another user or password",
    403: "does not allow this: ask who made the experiment or model, or the administrator, for the permission EDIT "
    "(MANAGE to delete); where it says nothing of permissions, its name may be missing among --allowed-hosts",
    407: "is behind a proxy that wants a log-in of its own: put it into HTTPS_PROXY, or name the server in NO_PROXY",
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    404: "has nothing of MLflow's below this address: correct its path, or name the server in NO_PROXY",
    413: "is behind a proxy that refuses requests of this size: raise its limit (nginx: client_max_body_size)",
}


def is_bug(error: BaseException) -> bool:
    """Whether it is of the program, and of no store."""
    return not isinstance(error, ERRORS)


def is_lasting(error: BaseException, uri: str) -> bool:
    """Whether a store will never take this, however long it is waited for."""
    if is_bug(error):
        return True
    return _is_refusal(error) if uri.startswith("http") else not is_passing(error)


def code_of(error: TrackingError) -> str:
    """MLflow's word for what it refused, such as INVALID_PARAMETER_VALUE; '' where it had none."""
    return str(getattr(error.__cause__, "error_code", ""))


def is_absent(error: TrackingError) -> bool:
    """Whether the store said that what was asked for is not there."""
    return code_of(error) == "RESOURCE_DOES_NOT_EXIST"


def _is_refusal(error: BaseException) -> bool:
    """Whether a server itself says so: it is not away, not in trouble, and it is no other one's page."""
    said = [one.json.get("error_code") for one in _chain(error) if isinstance(one, RestException)]
    if said:
        return said[0] in _NEVER
    status = [getattr(getattr(one, "response", None), "status_code", None) for one in _chain(error)]
    return any(one in (400, 404, 413) for one in status)


def is_passing(error: BaseException) -> bool:
    """Whether waiting may help: a locked or restarting database, a server that does not answer."""
    text = _text(error)
    if any(words in text for words in _LASTING):
        return False
    if any(words in text for words in _PASSING):
        return True
    if getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
        return True
    return any(isinstance(e, DBAPIError) and e.connection_invalidated for e in _chain(error))


def describe(error: BaseException, uri: str, artifacts: Path | None = None) -> str:
    """One line: which store, what it said, what to do; of a full disk, which one."""
    shown, text = databases.shown(uri), _text(error)
    for status, advice in _REFUSED.items():
        if f"error code {status}" in text:
            return f"tracking store {shown} {advice} (it answered {status})"
    if any(getattr(one, "error_code", "") == "PERMISSION_DENIED" for one in _chain(error)):
        return f"tracking store {shown} {_REFUSED[403]}"
    if "not in a valid json format" in text:
        return f"tracking store {shown} answers with a page and not as MLflow does: it {_ELSEWHERE}"
    for words, advice in _LASTING.items():
        if words in text:
            return f"tracking store {shown}: {_where(error, uri, artifacts, advice)}"
    if is_passing(error):
        return away(uri, brief(error))
    return f"tracking store {shown} refuses: {first_line(error)}"


def away(uri: str, reason: str) -> str:
    """One line for a server that does not answer."""
    return (
        f"tracking store {databases.shown(uri)} does not answer ({reason}): start it, correct --tracking-uri or "
        "MLFLOW_TRACKING_URI, or leave both out for the local mlruns/"
    )


def is_of_an_answer(error: BaseException, uri: str) -> bool:
    """Whether it arose where an answer is sent for or read, and not in a call that d2n made wrongly."""
    if not uri.startswith("http"):
        return type(error).__module__.startswith(_STORAGE)
    if type(error).__module__.startswith((*_STORAGE, *_READERS)):
        return True
    frames = traceback.walk_tb(error.__traceback__)
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    return any(name.startswith("mlflow.") and name.endswith(_REST) for name in modules)


def _where(error: BaseException, uri: str, artifacts: Path | None, advice: str) -> str:
    """The advice, and of a disk that takes nothing, the file that it refused and how much is free there."""
    if not advice.startswith("the disk"):
        return advice
    database, file = databases.sqlite_file(uri), named_path(error)
    if file is not None:
        return f"{file} cannot be written, {advice} ({space(file)})"
    if database is not None and any(isinstance(e, SQLAlchemyError) for e in _chain(error)):
        return f"{advice} ({space(database)})"
    if not any(isinstance(e, OSError) and e.errno for e in _chain(error)):
        return f"{advice} (it is the server's)"
    places = (database, artifacts, temporary_folder())  # MLflow writes some artifacts there first
    return f"{advice} ({fullest(place for place in places if place is not None)})"


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _text(error: BaseException) -> str:
    return " ".join(str(e) for e in _chain(error)).lower()


def brief(error: BaseException) -> str:
    """Why a server is away, in a few words where they are known."""
    text = _text(error)
    known = next((said for words, said in _SAID.items() if words in text), None)
    return known or first_line(error)


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters, without a secret."""
    lines = [line.strip() for line in secrets.scrub(str(error)).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 300 else f"{line[:297]}..."
