"""Values from a file held against the annotations of the dataclass that they are for."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from d2n.errors import D2NError
from d2n.files.reading import brief, one_line

_BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "more than"), (Le, "le", "at most"), (Lt, "lt", "less than"))


@functools.cache
def hints_of(cls: Any) -> Mapping[str, Any]:
    """The annotations of a dataclass by its fields' names; resolving them takes a millisecond."""
    return get_type_hints(cls, include_extras=True)


def check_fields(cls: Any, values: Any, source: str, error: type[D2NError], where: str = "") -> None:
    """``error`` where ``values`` are not what the annotations of dataclass ``cls`` say: names, types and bounds.

    Absent ones are left to their defaults. For descriptions that are read where pydantic may be absent.
    """
    if not isinstance(values, Mapping):
        raise error(f"{source}: {where or 'the description'} is {brief(values)}, expected names with values")
    hints = hints_of(cls)
    for key, value in values.items():
        if key not in hints:
            raise error(f"{source}: unknown knob {where}{one_line(str(key))}: made by another version of d2n")
        if expected := _misfit(hints[key], value):
            raise error(f"{source}: {where}{key} is {brief(value)}, expected {expected}")


def odd_values(cls: Any, values: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """A line for each value that a lenient reader would turn into another one, or that nothing can be made of.

    A switch where a number belongs, numbers that are not finite, control characters, and what is no mapping
    where a part with knobs of its own belongs.
    """
    hints = hints_of(cls)
    for key, value in values.items():
        if key in hints:
            yield from _odd(hints[key], value, f"{where}{key}")


def _odd(hint: Any, value: Any, where: str) -> Iterator[str]:  # noqa: C901 - a case a kind of hint
    options = _options(hint)
    inner = next((one for one in options if dataclasses.is_dataclass(one)), None)
    if inner is not None:
        if isinstance(value, Mapping):
            yield from odd_values(inner, value, f"{where}.")
        elif value is not None or NoneType not in options:
            yield f"{where} is {brief(value)}, expected a mapping of knobs to values"
    elif isinstance(value, bool):
        if bool not in options and {int, float} & set(options):
            yield f"{where} is {str(value).lower()}, expected a number"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}, expected a finite number"
    elif isinstance(value, str) and (bad := _unprintable(value)):
        yield f"{where} is {brief(value)}: holds the character {bad!r}, which no name or path here may have"
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _odd(_element(options, Mapping), one, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _odd(_element(options, tuple), one, where)


def _unprintable(text: str) -> str:
    """The first control character or lone surrogate, but those that stand for bytes of a file's name."""
    for c in text:
        if c < " " or c == "\x7f" or ("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff"):
            return c
    return ""


def _element(options: list[Any], kind: Any) -> Any:
    """The annotation of what stands in a mapping or a tuple; Any where it is not said."""
    for option in options:
        origin, inner = get_origin(option), get_args(option)
        if kind is tuple and origin in (tuple, list) and inner:
            return inner[0]
        if kind is Mapping and origin in (Mapping, dict) and len(inner) == 2:
            return inner[1]
    return Any


def _options(hint: Any) -> list[Any]:
    """The plain types that an annotation allows, bounds left off."""
    if get_origin(hint) is Annotated:
        return _options(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [option for inner in get_args(hint) for option in _options(inner)]
    return [hint]


def _misfit(hint: Any, value: Any) -> str:
    """ "" where a value fits an annotation, else what was expected."""
    bounds: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        bounds = tuple(rest)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        expected = [_misfit(option, value) for option in get_args(hint)]
        return "" if "" in expected else " or ".join(expected)
    if hint is Any:
        return ""
    if origin is Literal:
        allowed = get_args(hint)
        fits = any(type(value) is type(one) and value == one for one in allowed)
        return "" if fits else f"one of {', '.join(map(str, allowed))}"
    if dataclasses.is_dataclass(hint):
        return "" if isinstance(value, Mapping) else "a mapping"
    return _plain_misfit(hint, origin, value) or _out_of_bounds(bounds, value)


def _plain_misfit(hint: Any, origin: Any, value: Any) -> str:
    if hint is NoneType:
        return "" if value is None else "nothing"
    if hint is int:
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and abs(value) < 1e300 else "a finite number"  # NaN compares as False too
    if hint is str and isinstance(value, str) and "\0" in value:
        return "a text without NUL"
    if hint in (str, bool):
        return "" if isinstance(value, hint) else {str: "a text", bool: "true or false"}[hint]
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            return "a list"
        return next((f"a list of {bad}" for one in value if (bad := _misfit(get_args(hint)[0], one))), "")
    if not isinstance(value, Mapping):
        return "a mapping"
    return next((f"in it {bad}" for one in value.values() if (bad := _misfit(get_args(hint)[1], one))), "")


def _out_of_bounds(bounds: tuple[Any, ...], value: Any) -> str:
    for bound in bounds:
        if isinstance(bound, MinLen) and len(value) < bound.min_length:
            return f"at least {bound.min_length} long"
        if isinstance(bound, MaxLen) and len(value) > bound.max_length:
            return f"at most {bound.max_length} long"
        for kind, name, words in _BOUNDS:
            if isinstance(bound, kind):
                limit = getattr(bound, name)
                fits = {"ge": value >= limit, "gt": value > limit, "le": value <= limit, "lt": value < limit}
                if not fits[name]:
                    return f"{words} {limit}"
    return ""
