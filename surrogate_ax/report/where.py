"""Which trials are meant, in words: `redness >= 0.3 and prompt == "a cat"`.

Names are those of columns; one that is no Python name stands in backticks, as `left is darker`. Beside them there are
texts in quotes, numbers, True, False and None; comparisons (== != < <= > >=, chains of them, `in` and `not in` a
list), `and`, `or`, `not` and brackets. A name alone is asked for where it is true or false. A trial that lacks a value
is neither above nor below anything, and `name == None` finds it.

Python's own parser reads the text, and nothing of it is run: every node is looked at, and another kind is refused.
"""

from __future__ import annotations

import ast
import keyword
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from surrogate_ax.checks import is_storable, show
from surrogate_ax.errors import ArgumentError

Kind = Literal["numbers", "texts", "true or false", "mixed"]
Row = Mapping[str, Any]
LONGEST, DEEPEST = 10_000, 60  # characters, levels of a tree
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`([^`]*)`""")
_MARK = "column{}_in_backticks"
_EQUAL: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_GRAMMAR = 'expected comparisons joined by and, or, not, as redness >= 0.3 and prompt == "a cat"'


@dataclass(frozen=True)
class Where:
    """An expression that was read.

    Args:
        text: as it was given.
        names: of the columns that it asks for.
        keeps: whether it holds for a row, values by the names of all columns.
    """

    text: str
    names: frozenset[str]
    keeps: Callable[[Row], bool]


def read_where(text: str, columns: Mapping[str, Sequence[Any]]) -> Where:
    """Read an expression about the rows of a table.

    Args:
        text: the expression.
        columns: the values (n,) of every column, None where a row has none: names that are not there, and comparisons
            of texts with numbers, are refused.

    Raises:
        ArgumentError: anything but what the module's first lines describe, with the names that there are.
    """
    if len(text) > LONGEST or not is_storable(text):
        raise ArgumentError(f"where: expected at most {LONGEST:,} characters without zero bytes, got {show(text)}.")
    reader = _Reader(text, {name: _kind(values) for name, values in columns.items()})
    return Where(text, frozenset(reader.names), reader.read())


def written(name: str) -> str:
    """A column's name as an expression has it."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"`{name}`"


class _Reader:
    """One expression on its way from text to function."""

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        self._text, self._kinds = text, kinds
        self._quoted: dict[str, str] = {}
        plain = _QUOTED.sub(self._mark, text).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes in texts
                self._tree = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = f" ({error.msg})" if isinstance(error, SyntaxError) else ""
            raise self._error(f"it cannot be read{why}") from error
        if _depth(self._tree) > DEEPEST:
            raise self._error("it is nested too deeply")
        self.names = {self._name(node) for node in ast.walk(self._tree) if isinstance(node, ast.Name)}

    def read(self) -> Callable[[Row], bool]:
        return self._truth(self._tree)

    def _mark(self, found: re.Match[str]) -> str:
        """A Python name in place of one in backticks; what is in quotes stays."""
        if found[1] is None:
            return found[0]
        mark = _MARK.format(len(self._quoted))
        self._quoted[mark] = found[1]
        return mark

    def _truth(self, node: ast.expr) -> Callable[[Row], bool]:
        match node:
            case ast.BoolOp(op=op, values=parts):
                read, all_of = [self._truth(part) for part in parts], isinstance(op, ast.And)
                return lambda row: (all if all_of else any)(part(row) for part in read)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._truth(operand)
                return lambda row: not inner(row)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                pairs = [self._comparison(op, *sides[i : i + 2]) for i, op in enumerate(ops)]
                return lambda row: all(pair(row) for pair in pairs)
            case ast.Name():
                name = self._name(node)
                if self._kinds[name] != "true or false":
                    raise self._error(f"{written(name)} holds {self._kinds[name]}; compare it with something")
                return lambda row: bool(row[name])
            case ast.Constant(value=bool(value)):
                return lambda row: value
        raise self._error(f"{self._said(node)} is no comparison")

    def _comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Callable[[Row], bool]:
        """One comparison of two sides, of which neither is a number where the other is a text."""
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._error(f"after `in` a list is expected, as [1, 2], not {self._said(right)}")
            one = self._value(left)
            others = [self._value(part) for part in right.elts]
            for part in right.elts:
                self._check_kinds(left, part)
            inside = isinstance(op, ast.In)
            return lambda row: any(one(row) == other(row) for other in others) == inside
        a, b = self._value(left), self._value(right)
        self._check_kinds(left, right)
        equal, order = _EQUAL.get(type(op)), _ORDER.get(type(op))
        if equal is not None:
            return lambda row: equal(a(row), b(row))
        if order is None:
            raise self._error("`is` compares nothing here; write ==")
        return lambda row: _ordered(order, a(row), b(row))

    def _value(self, node: ast.expr) -> Callable[[Row], Any]:
        match node:
            case ast.Name():
                name = self._name(node)
                return lambda row: row[name]
            case ast.Constant(value=(str() | int() | float() | None) as value):
                return lambda row: value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=(int() | float()) as value)):
                return lambda row: -value
        advice = "; write and, or in place of & and |" if isinstance(node, ast.BinOp) else ""
        raise self._error(f"{self._said(node)} is neither a column, a number nor a text{advice}")

    def _check_kinds(self, left: ast.expr, right: ast.expr) -> None:
        kinds = [self._kind_of(left), self._kind_of(right)]
        if "mixed" not in kinds and kinds[0] != kinds[1]:
            said = [
                f"{self._said(side)} {'holds' if isinstance(side, ast.Name) else 'is of'} {kind}"
                for side, kind in zip((left, right), kinds, strict=True)
            ]
            raise self._error(f"{' and '.join(said)}, which are never equal")

    def _kind_of(self, node: ast.expr) -> Kind:
        if isinstance(node, ast.Name):
            return self._kinds[self._name(node)]
        return _kind([node.value]) if isinstance(node, ast.Constant) else "numbers"

    def _name(self, node: ast.Name) -> str:
        name = self._quoted.get(node.id, node.id)
        if name not in self._kinds:
            raise self._error(f"there is no {name!r}")
        return name

    def _said(self, node: ast.expr) -> str:
        """A part of the expression as it was written."""
        said = ast.unparse(node)
        for mark, name in self._quoted.items():
            said = said.replace(mark, f"`{name}`")
        return said

    def _error(self, why: str) -> ArgumentError:
        names = ", ".join(map(written, self._kinds))
        return ArgumentError(f"where: {_GRAMMAR}, got {show(self._text)}: {why}. Names are {names}.")


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


def _ordered(order: Callable[[Any, Any], bool], a: Any, b: Any) -> bool:
    """Whether a comparison holds; what cannot be compared does not stand in any order."""
    if a is None or b is None or isinstance(a, str) != isinstance(b, str):
        return False
    return order(a, b)


def _kind(values: Sequence[Any]) -> Kind:
    """What a column holds; None counts as anything."""
    kinds: set[Kind] = {
        "true or false" if isinstance(value, bool) else "numbers" if isinstance(value, int | float) else "texts"
        for value in values
        if value is not None
    }
    return kinds.pop() if len(kinds) == 1 else "mixed"
