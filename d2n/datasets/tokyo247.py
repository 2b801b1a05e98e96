"""24/7 Tokyo (Torii et al. 2015): evaluation, by mAP among its 1125 queries and by place recognition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from d2n.datasets.ground_truth import GroundTruth
from d2n.datasets.index import Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, find_root
from d2n.errors import DataError
from d2n.files.mat import read_mat
from d2n.files.nesting import integers, number, strings
from d2n.files.pickle import read_pickle
from d2n.files.reading import brief, read_text, reason

NAME = "247tokyo1k"
_LIGHT = {"D": "day", "N": "night", "S": "sunset"}
_MAX_CSV_BYTES = 2**20
_UTM = re.compile(r"@\s*(-?[\d.]+)\s*@\s*(-?[\d.]+)\s*@")


def listing(root: Path, rule: Mapping[str, Any]) -> Listing:
    """The images of the mAP protocol with their light, and the tiles of the place recognition database if there."""
    truth = _map_truth(root)
    images = [_lit(path, _light(root, path)) for path in truth.database]
    facts = {"queries": len(truth.queries), "database": len(truth.database)}
    place = _place_truth(root, rule)
    if place is not None:
        known = {image.path for image in images}
        more = [path for path in dict.fromkeys((*place.database, *place.queries)) if path not in known]
        images += [Candidate(path, split="test") for path in more]
        facts["place_database"] = len(place.database)
    return Listing(tuple(images), facts=facts)


def ground_truths(index: Index, split: str = "test") -> list[GroundTruth]:
    """``tokyo247``: mAP, every image against all; ``tokyo247/place``: recall at N, where the database is there."""
    place = _place_truth(index.root, index.rule)
    return [_map_truth(index.root), *([place] if place is not None else [])]


def from_names(
    index: Index, database: str, queries: str, radius_m: float = 25.0, part: str = ""
) -> GroundTruth:
    """Place recognition over folders of ``@utm_east@utm_north@…@.jpg``: right within 25 m (Berton et al. 2022)."""
    found = {
        place: [row.path for row in index.rows if row.path.startswith(f"{place}/")]
        for place in (database, queries)
    }
    positions = {place: np.array([_utm(path) for path in paths]) for place, paths in found.items()}
    if not found[queries]:
        raise DataError(f"{index.root}: no images in {queries}/; expected {database}/ and {queries}/")
    answers = _within(positions[queries], positions[database], radius_m)
    return GroundTruth(f"{index.name}{part}", "place", tuple(found[database]), tuple(found[queries]), answers)


KIND = SetKind(
    name="tokyo247",
    title="24/7 Tokyo",
    ask_at="the authors' page (Torii et al. 2015); its mAP ground truth: Jenicek & Chum 2019",
    listing=listing,
    knobs={"mat": "tokyo247.mat", "tiles": "tiles", "place": "auto"},
    thesis={"queries": 1125, "database": 1125},
    evaluation=True,
    turn=False,
    ground_truths=ground_truths,
)


def _map_truth(root: Path) -> GroundTruth:
    base = find_root(root, NAME, f"test/{NAME}", holds=f"gnd_{NAME}.pkl")
    path = base / f"gnd_{NAME}.pkl"
    values = read_pickle(path)
    prefix = base.relative_to(root) / "jpg"
    try:
        answers = tuple({key: integers(answer[key]) for key in ("ok", "junk")} for answer in values["gnd"])
        database, queries = (
            tuple((prefix / f"{image}.jpg").as_posix() for image in strings(values[key]))
            for key in ("imlist", "qimlist")
        )
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected imlist, qimlist and gnd of ok and junk ({reason(error)})"
        ) from error
    return GroundTruth("tokyo247", "standard", database, queries, answers, self_match=database == queries)


def _lit(path: str, light: str) -> Candidate:
    """Sunset is neither day nor night."""
    if light == "sunset":
        return Candidate(path, split="test", condition=light)
    return Candidate(path, light, split="test")


def _light(root: Path, path: str) -> str:
    """day, sunset or night by the sixth value of the image's CSV: D, S or N."""
    table = (root / path).with_suffix(".csv")
    absent = "no such file; every image has a CSV of its place and light"
    values = read_text(table, DataError, at_most=_MAX_CSV_BYTES, absent=absent).strip().split(",")
    if len(values) < 6 or values[5].strip() not in _LIGHT:
        raise DataError(f"{table}: {brief(','.join(values), 60)}, expected a sixth value D, S or N")
    return _LIGHT[values[5].strip()]


