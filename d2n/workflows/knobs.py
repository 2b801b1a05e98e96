"""``d2n knobs``: every knob with its default, its range and its meaning, read from the dataclasses of d2n.config.

A knob's meaning is the string below it in the class.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen

from d2n.config import (
    PromotionConfig,
    RetrievalExperiment,
    TranslationExperiment,
    TranslatorConfig,
    nearest,
)
from d2n.config.methods import DEFAULT, METHODS
from d2n.errors import ConfigError

TOP = "experiment"  # the room of knobs that stand in no room
_KINDS = {"translation": TranslationExperiment, "retrieval": RetrievalExperiment}
_PROMOTION = "promotion"
_KINDS_OF_VALUES = {int: "integer", float: "number", str: "text", bool: "true | false"}
_SIGNS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"))
_WIDTH = 110


@dataclass(frozen=True)
class Knob:
    """One knob, explained."""

    kind: str  # translation or retrieval (of experiment), promotion
    room: str
    name: str  # dotted, as --set takes it
    default: str
    range: str
    meaning: str


def all_knobs() -> list[Knob]:
    """Every knob of both kinds of experiment, and a promotion's; a room that both share comes once."""
    found: dict[tuple[str, type], list[Knob]] = {}
    for kind, cls in _KINDS.items():
        for room, room_cls in _rooms(cls):
            by_method = room_cls is TranslatorConfig
            known = _knobs_of_methods(kind, room) if by_method else _knobs_of(kind, room, room_cls)
            found.setdefault((room, room_cls), list(known))
    found[_PROMOTION, PromotionConfig] = list(_knobs_of(_PROMOTION, _PROMOTION, PromotionConfig))
    return [knob for room in found.values() for knob in room]


def explain(asked: str | None = None) -> list[str]:
    """Lines about all knobs, a room's, or one; ConfigError names the nearest room or knob."""
    knobs = all_knobs()
    chosen = [k for k in knobs if asked is None or asked in (k.room, k.name, k.name.rpartition(".")[2])]
    if not chosen:
        rooms = list(dict.fromkeys(knob.room for knob in knobs))
        hint = nearest(str(asked), [*rooms, *(knob.name for knob in knobs)])
        raise ConfigError(f"{asked!r} is no room and no knob{hint} (rooms: {', '.join(rooms)})")
    lines: list[str] = []
    for kind, room in dict.fromkeys((knob.kind, knob.room) for knob in chosen):
        lines += ["", _title(kind, room)] if lines else [_title(kind, room)]
        for knob in chosen:
            if (knob.kind, knob.room) == (kind, room):
                lines += _lines(knob)
    return [
        *lines,
        "",
        "A preset and the YAML win over these defaults: `d2n train EXPERIMENT --dry-run` shows what holds.",
        "What a study's YAML may say: docs/studies.md; the knobs of dataset.rule: docs/datasets.md.",
    ]


def meanings(cls: type) -> dict[str, str]:
    """The string below each field of a class."""
    inherited = [meanings(base) for base in cls.__bases__ if dataclasses.is_dataclass(base)]
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if not isinstance(tree, ast.ClassDef):
        raise TypeError(f"{cls} is no class")
    found = {name: meaning for known in inherited for name, meaning in known.items()}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = inspect.cleandoc(str(below.value.value))  # type: ignore[attr-defined] # is_text
    return found


def range_text(hint: Any) -> str:
    """What a knob may be: ``number > 0, < 10``, ``cpu | cuda``, ``integer >= 8 or null``."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{range_text(parts[0])} {', '.join(_bounds(parts[1:]))}".strip()
    if origin in (Union, UnionType):
        texts = [range_text(part) for part in parts if part is not type(None)]
        return " or ".join([*texts, *(["null"] if type(None) in parts else [])])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (tuple, list):
        return f"list of {range_text(parts[0])}"
    return "mapping" if origin is not None else _KINDS_OF_VALUES.get(hint, str(hint))


def _bounds(marks: tuple[Any, ...]) -> Iterator[str]:
    for mark in marks:
        for cls, attribute, sign in _SIGNS:
            if isinstance(mark, cls):
                yield f"{sign} {getattr(mark, attribute):g}"
        if isinstance(mark, MinLen) and mark.min_length:
            yield f"(at least {mark.min_length})"


def _rooms(cls: type) -> Iterator[tuple[str, type]]:
    yield TOP, cls
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield name, hint


def _knobs_of(kind: str, room: str, cls: Any) -> Iterator[Knob]:
    hints, known = get_type_hints(cls, include_extras=True), meanings(cls)
    plain = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if not dataclasses.is_dataclass(plain[field.name]):
            name = field.name if room == TOP else f"{room}.{field.name}"
            meaning = known.get(field.name, "")
            yield Knob(kind, room, name, _default(field), range_text(hints[field.name]), meaning)


def _knobs_of_methods(kind: str, room: str) -> Iterator[Knob]:
    """The choice of a method, the knobs that all share, those of each."""
    shared = {knob.name: knob for knob in _knobs_of(kind, room, TranslatorConfig)}
    method = shared.pop(f"{room}.method")
    yield dataclasses.replace(method, default=DEFAULT.name, range=" | ".join(METHODS))
    yield from shared.values()
    for name, row in METHODS.items():
        for knob in _knobs_of(kind, room, row.config):
            if knob.name not in shared and knob.name != method.name:
                yield dataclasses.replace(knob, range=f"{name}: {knob.range}")


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default if field.default is not dataclasses.MISSING else {}
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(f'{part:.4g}' if isinstance(part, float) else str(part) for part in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _title(kind: str, room: str) -> str:
    if kind == _PROMOTION:
        return f"{room} (d2n promote)"
    shared = room == "dataset"
    verb = (
        "train and search; also retrieve"
        if shared
        else "train and search"
        if kind == "translation"
        else "retrieve"
    )
    return f"{room} (d2n {verb})"


def _lines(knob: Knob) -> list[str]:
    head = f"  {knob.name} = {knob.default}   [{knob.range}]"
    return [head, *textwrap.wrap(knob.meaning, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]
