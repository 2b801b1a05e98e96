"""Transient Attributes: the thesis's selection, and annotation lines that do not parse."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.transattr import ATTRIBUTES, read_annotations
from d2n.errors import DataError
from tests.datasets.miniatures import attribute_fields, transattr

WEBCAMS = {f"0000000{i}": [0.1, 0.9, 0.95, 1.0, 0.3] for i in range(4)} | {"90000001": [0.2, 0.9, 0.5]}


def test_night_above_point_nine_and_every_pair_with_the_rest(tmp_path: Path) -> None:
    index = prepare("transattr", transattr(tmp_path, WEBCAMS))
    # 0.9 itself is not above 0.9; the webcam that never is above is left out
    assert {row.path for row in index.select("night")} == {
        f"imageAlignedLD/0000000{i}/{n}.jpg" for i in range(4) for n in (3, 4)
    }
    assert len(index.select("day")) == 4 * 3
    assert len(index.pairs) == 4 * 3 * 2
    assert all(day.scene == night.scene for day, night in index.select_pairs())
    assert dict(index.facts) == {"annotated": 23, "webcams": 5, "webcams_with_night": 4}


def test_webcams_are_not_divided_between_splits(tmp_path: Path) -> None:
    index = prepare("transattr", transattr(tmp_path, WEBCAMS))
    scenes = [{row.scene for row in index.select(split=split)} for split in ("train", "val", "test")]
    assert [len(names) for names in scenes] == [2, 1, 1]
    assert not scenes[0] & (scenes[1] | scenes[2])


def test_departures_from_the_thesis_are_knobs(tmp_path: Path) -> None:
    transattr(tmp_path, WEBCAMS)
    assert len(prepare("transattr", tmp_path, rule={"day_night_at_most": 0.2}).select("day")) == 4
    assert len(prepare("transattr", tmp_path, rule={"night_above": 0.96}).select("night")) == 4
    with pytest.raises(DataError, match="0 day images"):
        prepare("transattr", tmp_path, rule={"day_daylight_above": 0.5})


def test_forty_attributes_in_the_order_of_the_annotations() -> None:
    assert len(set(ATTRIBUTES)) == 40
    assert (ATTRIBUTES[1], ATTRIBUTES[2], ATTRIBUTES[39]) == ("daylight", "night", "lush")


def test_one_webcam_alone_is_divided_and_says_so(tmp_path: Path) -> None:
    index = prepare("transattr", transattr(tmp_path, {"00000001": [0.1] * 6 + [0.95] * 6}))
    assert index.facts["scenes_divided"] == 1
    assert all(index.select_pairs(split) for split in ("train", "val", "test"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("00000001/1.jpg\t" + "\t".join(attribute_fields(0.5)[:39]), "line 2 has 39 attributes, expected 40"),
        ("00000001/1.jpg\t" + "\t".join(["x,1", *attribute_fields(0.5)[1:]]), "line 2: dirty is 'x,1'"),
        ("00000001/1.jpg\t" + "\t".join([*attribute_fields(0.5)[:39], "0.5"]), "line 2: lush is '0.5'"),
        ("00000001/1.jpg\t" + "\t".join(["nan,1", *attribute_fields(0.5)[1:]]), "line 2: dirty is 'nan,1'"),
        ("00000001/1.jpg\t" + "\t".join(["1.5,1", *attribute_fields(0.5)[1:]]), "a value in"),
        ("1.jpg\t" + "\t".join(attribute_fields(0.5)), "line 2 begins with '1.jpg', expected webcam/file"),
    ],
)
def test_lines_that_do_not_parse(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "annotations.tsv"
    path.write_text("00000001/0.jpg\t" + "\t".join(attribute_fields(0.5)) + "\n" + line + "\n")
    with pytest.raises(DataError, match=says):
        read_annotations(path)


def test_an_annotation_out_of_the_root_is_not_read(tmp_path: Path) -> None:
    root = transattr(tmp_path / "set", {"00000001": [0.1, 0.95]})
    annotations = root / "annotations" / "annotations.tsv"
    annotations.write_text(annotations.read_text().replace("00000001/1.jpg", "00000001/../../../secret.jpg"))
    with pytest.raises(DataError, match="leaves the data set's folder"):
        prepare("transattr", root)
