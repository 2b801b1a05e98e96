"""d2n's own bookkeeping among a run's tags: under one prefix, what belongs together as one tag.

Whoever reads a run sees each value under a name of its own, as earlier releases wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from d2n.tracking import names

_TOGETHER: Mapping[str, tuple[str, ...]] = {
    names.PROCESS: (names.HOST, names.PID, names.PROCESS_START, names.PROCESSES),
    names.ENVIRONMENT: (
        names.VERSION,
        names.CODE_COMMIT,
        names.PYTHON,
        names.PACKAGES,
        names.PLATFORM,
        names.CPUS,
    ),
}
_NOW = {
    f"{names.OWN}{last}": f"{names.INTERNAL}{last}" for last in names.MOVED
}  # by what it was called before


def packed(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as a run keeps them, the bookkeeping last: the pages show them in the order of their writing."""
    kept = dict(sorted(tags.items(), key=lambda tag: tag[0].startswith(names.INTERNAL)))
    for tag, members in _TOGETHER.items():
        found = {name.removeprefix(names.OWN): kept.pop(name) for name in members if name in kept}
        if found:
            kept[tag] = json.dumps(found, ensure_ascii=False)
    return kept


def read(tags: Mapping[str, str]) -> dict[str, str]:
    """Every value by its own name; one that stands alone, as before, counts before one of those together."""
    known: dict[str, str] = {}
    for tag, members in _TOGETHER.items():
        known |= {name: value for name, value in _together(tags.get(tag, "")).items() if name in members}
    known |= {name: value for name, value in tags.items() if name not in _TOGETHER and name not in _NOW}
    return known | {now: tags[before] for before, now in _NOW.items() if before in tags}


def taken_up(tags: Mapping[str, str], mine: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What a process writes on a run that it takes up, and which of the run's tags it removes: an earlier release's."""
    former = [tag for tag in tags if tag in _NOW or tag in _TOGETHER[names.PROCESS]]
    return packed({**{_NOW[tag]: tags[tag] for tag in former if tag in _NOW}, **mine}), former


def _together(text: str) -> dict[str, str]:
    """Nothing where someone edited the tag."""
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    each = values.items() if isinstance(values, dict) else ()
    return {f"{names.OWN}{name}": value for name, value in each if isinstance(value, str)}