def _place_truth(root: Path, rule: Mapping[str, Any]) -> GroundTruth | None:
    """Right within posDistThr metres; None where the .mat or all of its tiles are absent (place: auto)."""
    mat = root / str(rule["mat"])
    if rule["place"] == "off" or (rule["place"] == "auto" and not mat.is_file()):
        return None
    struct = _db_struct(mat)
    tiles = struct.tiles
    if rule["place"] == "auto" and not any(_on_disk(root, rule["tiles"], tile) for tile in tiles[:100]):
        return None
    database = tuple(_tile(root, str(rule["tiles"]), tile) for tile in tiles)
    jpg = find_root(root, NAME, f"test/{NAME}", holds="jpg").relative_to(root) / "jpg"
    queries = tuple((jpg / name).as_posix() for name in struct.queries)
    if (struct.at_queries.shape, struct.at_tiles.shape) != ((len(queries), 2), (len(database), 2)):
        raise DataError(f"{mat}: positions and image names differ in number; download it again")
    answers = _within(struct.at_queries, struct.at_tiles, struct.radius_m)
    return GroundTruth("tokyo247/place", "place", database, queries, answers)


@dataclass(frozen=True)
class _PlaceDatabase:
    """What the .mat says of the place recognition database."""

    tiles: list[str]
    queries: list[str]
    at_tiles: np.ndarray  # (N, 2) UTM, metres
    at_queries: np.ndarray
    radius_m: float


def _db_struct(path: Path) -> _PlaceDatabase:
    absent = "no such file; it names the place recognition database"
    values = read_mat(path, "dbStruct", DataError, absent=absent)
    try:
        tiles, queries = (_strings(values[key]) for key in ("dbImageFns", "qImageFns"))
        at_tiles, at_queries = (_positions(values[key]) for key in ("utmDb", "utmQ"))
        radius_m = number(np.ravel(values["posDistThr"])[0])
        if not 0 < radius_m < 1e6:
            raise ValueError(f"a radius of {radius_m} m")
        return _PlaceDatabase(tiles, queries, at_tiles, at_queries, radius_m)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: no dbStruct can be read ({type(error).__name__}: {reason(error)}); download it again"
        ) from error


def _strings(cells: np.ndarray) -> list[str]:
    return strings(np.ravel(cell)[0] for cell in np.ravel(cells))


def _positions(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf":
        raise TypeError(f"positions of type {values.dtype}")
    positions = np.atleast_2d(np.asarray(values, dtype=float)).T
    if not (np.abs(positions) < 1e9).all():  # NaN is not less
        raise ValueError("positions that are no metres")
    return positions


def _on_disk(root: Path, tiles: str, name: str) -> str | None:
    """The .mat says .jpg; the tiles on disk are .png. They lie in the folder ``tiles``, or in the root."""
    for candidate in (name, str(PurePosixPath(name).with_suffix(".png"))):
        for path in (f"{tiles}/{candidate}", candidate):
            if (root / path).is_file():
                return path
    return None


def _tile(root: Path, tiles: str, name: str) -> str:
    return _on_disk(root, tiles, name) or f"{tiles}/{PurePosixPath(name).with_suffix('.png')}"


def _within(queries: np.ndarray, database: np.ndarray, radius_m: float) -> tuple[dict[str, list[int]], ...]:
    """Database images within the radius of each query; (Q, 2) and (N, 2) metres."""
    near = (((database - query) ** 2).sum(axis=1) <= radius_m**2 for query in queries)  # one (N,) a query
    return tuple({"ok": np.flatnonzero(row).tolist(), "junk": []} for row in near)


def _utm(path: str) -> tuple[float, float]:
    match = _UTM.search(PurePosixPath(path).name)
    if match is None:
        raise DataError(
            f"{path}: no @utm_east@utm_north@ in its name, and no ground_truth.json beside; add either"
        )
    try:
        return number(float(match.group(1))), number(float(match.group(2)))
    except ValueError:
        raise DataError(f"{path}: @{match.group(1)}@{match.group(2)}@ are no UTM positions") from None
