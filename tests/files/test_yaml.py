"""YAML: plain values under text keys; bombs and what is no value end in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from d2n import config
from d2n.errors import ConfigError
from d2n.files.yaml import parse_yaml, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
)


def test_plain_values_keys_as_written_and_merged_defaults() -> None:
    text = "on: 1e-4\n2: [yes, ~, '2024-01-01']\nd: &d {a: 1, b: 2}\ne: {<<: *d, b: 3}\nday: 2024-01-01\n"
    assert parse_yaml(text, "x") == {
        "on": 1e-4,
        "2": [True, None, "2024-01-01"],
        "d": {"a": 1, "b": 2},
        "e": {"a": 1, "b": 3},
        "day": "2024-01-01",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "once aliases are written out"),
        ("a: &a [*a]", "an alias inside the part that it names"),
        ("name: " + "[" * 20000, "nested more than 32 deep"),
        ("? [a, b]\n: 1", "line 1, column 3: a list or mapping as a key"),
        ("name: 2024-99-99", "line 1, column 7: '2024-99-99' is no date"),
        ("name: !!int abc", "'abc' is no int"),
        ("name: !!bool foo", "'foo' is no switch"),
        ("name: !!float [1]", "a sequence where !!float"),
        ("name: !!set {a}", "could not determine a constructor"),
        ("name: !!binary abc", "could not determine a constructor"),
        ("seed: " + "9" * 5000, "a number of 5000 digits"),
        ("a: 1\na: 2", "'a' stands twice"),
        ("x" * 300_000, "characters of YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x.yaml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("x.yaml")
    assert "\n" not in str(caught.value)


def test_pipes_devices_and_long_names_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, says in (("/dev/zero", "a device"), (tmp_path / "pipe.yaml", "a pipe"), (tmp_path, "a folder")):
        with pytest.raises(ConfigError, match=f"{says}, expected a file"):
            read_yaml(path)
    for path in (tmp_path / ("x" * 300), "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(path)
    (tmp_path / "large.yaml").write_text("#" * 300_000)
    with pytest.raises(ConfigError, match="293 KiB, at most 256 KiB"):
        read_yaml(tmp_path / "large.yaml")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"translator": [1]}, "translator is [1], expected a mapping"),
        ({"training": "abc"}, "training is 'abc', expected a mapping"),
        ({"evaluation": None}, "evaluation is None, expected a mapping"),
        ({"dataset": False}, "dataset is False, expected a mapping"),
        ({"kind": ["translation"]}, "kind is ['translation']"),
        ({"preset": ["toy"]}, "preset is ['toy']"),
        ({"seed": True}, "seed is true, expected a number"),
        ({"translator": {"lr": True}}, "translator.lr is true, expected a number"),
        (
            {"translator": {"method": "pix2pix", "lambda_l1": float("inf")}},
            "translator.lambda_l1 is inf, expected a finite number",
        ),
        (
            {"translator": {"method": "pix2pix", "lambda_l1": "nan"}},
            "translator.lambda_l1 is 'nan': input should be a finite",
        ),
        ({"dataset": {"rule": {"night_above": float("nan")}}}, "dataset.rule.night_above is nan"),
        ({"training": {"batch_size": 10**12}}, "less than or equal to 4096"),
        ({"kind": "retrieval", "evaluation": {"scales": [1, True]}}, "evaluation.scales is true"),
        ({"dataset": {"name": "x" * 300}}, "at most 100 characters"),
        ({"name": "a\nb"}, "holds the character"),
        ({"dataset": {"root": "a\0b"}}, "holds the character"),
    ],
)
def test_a_value_of_another_kind_is_refused_and_not_passed_over(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.build_experiment(values)
    assert says in str(caught.value)


def test_an_override_inside_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="translator is"):
        config.build_experiment({"translator": [1]}, ["translator.lr=1e-4"])
    with pytest.raises(ConfigError, match="expected a mapping"):
        config.set_knob({"translator": [1]}, "translator.lr", 1)
