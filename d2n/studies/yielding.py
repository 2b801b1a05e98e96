"""A study that yields to others of its storage: it claims nothing and gives its trials back while one of them works."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from d2n.errors import StudyError

YIELDS_TO = "d2n.yields_to"


def declare(study: optuna.Study, yields_to: Sequence[str], storage: optuna.storages.BaseStorage) -> None:
    """Store whom the study yields to; StudyError where one of them yields to it, by however many steps."""
    if circle := _circle(study.study_name, yields_to, storage):
        raise StudyError(
            f"study {study.study_name}: yields_to goes round in a circle ({' -> '.join(circle)}), so that each would "
            "wait for the other; leave one of them out"
        )
    if list(study.user_attrs.get(YIELDS_TO, [])) != list(yields_to):
        study.set_user_attr(YIELDS_TO, list(yields_to))


def _circle(name: str, yields_to: Sequence[str], storage: optuna.storages.BaseStorage) -> list[str]:
    """The way from a study back to itself; [] where there is none. Studies that are not there yield to nobody."""
    ids = {study.study_name: study._study_id for study in storage.get_all_studies()} if yields_to else {}
    ways, seen = [[name, other] for other in yields_to], set[str]()
    while ways:
        way = ways.pop()
        if way[-1] == name:
            return way
        if way[-1] in seen or way[-1] not in ids:
            continue
        seen.add(way[-1])
        ways += [[*way, other] for other in storage.get_study_user_attrs(ids[way[-1]]).get(YIELDS_TO, [])]
    return []
