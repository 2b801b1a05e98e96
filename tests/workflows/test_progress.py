"""Lines where no terminal is."""

from __future__ import annotations

import io

import pytest

from d2n.workflows.progress import Lines, duration, scores_text, time_left


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_ends_with_the_time_left_at_this_session_s_pace() -> None:
    out, now = io.StringIO(), iter([0.0, 60.0, 120.0])
    lines = Lines("trial 3 of s", 100, 20, out=out, clock=lambda: next(now))
    lines.tell("epoch 2 of 5: fid 12", done=40)  # 20 parts in 60 s, 60 to go
    lines.tell("epoch 5 of 5: fid 9", done=100)
    assert (
        out.getvalue()
        == "trial 3 of s: epoch 2 of 5: fid 12; 3.0 min left\ntrial 3 of s: epoch 5 of 5: fid 9\n"
    )


@pytest.mark.parametrize(("out", "wanted"), [(Terminal(), True), (io.StringIO(), False)])
def test_a_terminal_has_bars_and_whoever_wants_none_has_none(out: io.StringIO, wanted: bool) -> None:
    lines = Lines("t", 2, out=out, wanted=wanted)
    lines.tell("x", done=1)
    lines.say("y")
    assert out.getvalue() == ""


def test_times_and_scores_in_words() -> None:
    assert [duration(s) for s in (42, 192, 18360)] == ["42 s", "3.2 min", "5.1 h"]
    assert time_left(10, 0, 5) == ""
    assert (
        scores_text({"fid": 12.3456, "kid": 0.02, "a": 1, "b": 2, "c": 3}) == "fid 12.35, kid 0.02, a 1, b 2"
    )
