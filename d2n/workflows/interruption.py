"""What is said after Ctrl-C: for each verb what is kept, and the command that goes on."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from d2n.signals import StopRequested

_RESUMED = ("train", "retrieve")
_KEPT = {
    "train": "no run was begun: the same command begins one",
    "retrieve": "no run was begun: the same command begins one",
    "search": "running trials go on from their last checkpoints with the same command",
    "demo": "finished stages are kept, the same command goes on in the one that was interrupted",
    "score": "the scores were not taken to their end: the same command takes them anew",
    "promote": "test scores and seeds trained so far are kept, the same command goes on and decides anew",
    "translate": "images that are written are whole, the same command goes on with the others",
}
_OTHERWISE = "the same command begins anew"
_URL = re.compile(r"^(?P<scheme>[A-Za-z][\w+.-]*://)(?P<user>[^/@?#]*):(?P<password>.*)@(?P<rest>[^@]*)$")
_SECRET = re.compile(r"(?i)([?&][^=&#]*(?:password|passwd|pwd|secret|token)[^=&#]*=)[^&#]+")
HIDDEN = "***"


def lines(error: BaseException, arguments: Sequence[str]) -> list[str]:
    """What the command line says of an interruption; ``arguments`` are those after the program's name."""
    verb = next((text for text in arguments if not text.startswith("-")), "")
    run_id = error.run_id if isinstance(error, StopRequested) else ""
    if not run_id or verb not in _RESUMED:
        return [f"interrupted; {_KEPT.get(verb, _OTHERWISE)}{_counting(verb, arguments)}"]
    saved = error.saved if isinstance(error, StopRequested) else ""
    command = resume_command(arguments, run_id)
    said = [f"interrupted; run {run_id}, {saved}, goes on with", f"  {command}"]
    return [*said, f"({HIDDEN} stands for the password)"] if HIDDEN in command else said


def resume_command(arguments: Sequence[str], run_id: str) -> str:
    """The command that was given, to be pasted into a shell, but resuming this run; passwords of URLs are left out."""
    kept: list[str] = []
    skip = False
    for text in arguments:
        if skip or text.startswith("--resume="):
            skip = False
        elif text == "--resume":
            skip = True
        else:
            kept.append(without_password(text))
    end = kept.index("--") if "--" in kept else len(kept)
    return shlex.join([*program(), *kept[:end], "--resume", run_id, *kept[end:]])


def without_password(text: str) -> str:
    """An argument with the password of its URL hidden, in ``user:password@`` and in ``?password=``."""
    name, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    found = _URL.match(value)
    if found is not None:
        value = f"{found['scheme']}{found['user']}:{HIDDEN}@{found['rest']}"
    if "://" in value:
        value = _SECRET.sub(rf"\g<1>{HIDDEN}", value)
    return f"{name}{equals}{value}"


def program() -> list[str]:
    """How d2n is called again here: by its name where the shell finds it."""
    called = Path(sys.argv[0])
    if called.name == "d2n" and called.exists():
        found = shutil.which("d2n")
        return ["d2n"] if found and Path(found).resolve() == called.resolve() else [str(called)]
    return [sys.executable, "-m", "d2n"]


def _counting(verb: str, arguments: Sequence[str]) -> str:
    asked = any(text.partition("=")[0] == "--trials" for text in arguments)
    return " (--trials counts anew)" if verb == "search" and asked else ""
