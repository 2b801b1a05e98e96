"""``d2n registry``: the registered models, how their aliases moved, back to the champion before, and vetoes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from d2n import naming
from d2n.errors import RegistryError
from d2n.tracking import history, links, names, registered, registry, runs

if TYPE_CHECKING:
    from d2n.tracking.history import Record
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store


def list_command(model: str | None, *, tracking_uri: str | None, as_json: bool) -> list[str]:
    """Every version of one registered model, or of all that d2n made: aliases, method, score, veto."""
    store = runs.open_store(tracking_uri)
    each = [model_name(store, model)] if model else registry.list_models(store, naming.GENERATORS)
    rows = [row for name in each for row in _rows(store, name)]
    if as_json:
        return [json.dumps(rows, indent=2, ensure_ascii=False)]
    if not rows:
        return [f"nothing is registered in {store.display_uri}: `d2n promote DATASET` registers generators"]
    return [_row_text(row) for row in rows]


def history_command(model: str, *, tracking_uri: str | None, as_json: bool) -> list[str]:
    """Every move of a model's aliases and every decision, oldest first; what was moved by hand is shown as such."""
    store = runs.open_store(tracking_uri)
    name = model_name(store, model)
    shown = history.timeline(history.records(store, name), registry.list_aliases(store, name))
    unreadable = registry.unreadable_moves(store, name)
    vetoes = _vetoes(store, name)
    if as_json:
        told = [{**asdict(one), "at": one.at.isoformat()} for one in shown]
        values = {"model": name, "history": told, "vetoes": vetoes, "unreadable": unreadable}
        return [json.dumps(values, indent=2, ensure_ascii=False)]
    lines = [_record_text(one) for one in shown] or [f"{name}: no alias was ever moved"]
    lines += [f"vetoed: {name}/{version}: {why}" for version, why in vetoes.items()]
    return lines + [
        f"left out: {tag}: it cannot be read; `d2n doctor --mend` removes it" for tag in unreadable
    ]


def rollback_command(model: str, *, to: str | None, why: str, tracking_uri: str | None) -> list[str]:
    """The champion before, or version ``to``, under the alias again; with a record and the reason."""
    store = runs.open_store(tracking_uri)
    name = model_name(store, model)
    reason = naming.checked_title(why, "--why", RegistryError)
    with registry.exclusive(store, name):
        history.settle(store, name)
        now = registry.list_aliases(store, name).get(names.CHAMPION, "")
        target = _target(store, name, now, to)
        _move_back(store, name, target, f"rolled back: {reason}", "rollback")
    lines = [f"{name}@{names.CHAMPION} is version {target.version} now (was {now or 'none'})"]
    if now:
        lines.append(
            f"the next `d2n promote` may choose version {now} again; `d2n registry veto {name}/{now} --why …` keeps "
            "it out"
        )
    return lines


def veto_command(version: str, *, why: str, tracking_uri: str | None) -> list[str]:
    """A version that never becomes the champion (again); a champion gives its alias to the one before it."""
    store = runs.open_store(tracking_uri)
    found = registry.resolve(store, version)
    with registry.exclusive(store, found.name):
        registry.veto(store, found, why)
        history.settle(store, found.name)
        now = registry.list_aliases(store, found.name).get(names.CHAMPION)
        lines = [f"{found.name} version {found.version} is vetoed: no promotion takes it or its run"]
        if now == found.version:
            before = _before(store, found.name, now)
            _move_back(store, found.name, before, f"vetoed: {why}", "veto")
            is_now = f"version {before.version}" if before is not None else "no version: promote another"
            lines.append(f"{found.name}@{names.CHAMPION} is {is_now} now (was {now})")
    return lines


def model_name(store: Store, given: str) -> str:
    """The registered model of a data set, or the one of this name; RegistryError lists those that are there."""
    known = registry.list_models(store)
    for name in (given, f"{naming.GENERATORS}{given}"):
        if name in known:
            return name
    there = f"registered there: {', '.join(known)}" if known else "nothing is registered there"
    raise RegistryError(
        f"no registered model or data set {naming.brief(given)} in {store.display_uri} ({there}); `d2n promote "
        "DATASET` registers generators"
    )


