from __future__ import annotations

import shlex

import pytest

from d2n.signals import StopRequested
from d2n.workflows import interruption

RUN = "0123456789abcdef0123456789abcdef"


def resumed(*arguments: str) -> list[str]:
    """The arguments of the command that is told, as a shell would read them."""
    command = shlex.split(interruption.resume_command(arguments, RUN))
    return command[len(interruption.program()) :]


def test_the_command_is_the_one_that_was_given_and_resumes_this_run() -> None:
    given = ["-v", "train", "my file.yaml", "--set", "dataset.rule={a: [1, 2]}", "--set", "name=it's"]
    assert resumed(*given) == [*given, "--resume", RUN]
    assert resumed("train", "a.yaml", "--resume", "last", "--set", "seed=1") == [
        *["train", "a.yaml", "--set", "seed=1", "--resume", RUN]
    ]
    assert resumed("retrieve", "--resume=last", "a.yaml") == ["retrieve", "a.yaml", "--resume", RUN]
    assert resumed("train", "--", "-a.yaml") == ["train", "--resume", RUN, "--", "-a.yaml"]
    uri = "sqlite:////data/a b/mlflow.db"
    assert resumed("train", "a.yaml", "--tracking-uri", uri)[2:4] == ["--tracking-uri", uri]


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:PLANTED@db:5432/mlflow",
        "postgresql+psycopg://me:PLAN@TED@db/mlflow?sslmode=require",
        "https://me:PLANTED@server/mlflow",
        "postgresql://db/mlflow?user=me&password=PLANTED&sslmode=require",
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_password_is_not_told(uri: str, joined: bool) -> None:
    option = [f"--tracking-uri={uri}"] if joined else ["--tracking-uri", uri]
    said = "\n".join(interruption.lines(StopRequested(RUN, "saved"), ["train", "a.yaml", *option]))
    assert "PLAN" not in said
    assert "TED" not in said
    assert "*** stands for the password" in said
    assert "mlflow" in said


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StopRequested()])
def test_before_a_run_was_begun_no_run_is_promised(error: KeyboardInterrupt) -> None:
    assert interruption.lines(error, ["train", "a.yaml"]) == [
        "interrupted; no run was begun: the same command begins one"
    ]


def test_each_verb_says_what_holds_for_it() -> None:
    said = {
        verb: interruption.lines(KeyboardInterrupt(), [verb, "x"])[0] for verb in ("search", "score", "pull")
    }
    assert "running trials go on from their last checkpoints with the same command" in said["search"]
    assert "the same command takes them anew" in said["score"]
    assert said["pull"] == "interrupted; the same command begins anew"
    counted = interruption.lines(KeyboardInterrupt(), ["search", "s.yaml", "--trials", "3"])[0]
    assert counted.endswith("(--trials counts anew)")
