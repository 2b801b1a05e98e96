"""How large a value is once every shared part is written out: what a file of a few bytes may hide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_DEPTH = 64
_LEAF, _OPEN = 1, 0


def nesting_problem(value: Any, *, max_values: int, max_depth: int = MAX_DEPTH) -> str:
    """ "" where lists, tuples and mappings are at most so many values and so deep; else what is wrong.

    A part that stands in two places counts twice, as it would be walked or printed. Without recursion.
    """
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(value, False)]
    while stack:
        one, done = stack.pop()
        key = id(one)
        if done:
            held = parts(one)
            inner = [part for part in held if is_container(part)]
            sizes[key] = 1 + len(held) - len(inner) + sum(sizes[id(part)] for part in inner)
            depths[key] = 1 + max((depths[id(part)] for part in inner), default=0)
            if sizes[key] > max_values:
                return f"more than {max_values} values once its shared parts are written out"
            if depths[key] > max_depth:
                return f"nested more than {max_depth} deep"
        elif is_container(one) and sizes.get(key) is None:
            sizes[key] = _OPEN
            stack.append((one, True))
            for part in parts(one):
                if not is_container(part):
                    continue
                if sizes.get(id(part)) == _OPEN:
                    return "a list or mapping that holds itself"
                stack.append((part, False))
    return ""


def is_container(value: Any) -> bool:
    """Whether a value holds others: a list, a tuple, a dict, a numpy array of objects."""
    if isinstance(value, list | tuple | dict):
        return True
    return bool(getattr(getattr(value, "dtype", None), "hasobject", False)) and hasattr(value, "ravel")


def parts(value: Any) -> Sequence[Any]:
    """What a container holds: of a mapping the keys and the values."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else list(value.ravel().tolist())


def strings(values: Any) -> list[str]:
    """A list of texts; TypeError where something else stands in it."""
    return [_typed(value, str, "text") for value in _listed(values)]


def integers(values: Any) -> list[int]:
    """A list of whole numbers, numpy's among them; TypeError where something else stands in it."""
    return [whole(value) for value in _listed(values)]


def whole(value: Any) -> int:
    """A whole number, no bool and no text; 3.0 is one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"a {type(value).__name__} where a whole number belongs")
    return int(value)


def number(value: Any) -> float:
    """A finite number, no bool and no text."""
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"a {type(value).__name__} where a number belongs")
    found = float(value)
    if found - found != 0:
        raise ValueError(f"{found} where a finite number belongs")
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping; TypeError for anything else."""
    if not isinstance(value, Mapping):
        raise TypeError(f"a {type(value).__name__} where a mapping belongs")
    return value


def _listed(values: Any) -> Iterable[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"a {type(values).__name__} where a list belongs")
    return values


def _typed(value: Any, wanted: type[str], name: str) -> str:
    if not isinstance(value, wanted):
        raise TypeError(f"a {type(value).__name__} where a {name} belongs")
    return str(value)
