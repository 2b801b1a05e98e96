"""A config dataclass from nested values, checked by pydantic."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from d2n.config.flattening import nearest
from d2n.errors import ConfigError
from d2n.files.fields import odd_values
from d2n.files.reading import brief, one_line

T = TypeVar("T")


def validated(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """A frozen config dataclass from nested values, every unknown knob and range named in one line."""
    from pydantic import ValidationError

    _refuse_unknown(cls, values, source)
    for line in odd_values(cls, values):
        raise ConfigError(f"{source}: {line}")
    try:
        return cast(T, _adapter(cast(Any, cls)).validate_python(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
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
    hints = get_type_hints(cls)
    known = [item.name for item in dataclasses.fields(cls)]
    for key, value in values.items():
        if key not in known:
            names = [f"{prefix}{name}" for name in known]
            raise ConfigError(
                f"{source}: unknown knob {prefix}{one_line(str(key))}{nearest(f'{prefix}{key}'[:100], names)} "
                f"(known here: {', '.join(names)})"
            )
        alternatives = get_args(hints[key]) if get_origin(hints[key]) in (Union, UnionType) else ()
        inner = next((t for t in (hints[key], *alternatives) if dataclasses.is_dataclass(t)), None)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(inner, value, source, f"{prefix}{key}.")
