"""Configs as flat params and as JSON, and the names of all knobs."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from d2n.config.kinds import KINDS
from d2n.config.methods import METHODS
from d2n.config.types import Scalar


def flatten(experiment: Any, prefix: str = "") -> dict[str, Scalar]:
    """Flat params of a (nested) config: ``translator.lr`` → 0.0002. Tuples and mappings become JSON text."""
    flat: dict[str, Scalar] = {}
    for item in dataclasses.fields(experiment):
        key, value = f"{prefix}{item.name}", getattr(experiment, item.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f"{key}."))
        elif isinstance(value, tuple | list | Mapping):
            flat[key] = json.dumps(
                list(value) if isinstance(value, tuple) else value, sort_keys=True, default=list
            )
        else:
            flat[key] = value
    return flat


def to_dict(experiment: Any) -> dict[str, Any]:
    """The nested values of a config as JSON can hold them; build_experiment reads them back."""
    return cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(experiment), default=dict)))


def knobs(kind: str = "translation") -> list[str]:
    """Every dotted knob name of an experiment kind, those of each method among them."""
    known = set(flatten(KINDS[kind]()))
    if kind == "translation":
        known |= {f"translator.{knob}" for row in METHODS.values() for knob in row.own}
    return sorted(known)


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        by_last = {k.rpartition(".")[2]: k for k in known}
        hit = difflib.get_close_matches(name.rpartition(".")[2], list(by_last), n=1, cutoff=0.6)
        close = [by_last[hit[0]]] if hit else []
    return f"; did you mean {close[0]!r}?" if close else ""
