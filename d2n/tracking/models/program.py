"""The program inside an archive: its JSON holds tensor operators, sizes and names alone. Pure; no torch."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from d2n.errors import RegistryError
from d2n.files.reading import brief

_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?:(?!__)\w+|__(?:and|or|xor|lshift|rshift)__)\.(?!_)\w+"
    r"|_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|and_|or_|not_|ge|le|gt|lt|eq|ne|getitem)"
    r"|torch\.sym_(?:max|min|int|float|not|ite|sum|sqrt)"
    r"|math\.(?:ceil|floor|trunc|sqrt)",
    re.ASCII,
)
_FILES = {"from_file", "save", "load"}  # operators that read or write the disk
_NAME = re.compile(r"(?:[A-Za-z_]\w*)?", re.ASCII)
_DOTTED = re.compile(r"[\w.]*", re.ASCII)
_WORD = re.compile(r"[\w.+:<>= -]{0,200}", re.ASCII)
_SYMBOL = re.compile(r"[a-z]{1,8}[0-9]{1,9}", re.ASCII)
_FUNCTIONS = {
    "Abs", "Add", "And", "BooleanFalse", "BooleanTrue", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "Float",
    "FloatPow", "FloatTrueDiv", "FloorDiv", "FloorToInt", "GreaterThan", "Identity", "IntTrueDiv", "Integer",
    "IsNonOverlappingAndDenseIndicator", "LShift", "LessThan", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne",
    "Not", "Or", "Pow", "PowByNatural", "PythonMod", "RShift", "Rational", "RoundDecimal", "RoundToInt",
    "StrictGreaterThan", "StrictLessThan", "Symbol", "ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where",
}  # fmt: skip
_CONSTANTS = {"true", "false", "oo", "int_oo", "True", "False"}
_FORBIDDEN = {
    "as_custom_obj",
    "custom_obj",
    "custom_obj_values",
    "as_graph",
    "as_operator",
    "token",
    "opaque",
}
_NODES = {"builtins.tuple", "builtins.list", "builtins.dict", None}
_LONGEST_EXPRESSION = 20_000


def strip(values: Any) -> bool:
    """Take away, in place, where the program was traced and its guards; whether there was nothing to take."""
    graph_module = _mapping(values, "graph_module")
    bare = not values.get("guards_code")
    if "guards_code" in values:
        values["guards_code"] = []  # torch makes them anew from the graph
    if graph_module.get("metadata"):
        graph_module["metadata"], bare = {}, False
    nodes = _mapping(graph_module, "graph").get("nodes")
    for node in nodes if isinstance(nodes, list) else []:
        if isinstance(node, dict) and node.get("metadata") != {}:
            node["metadata"], bare = {}, False
    return bare


def check(values: Any, source: str) -> None:
    """RegistryError for an operator, a name or an expression that a program of plain tensors does not have."""
    left: list[tuple[str, Any]] = [("", values)]
    while left:
        key, value = left.pop()
        if key in _FORBIDDEN and value:
            raise RegistryError(f"{source}: holds {key}: expected a program of plain tensors")
        if isinstance(value, dict):
            for name, inner in value.items():
                if not _DOTTED.fullmatch(name):
                    raise _refused(source, "the name", name)
                left.append((name, inner))
        elif isinstance(value, list):
            left += [(key, inner) for inner in value]
        elif isinstance(value, str):
            _check_text(key, value, source)


def tensors(values: Any, source: str, folder: str) -> set[str]:
    """The members that a config of tensors says are raw bytes; RegistryError where one is to be unpickled."""
    check(values, source)
    found = set()
    for entry in _mapping(values, "config").values():
        name = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or entry.get("use_pickle") is not False:
            raise RegistryError(f"{source}: has a tensor that is a pickle: {brief(name)}; it was not loaded")
        found.add(f"{folder}/{name}")
    return found


def text(values: Any) -> bytes:
    """The JSON of a program."""
    return json.dumps(values).encode()


def _mapping(values: Any, key: str) -> dict[str, Any]:
    inner = values.get(key) if isinstance(values, dict) else None
    if not isinstance(inner, dict):
        raise RegistryError(f"a program without {key}: not made by torch.export")
    return inner


def _check_text(key: str, value: str, source: str) -> None:
    what, is_right = _TEXTS.get(key, (key or "the value", lambda text: bool(_WORD.fullmatch(text))))
    if not is_right(value):
        raise _refused(source, what, value)


def _refused(source: str, what: str, value: str) -> RegistryError:
    return RegistryError(
        f"{source}: {what} {brief(value)} belongs to no program of plain tensors; it was not loaded"
    )


@functools.lru_cache(maxsize=4096)
def _is_operator(value: str) -> bool:
    return _OPERATOR.fullmatch(value) is not None and value.split(".")[-2] not in _FILES


def _is_tree(value: str) -> bool:
    """Whether arguments are nested of tuples, lists and dicts alone: torch would import what others name."""
    try:
        version, *roots = json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return False
    left = list(roots)
    while left:
        node = left.pop()
        if not isinstance(node, dict) or node.get("type") not in _NODES:
            return False
        context, children = node.get("context"), node.get("children_spec")
        if not (
            context is None or (isinstance(context, str) and re.fullmatch(r'null|\[[\w", ]*\]', context))
        ):
            return False
        if not isinstance(children, list):
            return False
        left += children
    return bool(version == 1)


@functools.lru_cache(maxsize=16384)
def _is_expression(value: str) -> bool:
    """Whether a size is a sum, product or comparison of symbols and numbers: sympy evaluates it as Python."""
    if len(value) > _LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(value, mode="eval")
        return all(map(_is_plain, ast.walk(tree)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_plain(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            texts = [a for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            return (
                name in _FUNCTIONS
                and (not texts or name in ("Symbol", "Float"))
                and all(k.arg for k in keywords)
            )
        case ast.Name(id=name):
            return name in _FUNCTIONS or name in _CONSTANTS or _SYMBOL.fullmatch(name) is not None
        case ast.Constant(value=str() as text):
            return _SYMBOL.fullmatch(text) is not None or re.fullmatch(r"-?[0-9.e+-]{1,40}", text) is not None
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float) and abs(value) < 10**40
        case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=int() as power)):
            return abs(power) <= 64
    return isinstance(node, _PLAIN_SYNTAX) and not isinstance(node, ast.Call)


_PLAIN_SYNTAX = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.keyword, ast.Load, ast.operator, ast.unaryop,
    ast.cmpop, ast.boolop,
)  # fmt: skip
_TEXTS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "target": ("the operator", _is_operator),
    "expr_str": ("the expression", _is_expression),
    **dict.fromkeys(("in_spec", "out_spec"), ("the arguments", _is_tree)),
    **dict.fromkeys(("as_string", "as_strings"), ("the text", str.isprintable)),
    **dict.fromkeys(
        ("name", "as_name", "forward_arg_names"), ("the name", lambda text: bool(_NAME.fullmatch(text)))
    ),
}
