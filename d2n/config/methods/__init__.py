"""The GAN methods that an experiment may name, and the knobs and presets of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from d2n.config.method import MethodKnobs, Preset
from d2n.config.methods import cut, cyclegan, hedngan, photometric, pix2pix, stargan
from d2n.config.methods.combogan import KNOBS as COMBOGAN
from d2n.config.methods.todaygan import KNOBS as TODAYGAN
from d2n.config.translator import TranslatorConfig

METHODS: Mapping[str, MethodKnobs] = {
    "pix2pix": pix2pix.KNOBS,
    "cyclegan": cyclegan.KNOBS,
    "cut": cut.KNOBS,
    "hedngan": hedngan.KNOBS,
    "combogan": COMBOGAN,
    "stargan": stargan.KNOBS,
    "todaygan": TODAYGAN,
    "photometric": photometric.KNOBS,
}
DEFAULT = METHODS["cyclegan"]  # of an experiment that names none

PRESET_NAMES = ("thesis", "reference", "later", "published", "toy")
PRESETS: Mapping[str, Mapping[str, Preset]] = {
    preset: {name: row.presets.get(preset, {}) for name, row in METHODS.items()} for preset in PRESET_NAMES
}


class OneOfMethods:
    """Marks the part of an experiment whose knobs depend on its method."""

    def chosen(self, values: Mapping[str, Any]) -> type[TranslatorConfig]:
        """The class of the method that ``values`` name; of the default where they name none that is known."""
        return row_of(values).config

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """A union that ``method`` decides."""
        from pydantic_core import core_schema

        choices = {name: handler.generate_schema(row.config) for name, row in METHODS.items()}
        return core_schema.tagged_union_schema(choices, "method")


def row_of(translator: Mapping[str, Any]) -> MethodKnobs:
    """The row of the method that the values of a translator name, the default's where none is known by it."""
    named = translator.get("method", DEFAULT.name)
    return METHODS.get(named, DEFAULT) if isinstance(named, str) else DEFAULT


def foreign(row: MethodKnobs) -> frozenset[str]:
    """Knobs that other methods have and this one has not."""
    return frozenset().union(*(other.own for other in METHODS.values())) - row.own


def having(knob: str) -> list[str]:
    """The methods that have a knob of their own of this name."""
    return [name for name, row in METHODS.items() if knob in row.own]


def without_foreign(translator: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a stored translator without knobs of other methods.

    Descriptions that were stored before each method had knobs of its own carry those of all; nothing ever read
    the others.
    """
    dropped = foreign(row_of(translator))
    return {knob: value for knob, value in translator.items() if knob not in dropped}


def faults(rows: Mapping[str, MethodKnobs] = METHODS) -> Iterator[str]:
    """What is missing in the rows: a line for each; ``d2n check`` tells them."""
    for name, row in rows.items():
        if row.name != name:
            yield f"method {name}: its knobs say method: {row.name!r}"
        known = {item.name for item in dataclasses.fields(row.config)}
        for preset, rooms in row.presets.items():
            if strange := sorted(set(rooms.get("translator", {})) - known):
                yield f"method {name}: its preset {preset} sets {_listed(strange)}, which it has not"
        for preset, former in row.formerly.items():
            rooms = row.presets.get(preset, {})
            if strange := [
                knob for knob in former if knob.partition(".")[2] not in rooms.get(knob.partition(".")[0], {})
            ]:
                yield f"method {name}: formerly {_listed(strange)}, which its preset {preset} does not set now"
        if absent := [preset for preset in PRESET_NAMES if preset not in row.presets]:
            yield f"method {name}: no preset {_listed(absent)}, expected {_listed(PRESET_NAMES)}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