def _target(store: Store, name: str, now: str, to: str | None) -> RegisteredVersion:
    if to is None:
        found = _before(store, name, now)
        if found is None:
            raise RegistryError(
                f"{name} has no champion before version {now or 'none'} that loads and is not vetoed; name one by "
                f"--to (it has: {', '.join(v.version for v in registry.list_versions(store, name)) or 'none'})"
            )
        return found
    if not to.isascii() or not to.isdecimal() or len(to) > 9:
        raise RegistryError(f"--to is {naming.brief(to)}, expected a version's number such as 3")
    found = registry.resolve(store, f"{name}/{int(to)}")
    if found.version == now:
        raise RegistryError(f"{name} version {now} is the champion already")
    if (why := registry.vetoed(store, name).get(found.version)) is not None:
        raise RegistryError(f"{name} version {found.version} was vetoed ({why}): choose another")
    registry.require_files(store, found)
    return found


def _before(store: Store, name: str, now: str) -> RegisteredVersion | None:
    """The newest earlier champion that loads and is not vetoed."""
    vetoes = registry.vetoed(store, name)
    there = {version.version: version for version in registry.list_versions(store, name)}
    for record in reversed(history.champions(history.records(store, name))):
        found = there.get(record.version)
        if found is None or found.version == now or found.version in vetoes:
            continue
        if not registry.missing_files(store, found):
            return found
    return None


def _move_back(store: Store, name: str, target: RegisteredVersion | None, reason: str, by: str) -> None:
    """The champion's alias to a version that had it, with the seeds and the former champion that it had then."""
    known = history.records(store, name)
    moves = {alias: "" for alias in registry.list_aliases(store, name) if names.is_seed_alias(alias)}
    version = target.version if target is not None else ""
    made = [
        one for one in known if one.state == "done" and one.alias == names.CHAMPION and one.version == version
    ]
    there = {one.version for one in registry.list_versions(store, name)}
    if made and version:
        moves |= {alias: to for alias, (_, to) in made[-1].also.items() if names.is_seed_alias(alias)}
    stack = [one.version for one in history.champions(known)]
    if version in stack:
        earlier = stack[: stack.index(version)]
        moves[names.PREVIOUS] = earlier[-1] if earlier else ""
    moves = {alias: to for alias, to in moves.items() if not to or to in there}
    history.move(store, name, {**moves, names.CHAMPION: version}, main=names.CHAMPION, reason=reason, by=by)
    if target is not None:
        links.describe_version(store, target)


def _rows(store: Store, name: str) -> list[dict[str, Any]]:
    vetoes = registry.vetoed(store, name)
    return [
        {
            "model": name,
            "version": one.version,
            "aliases": list(one.aliases),
            "method": one.method,
            "seed": one.seed,
            "scores": {
                tag.removeprefix(names.TEST): value
                for tag, value in one.tags.items()
                if tag.startswith(names.TEST)
            },
            "run_id": one.run_id,
            "used_by": list(one.used_by),
            "vetoed": vetoes.get(one.version),
        }
        for one in registry.list_versions(store, name)
    ]


def _row_text(row: dict[str, Any]) -> str:
    scores = ", ".join(f"{key} {value}" for key, value in row["scores"].items())
    about = [row["method"], f"seed {row['seed']}" if row["seed"] else "", scores, f"run {row['run_id']}"]
    aliases = f" ({', '.join(row['aliases'])})" if row["aliases"] else ""
    veto = f"; vetoed: {row['vetoed']}" if row["vetoed"] is not None else ""
    count = len(row["used_by"])
    used = f"; used by {count} run{'s' if count > 1 else ''}" if count else ""
    return f"{row['model']}/{row['version']}{aliases}: {', '.join(filter(None, about))}{used}{veto}"


def _record_text(record: Record) -> str:
    at = record.at.strftime("%Y-%m-%d %H:%M:%S")
    if not record.alias:
        return f"{at}  kept version {record.version or 'none'}: {record.reason}"
    by = f" by {record.by}" if record.by else ""
    state = {"done": "", "void": " (never made)", "intended": " (begun, not ended)"}[record.state]
    along = _along(record)
    was = f", was {record.former}" if record.former else ""
    to = f"version {record.version}" if record.version else "no version"
    return f"{at}  {record.alias} to {to}{was}{by}{state}: {record.reason}{along}"


def _along(record: Record) -> str:
    each = [f"{alias} to {to or 'none'}" for alias, (_, to) in record.also.items()]
    return f" [{', '.join(each)}]" if each else ""


def _vetoes(store: Store, name: str) -> dict[str, str]:
    there: Sequence[str] = [
        tag for tag in map(names.version_of_veto, registered.model(store, name).tags) if tag
    ]
    found = registry.vetoed(store, name)
    on_versions = [version.version for version in registry.list_versions(store, name)]
    return {version: found[version] for version in sorted({*there, *on_versions}) if version in found}
