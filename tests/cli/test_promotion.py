"""``d2n promote``: options become knobs, and what is wrong is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.cli import main
from d2n.cli.promotion import _overrides, promote
from d2n.config import PromotionConfig, load_promotion


def rule(*arguments: str) -> PromotionConfig:
    with promote.make_context("promote", ["toycity", *arguments]) as context:
        return load_promotion(context.params["rule"], _overrides(context.params))


def test_options_are_knobs_and_win_over_set() -> None:
    assert rule() == PromotionConfig()
    assert rule("--set", "seeds=5", "--set", "level=0.01", "--seeds", "2") == PromotionConfig(
        seeds=2, level=0.01
    )
    assert rule("--metric", "fid=2", "--metric", "kid", "--no-retrain", "--top", "4") == PromotionConfig(
        metric=("fid=2", "kid"), retrain=False, settings=4
    )
    assert rule(
        "--constraint", "map/toycity/day >= 80", "--min-gain", "5", "--accept-noise"
    ) == PromotionConfig(constraints=("map/toycity/day >= 80",), min_gain=5.0, accept_noise=True)
    assert rule("--require-clear") == PromotionConfig()  # of earlier releases: the default by now


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "level=2"], "level is 2"),
        (["--set", "levle=0.1"], "did you mean 'level'"),
        (["--rule", "nowhere"], "nowhere: no such file"),
        (["--metric", "fdi"], "no known direction"),
        (["--metric", "fid=-1"], "above 0"),
        (["--constraint", "fid"], "expected NAME >= NUMBER"),
        ([], "nothing was tracked in"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SystemExit) as caught:
        main(["promote", "toycity", *arguments])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert list(tmp_path.iterdir()) == []
