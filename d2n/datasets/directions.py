"""A data set seen in one direction: which of its conditions is translated to which other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from d2n.config import nearest
from d2n.datasets.index import ImageRow, Index
from d2n.datasets.listing import Candidate
from d2n.datasets.splits import assign_splits
from d2n.errors import DataError
from d2n.files.reading import brief

DAY_TO_NIGHT = ("day", "night")


def directed(index: Index, domains: Sequence[str] = DAY_TO_NIGHT) -> Index:
    """The index whose rows are of ``domains`` or of none: translated from the first to the second.

    A domain is day, night or a condition. Images of a condition alone, which have no split, are drawn here: with
    their scene where that has one, else as assign_splits draws. Pairs are those of the first domain with the
    second. From day to night, and nothing else, it is the index itself.

    DataError for a domain without images, and for an image of two of them.
    """
    wanted = tuple(domains)
    if wanted == DAY_TO_NIGHT:
        return index
    found = known_domains(index)
    for domain in wanted:
        if domain not in found:
            raise DataError(f"{index.name}: no images of {brief(domain)}{_other(domain, found)}")
    rows = tuple(_of(row, wanted, index.name) for row in index.rows)
    split_of = _drawn(index, rows)
    rows = tuple(replace(row, split=split_of.get(i, row.split)) for i, row in enumerate(rows))
    pairs = tuple(pair for side in index.pairs for pair in _turned(side, rows, wanted))
    return replace(index, rows=rows, pairs=pairs, domains=wanted)


def known_domains(index: Index) -> dict[str, int]:
    """Images by domain and by condition: all that a direction may name."""
    found: dict[str, int] = {}
    for row in index.rows:
        for label in row.labels:
            found[label] = found.get(label, 0) + 1
    return found


def _other(domain: str, found: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} ({count})" for name, count in found.items()) or "none at all"
    spelt = next((name for name in found if name.lower() == domain.lower()), None)
    hint = f"; it is written {spelt!r}" if spelt else nearest(domain, found)
    return f"{hint} (found: {listed}; dataset.source, dataset.target and dataset.domains choose)"


def _of(row: ImageRow, wanted: tuple[str, ...], name: str) -> ImageRow:
    """The row under the one of the wanted domains that it belongs to."""
    labels = [label for label in row.labels if label in wanted]
    if len(labels) > 1:
        raise DataError(
            f"{name}: {row.path} is of {labels[0]} and of {labels[1]}; expected domains that share no image"
        )
    return replace(row, domain=labels[0] if labels else "")


def _drawn(index: Index, rows: Sequence[ImageRow]) -> dict[int, str]:
    """Splits, by place, of the rows that are of a domain and have none."""
    scenes = {row.scene: row.split for row in index.rows if row.scene and row.split}
    without = [i for i, row in enumerate(rows) if row.domain and not row.split]
    split_of = {i: scenes[rows[i].scene] for i in without if rows[i].scene in scenes}
    left = [i for i in without if i not in split_of]
    shares = [float(index.rule.get(f"{split}_share", 0.1)) for split in ("val", "test")]
    images = [Candidate(rows[i].path, rows[i].domain, rows[i].scene) for i in left]
    drawn, _ = assign_splits(images, (), shares[0], shares[1], int(index.rule.get("split_seed", 0)))
    return split_of | dict(zip(left, drawn, strict=True))


def _turned(
    pair: tuple[int, int], rows: Sequence[ImageRow], wanted: tuple[str, ...]
) -> list[tuple[int, int]]:
    """The pair from the first domain to the second; [] where it is of others."""
    for first, second in (pair, pair[::-1]):
        if (rows[first].domain, rows[second].domain) == wanted[:2]:
            return [(first, second)]
    return []
