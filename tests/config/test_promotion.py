"""The promotion's knobs and their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.config import PromotionConfig, load_promotion
from d2n.errors import ConfigError
from d2n.workflows.check import check


def test_the_file_that_comes_with_d2n_says_the_defaults() -> None:
    assert load_promotion() == PromotionConfig()
    assert load_promotion("promotion", ["level=0.01", "promotion.metric=[fid=2, kid]"]) == PromotionConfig(
        level=0.01, metric=("fid=2", "kid")
    )


def test_a_file_of_ones_own_extends_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("strict.yaml").write_text("extends: promotion\npromotion: {level: 0.001}\n")
    assert load_promotion("strict") == PromotionConfig(level=0.001)
    assert "3 settings of 3 seeds, level 0.001" in check([Path("strict.yaml")])[0]
    Path("promotion.yaml").write_text("promotion: {seeds: 1}\n")
    assert load_promotion().seeds == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("promotion: {level: 0.7}", "promotion.yaml: level is 0.7"),
        ("promotion: {level: .nan}", "level"),
        ("promotion: {resamples: 999}", "greater than or equal to 1000"),
        ("promotion: {seeds: 2.5}", "seeds"),
        ("promotion: {retrain: maybe}", "retrain"),
        ("promotion: {metric: fid}", "metric"),
        ("promotion: {levle: 0.1}", "unknown knob levle; did you mean 'level'"),
        ("promotion: 3", "promotion is 3, expected a mapping"),
        ("level: 0.1", "promotion is no such block"),
        ("promotion: {}\nname: x", "unknown knob 'name'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("promotion.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError) as refusal:
        load_promotion()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_option_that_is_wrong_is_refused() -> None:
    for override in ("level", "level=x", "frobs=1", "level.more=1"):
        with pytest.raises(ConfigError):
            load_promotion("promotion", [override])
