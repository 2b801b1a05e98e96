"""Loading and overriding of experiments; pydantic validates them here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast, get_type_hints

from d2n import shipped
from d2n.config.direction import check_direction
from d2n.config.extending import read_extended
from d2n.config.flattening import knobs, nearest
from d2n.config.kinds import KINDS, Experiment
from d2n.config.knobs import TranslationExperiment
from d2n.config.methods import DEFAULT, METHODS, PRESETS, without_foreign
from d2n.config.overriding import parse_override, with_overrides
from d2n.config.retrieval import RetrievalExperiment
from d2n.config.translator import TranslatorConfig
from d2n.config.validation import validated
from d2n.errors import ConfigError
from d2n.files.reading import brief, one_line
from d2n.naming import checked_dataset, checked_name, checked_network, checked_title


def load_experiment(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Experiment:
    """Read an experiment's YAML, apply ``key=value`` overrides, fill in the preset, check every range.

    ``path`` may be the name of an experiment that comes with d2n, see ``d2n.shipped.find``.
    Raises ConfigError with the file, the line or the knob, what was found and what was expected.
    """
    path = shipped.find("experiments", path)
    return build_experiment(read_extended("experiments", path), overrides, source=str(path))


def build_experiment(
    values: Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = (), source: str = "experiment"
) -> Experiment:
    """An experiment from nested values; see load_experiment."""
    nested = _nest_overrides(values, overrides, source)
    kind = nested.get("kind", "translation")
    nested = _with_preset(nested, source) if kind == "translation" else nested
    return _with_checked_names(validated(KINDS[kind], nested, source), source)


def stored_experiment(values: Mapping[str, Any], source: str) -> Experiment:
    """An experiment that a run or a checkpoint stored, whichever edition of d2n wrote it."""
    translator = values.get("translator")
    if isinstance(translator, Mapping):
        values = {**values, "translator": without_foreign(translator)}
    return build_experiment(values, source=source)


def _with_checked_names(experiment: Experiment, source: str) -> Experiment:
    """The experiment itself, whose names the registry, the file system and a search can hold."""
    checked_title(experiment.name, f"{source}: name")
    if isinstance(experiment, RetrievalExperiment):
        checked_name(experiment.dataset.name, f"{source}: dataset.name")
        if experiment.register_as is not None:
            checked_network(experiment.register_as, f"{source}: register_as")
    else:
        checked_dataset(experiment.dataset.name, f"{source}: dataset.name")
    check_direction(experiment, source)
    return experiment


def translator_config(method: str, preset: str = "thesis", **knobs: Any) -> TranslatorConfig:
    """The translator part alone, with a preset's values: for scripts and tests."""
    values = {"preset": preset, "translator": {"method": method, **knobs}}
    return cast(TranslationExperiment, build_experiment(values)).translator


def _nest_overrides(
    values: Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any], source: str
) -> dict[str, Any]:
    nested: dict[str, Any] = json.loads(json.dumps(values, default=str))
    pairs = list(overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides))
    kind = dict(pairs).get("kind", nested.get("kind", "translation"))
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{source}: kind is {brief(kind)}, expected translation or retrieval")
    _refuse_no_rooms(kind, nested, source)
    known = knobs(kind)
    for key, _ in pairs:
        inside_mapping = key.rpartition(".")[0] in known  # such as dataset.rule.night_threshold
        if key not in known and not inside_mapping:
            raise ConfigError(f"{source}: unknown knob {one_line(key)}{nearest(key[:100], known)}")
    return with_overrides(nested, pairs)


def _refuse_no_rooms(kind: str, values: Mapping[str, Any], source: str) -> None:
    """Before a preset or an override is laid over it: what has knobs of its own must be a mapping."""
    for room, hint in get_type_hints(KINDS[kind]).items():
        if dataclasses.is_dataclass(hint) and room in values and not isinstance(values[room], Mapping):
            raise ConfigError(
                f"{source}: {room} is {brief(values[room])}, expected a mapping of knobs to values; "
                "leave the line out for the defaults"
            )


def _with_preset(values: dict[str, Any], source: str) -> dict[str, Any]:
    preset = values.get("preset", "thesis")
    if not isinstance(preset, str) or preset not in PRESETS:
        hint = nearest(one_line(str(preset)), PRESETS)
        raise ConfigError(f"{source}: preset is {brief(preset)}, expected one of {', '.join(PRESETS)}{hint}")
    merged = dict(values)
    merged["translator"] = {"method": DEFAULT.name, **values.get("translator", {})}
    method = merged["translator"]["method"]
    if not isinstance(method, str) or method not in METHODS:
        *others, last = map(repr, METHODS)
        raise ConfigError(
            f"{source}: translator.method is {brief(method)}: input should be {', '.join(others)} or {last}"
        )
    for room, defaults in PRESETS[preset][method].items():
        merged[room] = {**defaults, **merged.get(room, {})}
    return merged
