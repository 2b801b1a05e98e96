"""``d2n knobs --run``: every knob that a run was made with, those that MLflow's pages do not show among them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from d2n.config import nearest
from d2n.errors import ConfigError, TrackingError
from d2n.files.scratch import scratch
from d2n.tracking import names, runs
from d2n.tracking.values import param_text
from d2n.workflows.knobs import TOP


def told(run_id: str, room: str | None = None, tracking_uri: str | None = None) -> list[str]:
    """``knob = value`` of a run, of all rooms or one; with what a resumed run was gone on with.

    TrackingError where the run says none; ConfigError where none of them is of the room.
    """
    store = runs.open_store(tracking_uri)
    record = store.get(run_id.strip())
    found = _resolved(store, record) or _params(record)
    if not found:
        raise TrackingError(
            f"run {record.run_id} ({record.name}) has no knobs: neither {names.CONFIG_JSON} nor params; expected "
            "a run that trained or measured something"
        )
    chosen = {key: value for key, value in found.items() if room is None or _is_of(key, room)}
    if not chosen:
        rooms = sorted({_room(key) for key in found})
        hint = nearest(str(room), [*rooms, *found])
        raise ConfigError(f"{room!r} is no room and no knob of run {record.run_id}{hint}")
    later = {key: record.tags.get(names.resumed_with(key)) for key in chosen}
    return [
        f"{key} = {value}" + (f"   (gone on with {later[key]})" if later[key] is not None else "")
        for key, value in chosen.items()
    ]


def _resolved(store: runs.Store, record: runs.RunRecord) -> dict[str, str]:
    """The knobs of the run's config file; none where it has no such file, or not one that can be read."""
    try:
        with scratch("config") as folder:
            text = store.artifact(record.run_id, names.CONFIG_JSON, folder).read_text(encoding="utf-8")
        values = json.loads(text)
    except (TrackingError, OSError, ValueError, RecursionError):
        return {}
    return _flat(values) if isinstance(values, dict) else {}


def _params(record: runs.RunRecord) -> dict[str, str]:
    others = ("search/", "score_protocol")
    return {key: value for key, value in sorted(record.params.items()) if not key.startswith(others)}


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """As params are: a room's knobs with the room before a dot, lists and mappings below as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": _text(inner) for name, inner in value.items()}
        else:
            flat[key] = _text(value)
    return flat


def _text(value: Any) -> str:
    return param_text(json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value)


def _room(knob: str) -> str:
    return knob.partition(".")[0] if "." in knob else TOP


def _is_of(knob: str, room: str) -> bool:
    return room in (_room(knob), knob, knob.rpartition(".")[2])
