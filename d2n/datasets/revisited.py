"""Revisited Oxford and Paris (Radenović et al. 2018): evaluation, Easy, Medium and Hard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from d2n.datasets.ground_truth import GroundTruth, box
from d2n.datasets.index import Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, find_root
from d2n.errors import DataError
from d2n.files.nesting import integers, strings
from d2n.files.pickle import read_pickle
from d2n.files.reading import reason


def listing(name: str, root: Path, rule: Mapping[str, Any]) -> Listing:
    """The images that the ground truth names: database and queries, all of split test."""
    truth = read_gnd(root, name)
    paths = dict.fromkeys((*truth.database, *truth.queries))
    facts = {"database": len(truth.database), "queries": len(truth.queries)}
    return Listing(tuple(Candidate(path, split="test") for path in paths), facts=facts)


def ground_truths(index: Index, split: str = "test") -> list[GroundTruth]:
    """Easy, hard and junk of every query, and its box."""
    return [read_gnd(index.root, index.kind or index.name)]


def read_gnd(root: Path, name: str) -> GroundTruth:
    """``gnd_<name>.pkl``: imlist, qimlist and gnd of bbx, easy, hard, junk; lists or arrays, names without .jpg."""
    base = find_root(root, name, f"test/{name}", holds=f"gnd_{name}.pkl")
    path = base / f"gnd_{name}.pkl"
    values = read_pickle(path)
    prefix = base.relative_to(root) / "jpg"
    try:
        answers = [
            {key: integers(answer[key]) for key in ("easy", "hard", "junk")} for answer in values["gnd"]
        ]
        boxes = tuple(box(answer["bbx"]) for answer in values["gnd"])
        database, queries = (
            tuple((prefix / f"{image}.jpg").as_posix() for image in strings(values[key]))
            for key in ("imlist", "qimlist")
        )
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected imlist, qimlist and gnd of bbx, easy, hard, junk ({reason(error)})"
        ) from error
    return GroundTruth(name, "revisited", database, queries, tuple(answers), boxes)


ROXFORD5K = SetKind(
    name="roxford5k",
    title="Revisited Oxford",
    ask_at="the revisitop page (Radenović et al. 2018)",
    listing=partial(listing, "roxford5k"),
    thesis={"queries": 70, "database": 4993},
    evaluation=True,
    turn=False,
    ground_truths=ground_truths,
)
RPARIS6K = SetKind(
    name="rparis6k",
    title="Revisited Paris",
    ask_at="the revisitop page (Radenović et al. 2018)",
    listing=partial(listing, "rparis6k"),
    thesis={"queries": 70, "database": 6322},
    evaluation=True,
    turn=False,
    ground_truths=ground_truths,
)
