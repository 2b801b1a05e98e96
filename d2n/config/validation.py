"""A config dataclass from nested values, checked by pydantic."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

from d2n.config.flattening import nearest
from d2n.config.methods import OneOfMethods, having
from d2n.config.translator import TranslatorConfig
from d2n.errors import ConfigError
from d2n.files.fields import hints_of, odd_values
from d2n.files.reading import brief, one_line

T = TypeVar("T")


def validated(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """A frozen config dataclass from nested values, every unknown knob and range named in one line."""
    from pydantic import ValidationError

    _refuse_unknown(cls, values, source)
    for line in _odd_values(cls, values):
        raise ConfigError(f"{source}: {line}")
    try:
        return cast(T, _adapter(cast(Any, cls)).validate_python(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(_place(cls, first["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(
            f"{source}: {where} is {brief(first['input'])}: {one_line(message, 200)}{more}"
        ) from error


@functools.cache
def _adapter(cls: Any) -> Any:
    """pydantic's validator of a dataclass; making one takes longer than using it."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _refuse_unknown(cls: Any, values: Mapping[str, Any], source: str, prefix: str = "") -> None:
    hints = hints_of(cls)
    known = [item.name for item in dataclasses.fields(cls)]
    for key, value in values.items():
        if key not in known:
            _refuse_foreign(cls, key, f"{source}: {prefix}")
            names = [f"{prefix}{name}" for name in known]
            raise ConfigError(
                f"{source}: unknown knob {prefix}{one_line(str(key))}{nearest(f'{prefix}{key}'[:100], names)} "
                f"(known here: {', '.join(names)})"
            )
        if isinstance(value, Mapping) and (inner := _room(hints[key], value)) is not None:
            _refuse_unknown(inner, value, source, f"{prefix}{key}.")


def _refuse_foreign(cls: Any, knob: str, where: str) -> None:
    """A knob of another method than the chosen one."""
    if issubclass(cls, TranslatorConfig) and (others := having(knob)):
        raise ConfigError(
            f"{where}{one_line(knob)} is a knob of {' and '.join(others)}, which {cls.method} has not; "
            f"leave it out, or set translator.method to {others[0]}"
        )


def _room(hint: Any, values: Mapping[str, Any]) -> Any:
    """The dataclass of the knobs that are in ``values``; None where the hint has none."""
    if isinstance(mark := _mark(hint), OneOfMethods):
        return mark.chosen(values)
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
    return next((one for one in (hint, *alternatives) if dataclasses.is_dataclass(one)), None)


def _mark(hint: Any) -> OneOfMethods | None:
    return next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, OneOfMethods)), None)


def _odd_values(cls: Any, values: Mapping[str, Any]) -> Iterator[str]:
    """Those of the class, then those of the rooms whose class the values choose."""
    yield from odd_values(cls, values)
    for key, hint in hints_of(cls).items():
        if (mark := _mark(hint)) is not None and isinstance(values.get(key), Mapping):
            yield from odd_values(mark.chosen(values[key]), values[key], f"{key}.")


def _place(cls: Any, location: tuple[int | str, ...]) -> Iterator[str]:
    """Where a wrong value stands, without the name of the method that pydantic puts behind its room."""
    first, *rest = location
    chosen = len(rest) > 1 and _mark(hints_of(cls).get(str(first)))
    yield from map(str, (first, *(rest[1:] if chosen else rest)))
