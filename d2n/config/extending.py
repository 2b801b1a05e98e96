"""``extends:`` in a YAML: what another file says, with this one's own lines laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from d2n import shipped
from d2n.config.overriding import without_left_knobs
from d2n.errors import ConfigError
from d2n.files import yaml
from d2n.files.reading import brief

EXTENDS = "extends"
MAX_DEPTH = 10  # files on the way from a YAML to the one that extends nothing


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping, as it stands in its file; errors name the line and column."""
    values = yaml.read_yaml(path, absent="no such file; `d2n check` lists the experiments and studies here")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds {type(values).__name__}, expected a mapping of knobs to values")
    return cast(dict[str, Any], values)


def read_extended(kind: shipped.Kind, path: str | Path) -> dict[str, Any]:
    """A YAML mapping with all that it extends: mappings are merged knob by knob, everything else is replaced.

    ConfigError in one line where a file that is extended is absent, extends itself or is too far away.
    """
    merged: dict[str, Any] = {}
    for file, values in reversed(_chain(kind, Path(path))):
        merged = _merged(merged, _beside(values, file, Path(path)))
    return merged


def _chain(kind: shipped.Kind, path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The file, what it extends, what that extends …, each with its own values."""
    chain: list[tuple[Path, dict[str, Any]]] = []
    seen: list[Path] = []
    while True:
        values = read_yaml(path)
        chain.append((path, values))
        seen.append(path.resolve())
        if EXTENDS not in values:
            return chain
        path = _extended(kind, path, values.pop(EXTENDS), seen)
        if len(chain) == MAX_DEPTH:
            raise ConfigError(f"{chain[0][0]}: extends more than {MAX_DEPTH} files, one the other")


def _extended(kind: shipped.Kind, path: Path, asked: Any, seen: list[Path]) -> Path:
    """The file that ``path`` extends: beside it, here, or one that comes with d2n."""
    if not isinstance(asked, str) or not asked.strip():
        raise ConfigError(f"{path}: extends is {brief(asked)}, expected a file or the name of one")
    try:
        found = _found(kind, path, asked)
    except ConfigError as error:
        raise ConfigError(f"{path}: extends {brief(asked)}: {error}") from error
    if found.resolve() in seen:
        way = " -> ".join(one.name for one in (*seen, found))
        raise ConfigError(f"{path}: extends {brief(asked)}, which comes back to it: {way}")
    return found


def _found(kind: shipped.Kind, path: Path, asked: str) -> Path:
    """A file of one's own may extend the one of the same name that comes with d2n."""
    names = (
        [asked] if asked.endswith(shipped.SUFFIXES) else [asked, *(asked + end for end in shipped.SUFFIXES)]
    )
    own = path.resolve()
    places = [path.parent / name for name in names]
    if Path(asked).name == asked:
        places += [shipped.folder(kind) / name for name in names]
    for place in places:
        if shipped.is_file(place) and place.resolve() != own:
            return place
    return shipped.find(kind, asked)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``; the knobs of a method that ``above`` replaces fall away."""
    translator = above.get("translator")
    method = translator.get("method") if isinstance(translator, Mapping) else None
    return _laid_over(without_left_knobs(below, method), above)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _laid_over(cast(Mapping[str, Any], old), value) if both else value
    return merged


def _beside(values: dict[str, Any], file: Path, reader: Path) -> dict[str, Any]:
    """A study's experiment is meant relative to the file that names it."""
    named = values.get("experiment")
    if isinstance(named, str) and file.parent.resolve() != reader.parent.resolve():
        there = file.parent / named
        if shipped.is_file(there):
            return {**values, "experiment": str(there)}
    return values
