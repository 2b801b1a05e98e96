from __future__ import annotations

import xml.etree.ElementTree as ET

from d2n.plots import Arrow, Box, lineage

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def test_what_a_box_was_made_from_stands_left_of_it() -> None:
    page = "http://x/#/a?b=1&c=2"
    boxes = {
        "a": Box("mAP < 41", "run"),
        "b": Box("generator & co", "version", page),
        "c": Box("data", "data"),
    }
    arrows = [Arrow("a", "b", "generator"), Arrow("b", "c", "data"), Arrow("a", "c", "data")]
    root = parsed(lineage(boxes, arrows, "a"))
    lefts = [float(box.attrib["x"]) for box in root.iter(f"{SVG}rect")]
    assert lefts[0] > lefts[1] > lefts[2]
    assert len(list(root.iter(f"{SVG}path"))) == 3
    assert [link.attrib["href"] for link in root.iter(f"{SVG}a")] == [page]
    assert "mAP < 41" in [text.text for text in root.iter(f"{SVG}text")]


def test_a_circle_ends() -> None:
    boxes = {"a": Box("a", "run"), "b": Box("b", "run")}
    root = parsed(lineage(boxes, [Arrow("a", "b", "x"), Arrow("b", "a", "x"), Arrow("a", "a", "x")], "a"))
    assert len(list(root.iter(f"{SVG}rect"))) == 2


def test_nothing_but_the_root_is_a_picture_too() -> None:
    assert len(list(parsed(lineage({"a": Box("a", "run")}, [], "a")).iter(f"{SVG}rect"))) == 1
