"""The one reader of YAML: plain values under text keys, of bounded size, depth and aliases.

YAML 1.2 where it matters: ``1e-4`` is a number and ``on`` is a key as any other. A date stays the text it is.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from d2n.errors import ConfigError, D2NError
from d2n.files.reading import brief, one_line, read_text

MAX_BYTES = 256 * 2**10
MAX_VALUES = 20_000  # with every alias written out
MAX_DEPTH = 32
MAX_DIGITS = 100

_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
_TAG = "tag:yaml.org,2002:"


def read_yaml(path: str | Path, error: type[D2NError] = ConfigError, absent: str = "no such file") -> Any:
    """The values of a YAML file; ``error`` names the file, the line and the column."""
    return parse_yaml(read_text(path, error, at_most=MAX_BYTES, absent=absent), str(path), error)


def parse_yaml(text: str, source: str, error: type[D2NError] = ConfigError) -> Any:
    """The values of a YAML text; ``source`` begins the error."""
    import yaml

    if len(text) > MAX_BYTES:
        raise error(f"{source}: {len(text)} characters of YAML, at most {MAX_BYTES} are read")
    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - a SafeLoader of fewer tags
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = getattr(problem, "problem", None) or getattr(problem, "reason", None) or "not YAML"
        raise error(f"{source}: {where}{one_line(str(said), 160)}") from problem


@functools.cache
def _loader() -> Any:  # noqa: C901 - one class, its methods are short
    """yaml.SafeLoader with limits, without the tags that make other than plain values."""
    import yaml

    class Loader(yaml.SafeLoader):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.depth = self.values = 0
            self.sizes: dict[str, int] = {}  # of what an anchor names, written out

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # as the stubs leave it
            anchor, before = event.anchor, self.values
            if self.check_event(yaml.AliasEvent):
                self._count(self.sizes.get(anchor, 1), event)
                if anchor in self.anchors and anchor not in self.sizes:
                    raise _problem("an alias inside the part that it names", event)
                return super().compose_node(parent, index)
            self._count(1, event)
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise _problem(f"nested more than {MAX_DEPTH} deep", event)
            node = super().compose_node(parent, index)
            self.depth -= 1
            if anchor is not None:
                self.sizes[anchor] = self.values - before
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            _refuse_twice(node)
            return node

        def _count(self, values: int, event: Any) -> None:
            self.values += values
            if self.values > MAX_VALUES:
                raise _problem(f"more than {MAX_VALUES} values once aliases are written out", event)

    def _problem(said: str, place: Any) -> yaml.MarkedYAMLError:
        return yaml.constructor.ConstructorError(None, None, said, place.start_mark)

    def mapping(loader: Any, node: Any) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _problem("expected a mapping here", node)
        loader.flatten_mapping(node)  # <<: *defaults; what is merged stands first, so that own values win
        return {_key(key): loader.construct_object(value, deep=True) for key, value in node.value}

    def _refuse_twice(node: Any) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            if _key(key) in seen:
                raise _problem(f"{brief(_key(key))} stands twice", key)
            seen.add(_key(key))

    def _key(node: Any) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise _problem("a list or mapping as a key, expected a name", node)
        return str(node.value)

    def scalar(kind: str) -> Any:
        base = yaml.SafeLoader.yaml_constructors[_TAG + kind]

        def construct(loader: Any, node: Any) -> Any:
            if not isinstance(node, yaml.ScalarNode):
                raise _problem(f"a {node.id} where !!{kind} says a {kind} stands", node)
            if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
                raise _problem(f"a number of {len(node.value)} digits, at most {MAX_DIGITS} are read", node)
            try:
                value = base(loader, node)
            except (ValueError, LookupError, AttributeError, ArithmeticError, TypeError):
                hint = "; write it in quotes if a text is meant" if kind == "timestamp" else ""
                name = {"timestamp": "date", "bool": "switch"}.get(kind, kind)
                raise _problem(f"{brief(node.value)} is no {name}{hint}", node) from None
            return node.value if kind == "timestamp" else value

        return construct

    Loader.yaml_constructors = {
        _TAG + "map": mapping,
        _TAG + "seq": lambda loader, node: loader.construct_sequence(node, deep=True),
        _TAG + "str": yaml.SafeLoader.construct_yaml_str,
        **{_TAG + kind: scalar(kind) for kind in ("null", "bool", "int", "float", "timestamp")},
        None: yaml.SafeLoader.construct_undefined,
    }
    Loader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))
    return Loader
