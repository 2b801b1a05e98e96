from __future__ import annotations

import subprocess
import sys

import pytest

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import names


def test_names_are_what_the_ui_and_the_registry_show() -> None:
    assert names.experiment("toycity") == "d2n/toycity"
    assert names.generator_model("toycity") == "d2n-toycity"
    assert names.generator_model("toycity", "dusk", "night") == "d2n-toycity.dusk-night"
    assert names.retrieval_model("toycity") == "d2n-retrieval-toycity"
    assert names.score("prd/f8") == "score/prd/f8"
    assert names.loss("g_gan") == "loss/g_gan"
    assert names.benchmark("toycity/night", "map") == "map/toycity/night"


@pytest.mark.parametrize("dataset", ["city/east:2", "a/b", "a:b", "retrieval-toycity", "o'brien", ""])
def test_two_data_sets_never_meet_in_one_registered_model(dataset: str) -> None:
    assert names.generator_model("a-b") == "d2n-a-b"
    with pytest.raises(RegistryError, match="the data set is") as caught:
        names.generator_model(dataset)
    assert "\n" not in str(caught.value)


def test_a_feature_space_with_an_alias_becomes_a_legal_metric() -> None:
    assert names.score("fid.retrieval:d2n-retrieval-toycity@baseline") == (
        "score/fid.retrieval:d2n-retrieval-toycity-baseline"
    )
    assert names.legal("a//b..c#d/") == "a/b.c-d"


@pytest.mark.parametrize(
    "bad", ["", "a#b", "a//b", "/a", "a/../b", "..", ".", "system/x", "x" * 251, "fid@1"]
)
def test_a_name_that_mlflow_refuses_is_refused_before(bad: str) -> None:
    with pytest.raises(TrackingError, match="cannot be logged"):
        names.checked(bad)


@pytest.mark.parametrize("good", ["score/fid", "fid.squeezenet1_0", "a b", "retrieval:m", "x" * 250])
def test_a_legal_name_comes_back(good: str) -> None:
    assert names.checked(good) == good


@pytest.mark.parametrize("bad", ["latest", "v3", "V12", "a.b", "a/b", "", "a@b"])
def test_aliases_that_the_registry_keeps_for_itself_are_refused(bad: str) -> None:
    with pytest.raises(TrackingError, match="alias"):
        names.checked_alias(bad)


@pytest.mark.parametrize("bad", ["a/b", "a:b", "a@b", "  "])
def test_model_names_that_a_reference_cannot_hold_are_refused(bad: str) -> None:
    with pytest.raises(TrackingError, match="model name"):
        names.checked_model(bad)


def test_tags_with_an_id_inside_are_read_back() -> None:
    assert names.run_of_used_by(names.used_by("abc")) == "abc"
    assert names.run_of_used_by("d2n.kind") is None
    stamp = "20300102T030405.678901Z"
    assert names.alias_of_move(names.alias_move("champion", stamp)) == ("champion", stamp)
    assert names.alias_of_move("d2n.kind") is None


def test_names_load_neither_mlflow_nor_anything_slow() -> None:
    code = (
        "import sys, d2n.tracking.names; print(sorted({'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
