"""Knobs set one by one: ``--set``, a study's overrides, a trial's settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from d2n.config.methods import foreign, row_of
from d2n.errors import ConfigError
from d2n.files import yaml
from d2n.files.reading import brief


def set_knob(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b.c`` in nested mappings, in place."""
    *parents, last = dotted.split(".")
    for part in parents:
        found = values.get(part, {})
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"{dotted} cannot be set: {part} is {brief(found)}, expected a mapping of knobs to values"
            )
        nested = dict(found)
        values[part] = nested
        values = nested
    values[last] = value


def parse_override(text: str) -> tuple[str, Any]:
    """``translator.lr=1e-4`` → ("translator.lr", 0.0001); the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: expected knob=value, as in --set translator.lr=1e-4")
    return key.strip(), yaml.parse_yaml(value, f"--set {brief(text)}: the value is not YAML")


def with_overrides(values: Mapping[str, Any], pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested values with dotted knobs set.

    Where they choose another translator.method than ``values`` name, the knobs that only that one has fall away.
    """
    pairs = list(pairs)
    changed = without_left_knobs(values, dict(pairs).get("translator.method"))
    for knob, value in pairs:
        set_knob(changed, knob, value)
    return changed


def without_left_knobs(values: Mapping[str, Any], method: Any) -> dict[str, Any]:
    """``values`` without the knobs of their method that ``method``, chosen in place of it, has not; None: no choice."""
    changed, translator = dict(values), values.get("translator")
    if method is None or not isinstance(translator, Mapping):
        return changed
    left = row_of(translator).own & foreign(row_of({"method": method}))
    changed["translator"] = {knob: value for knob, value in translator.items() if knob not in left}
    return changed
