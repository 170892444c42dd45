"""Syntax trees of functions, as texts that comments, docstrings, annotations and releases of Python do not change."""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Iterator
from functools import cache, lru_cache
from types import CodeType, FunctionType
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_WITHOUT_EFFECT = ("annotation", "returns", "type_comment", "type_params", "type_ignores", "ctx", "kind")
_CHANGES = ("append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard", "clear")


def syntax_tree(code: CodeType) -> ast.AST | None:
    """The node of a function's source, None where its source is not at hand.

    Args:
        code: of the function.
    """
    try:
        found = [node for node in _functions("".join(linecache.getlines(code.co_filename))) if _is_of(node, code)]
    except SyntaxError:  # the file was changed since it was imported, or is no Python
        return None
    return min(found, key=_extent, default=None)


def normalised(node: Any) -> str:
    """A tree as a text: kinds of nodes and their fields, without what has no effect.

    Args:
        node: a tree, or a part of one.
    """
    if isinstance(node, list):
        return f"[{','.join(map(normalised, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if name not in _WITHOUT_EFFECT}
    body = fields.get("body")
    if isinstance(body, list) and body and isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and _is_docstring(body[0]):
        fields["body"] = body[1:]
    kept = [f"{name}={normalised(value)}" for name, value in sorted(fields.items()) if value not in (None, [])]
    return f"{type(node).__name__}({','.join(kept)})"


def names_written(tree: ast.AST) -> frozenset[str]:
    """Names of variables around a function that it assigns or whose contents it changes.

    Args:
        tree: of the function.
    """
    return frozenset(name for node in ast.walk(tree) for name in _written(node))


def names_watching(*trees: ast.AST) -> frozenset[str]:
    """Names and `self.name`s that are asked whether they are there, then called without use of what they return.

    What is called so, as a progress bar that a user may leave out, changes no output.

    Args:
        *trees: of functions; a name has to be used so in all of them.
    """
    uses: dict[str, set[str]] = {}
    for tree in trees:
        kinds = {id(use): kind for node in ast.walk(tree) for use, kind in _watching(node)}
        for node in ast.walk(tree):
            if (name := _name(node)) is not None:
                uses.setdefault(name, set()).add(kinds.get(id(node), "used"))
    return frozenset(name for name, found in uses.items() if found == {"asked", "called"})


@cache
def attributes_watching(kind: Any) -> frozenset[str]:
    """Attributes of a class's objects that all of its methods use as `names_watching` says.

    Args:
        kind: the class.
    """
    methods = [method for base in kind.__mro__ for method in vars(base).values() if isinstance(method, FunctionType)]
    trees = [tree for method in methods if (tree := syntax_tree(method.__code__)) is not None]
    names = names_watching(*trees) if len(trees) == len(methods) else frozenset()
    return frozenset(name.removeprefix("self.") for name in names if name.startswith("self."))


def stored_attributes(kind: type, *, also: tuple[str, ...] = ()) -> frozenset[str]:
    """Attributes that methods of a class assign after its objects were made, found in the methods' bytecode.

    Methods called `set_...` are those by which users change settings, and do not count.

    Args:
        kind: the class.
        also: methods of such names that count.
    """
    known: Any = kind
    return _stored(known, also)


def _written(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
        yield from _base(node.func.value)
    elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        yield from _base(node.value)


def _watching(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What a statement calls for its effect alone, or asks whether it is there."""
    if isinstance(node, ast.If):
        yield from _asked(node.test)
    elif isinstance(node, ast.Expr):
        value = node.value
        if isinstance(value, ast.BoolOp):  # `callback and callback(x)`
            for asked in value.values[:-1]:
                yield from _asked(asked)
            value = value.values[-1]
        if isinstance(value, ast.Call):
            yield value.func, "called"


def _asked(test: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """`name`, `not name`, `name is None` and `callable(name)` within a condition."""
    if isinstance(test, ast.BoolOp):
        for value in test.values:
            yield from _asked(value)
    elif isinstance(test, ast.UnaryOp):
        yield from _asked(test.operand)
    elif isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.IsNot):
        yield test.left, "asked"
    elif isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "callable":
        yield from ((argument, "asked") for argument in test.args)
    else:
        yield test, "asked"


def _name(node: ast.AST) -> str | None:
    """A variable's name, or that of an attribute of `self`."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return f"self.{node.attr}" if isinstance(node.ctx, ast.Load) else None
    return None


def _base(node: ast.AST) -> Iterator[str]:
    """The variable at the bottom of `a.b[0]`."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


@cache
def _stored(kind: Any, also: tuple[str, ...]) -> frozenset[str]:
    methods = [
        method
        for base in kind.__mro__
        for name, method in vars(base).items()
        if isinstance(method, FunctionType) and (name in also or not name.startswith(("__init__", "set_")))
    ]
    return frozenset(name for method in methods for name in _assigned(method.__code__))


def _assigned(code: CodeType) -> Iterator[str]:
    """Attributes that code assigns, but for those that it only moves, as in `self.sigmas = self.sigmas.to(device)`."""
    lines: list[list[dis.Instruction]] = [[]]
    for instruction in dis.get_instructions(code):
        if instruction.starts_line:
            lines.append([])
        lines[-1].append(instruction)
    for line in lines:
        loaded = {i.argval for i in line if i.opname in ("LOAD_ATTR", "LOAD_METHOD")}
        yield from (i.argval for i in line if i.opname == "STORE_ATTR" and not {i.argval, "to"} <= loaded)


@lru_cache(maxsize=16)
def _functions(source: str) -> tuple[Any, ...]:
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, _FUNCTIONS))


def _is_of(node: Any, code: CodeType) -> bool:
    """Whether a node was compiled to this code: by its name and line, and among lambdas of one line by the columns."""
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    if name != code.co_name or first != code.co_firstlineno:
        return False
    if not isinstance(node, ast.Lambda):
        return True
    return all(
        (node.lineno, node.col_offset) <= (line, column) and (end, last) <= (node.end_lineno, node.end_col_offset)
        for line, end, column, last in code.co_positions()
        if line is not None and end is not None and column is not None and last is not None and last > 0
    )


def _extent(node: Any) -> tuple[int, int]:
    return (node.end_lineno - node.lineno, node.end_col_offset - node.col_offset)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
