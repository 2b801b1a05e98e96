"""A cluster's own programs, called with lists of arguments: no shell reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from d2n import secrets
from d2n.errors import StudyError


def require(name: str, what_to_do: str) -> None:
    """StudyError where the program is not on the PATH."""
    if shutil.which(name) is None:
        raise StudyError(f"{name} is not on the PATH: {what_to_do}")


def answer(
    command: Sequence[str],
    *,
    timeout_s: float = 60.0,
    given: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What the program prints. StudyError, in one line, where it is absent, fails, or takes longer."""
    program = shutil.which(command[0])
    if program is None:
        raise StudyError(f"{command[0]} is not on the PATH")
    try:
        done = subprocess.run(  # noqa: S603 - arguments, and no shell
            [program, *command[1:]],
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, **(env or {})},
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise StudyError(f"{command[0]} gave no answer in {timeout_s:.0f} s") from None
    except OSError as error:
        raise StudyError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = " ".join(secrets.scrub(done.stderr or done.stdout).split())[:300]
        raise StudyError(f"{command[0]} refused (exit code {done.returncode}): {said or 'without a word'}")
    return done.stdout
