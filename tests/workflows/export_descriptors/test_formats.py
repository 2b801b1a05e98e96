"""What other tools read: values and pairs by their own readers' logic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from d2n.errors import D2NError
from d2n.workflows import export_descriptors as exporting
from d2n.workflows.export_descriptors import Request, formats, ranked
from tests.datasets.miniatures import photo

NAMES = ["database/@10@20@a.png", "database/@11@20@b.png", "database/@90@90@c.png", "queries/@10@21@q.png"]
DESCRIPTORS = np.array([[1, 0], [0.6, 0.8], [0, 1], [0.8, 0.6]], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        photo(tmp_path / "photos" / name, i, (20 + 10 * (i == 2), 20))
    return tmp_path / "photos"


def test_queries_are_looked_for_in_the_database(folder: Path) -> None:
    made = ranked(folder, NAMES, DESCRIPTORS, 2)
    assert (made.queries, made.database, made.best) == ([3], [0, 1, 2], [[1, 0]])  # 0.96, 0.8, 0.6


def test_without_sides_each_is_looked_for_among_the_rest(folder: Path) -> None:
    made = ranked(folder, ["a", "b", "c", "d"], DESCRIPTORS, 2)
    assert made.best == [[3, 1], [3, 2], [1, 3], [1, 0]]
    assert ranked(folder, ["a", "b"], DESCRIPTORS[:2], 9).best == [[1], [0]]


def test_kapture_reads_it_back(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    formats.write_kapture(ranked(folder, NAMES, DESCRIPTORS, 2), out)
    features = out / "reconstruction" / "global_features" / "d2n"
    told = (features / "global_features.txt").read_text().splitlines()
    assert told[0] == "# kapture format: 1.1"
    _, dtype, dsize, _ = (part.strip() for part in told[-1].split(","))
    read = [np.fromfile(features / f"{name}.gfeat", dtype) for name in NAMES]
    assert int(dsize) == 2
    assert np.array_equal(read, DESCRIPTORS)
    pairs = (out / "reconstruction" / "pairs_d2n.txt").read_text().splitlines()[2:]
    assert pairs == [f"{NAMES[3]}, {NAMES[1]}, 0.960000", f"{NAMES[3]}, {NAMES[0]}, 0.800000"]
    records = (out / "sensors" / "records_camera.txt").read_text().splitlines()[2:]
    assert records[2] == f"2, camera1, {NAMES[2]}"
    assert "camera1, , camera, UNKNOWN_CAMERA, 30, 20" in (out / "sensors" / "sensors.txt").read_text()


def test_the_place_recognition_layout(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    formats.write_place(ranked(folder, NAMES, DESCRIPTORS, 2), out)
    assert sorted(path.name for path in (out / "database").iterdir()) == [Path(n).name for n in NAMES[:3]]
    assert (out / "queries" / "@10@21@q.png").read_bytes() == (folder / NAMES[3]).read_bytes()
    assert np.array_equal(np.load(out / "queries_descriptors.npy"), DESCRIPTORS[3:])
    assert (out / "database.txt").read_text().splitlines()[2] == "@90@90@c.png"


def test_hlocs_reader_gives_the_same_ranking(folder: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    out = tmp_path / "out"
    out.mkdir()
    made = ranked(folder, NAMES, DESCRIPTORS, 2)
    formats.write_hloc(made, out)
    with h5py.File(out / formats.HLOC_FEATURES, "r") as file:
        read = {name: file[name]["global_descriptor"].__array__() for name in NAMES}
    assert all(np.array_equal(read[name], row) for name, row in zip(NAMES, DESCRIPTORS, strict=True))
    pairs = [line.split(" ") for line in (out / formats.PAIRS).read_text().splitlines()]
    assert pairs == [[NAMES[3], NAMES[1]], [NAMES[3], NAMES[0]]]


def test_one_line_for_what_a_format_cannot_hold(folder: Path, tmp_path: Path) -> None:
    photo(folder / "plain.png")
    with pytest.raises(D2NError, match=r"plain.png: no @utm_east@utm_north@ .*1 of 5 images") as caught:
        exporting.check(Request("m", folder, tmp_path / "o", "place"))
    assert "\n" not in str(caught.value)
    with pytest.raises(D2NError, match="expected one of hloc, kapture, place"):
        exporting.check(Request("m", folder, tmp_path / "o", "netvlad"))
    comma = photo(folder / "a,b.png")
    with pytest.raises(D2NError, match="has a comma"):
        formats.write_kapture(ranked(folder, ["plain.png", comma.name], DESCRIPTORS[:2], 1), tmp_path / "k")
    photo(folder / "x" / "@1@1@.png")
    photo(folder / "y" / "@1@1@.png")
    (tmp_path / "p").mkdir()
    with pytest.raises(D2NError, match=r"has the name of x/@1@1@.png"):
        formats.write_place(
            ranked(folder, ["x/@1@1@.png", "y/@1@1@.png"], DESCRIPTORS[:2], 1), tmp_path / "p"
        )
