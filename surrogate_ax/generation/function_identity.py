"""What makes a function this function: its syntax tree, what is bound to it, and what it takes from around it.

The tree is that of the source, without comments, docstrings and annotations, and of the functions of the same package
that it calls. Where there is no source, the bytecode stands in, which differs between releases of Python. Values are
short texts; large ones are digests of their contents, and objects of other kinds are known by their type. What the
function itself writes into (a counter, a list of calls) is state, and left out, as is what it only tells of its work
(a progress bar).
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

from surrogate_ax.generation.held_modules import module_parts
from surrogate_ax.generation.syntax import (
    attributes_watching,
    names_watching,
    names_written,
    normalised,
    stored_attributes,
    syntax_tree,
)
from surrogate_ax.generation.value_text import is_setting, value_text

NONE = "none"


def function_parts(function: Callable[..., Any]) -> dict[str, str]:
    """The parts of a fingerprint that a function has beside its name.

    Args:
        function: a function, method, partial, module, or object that can be called.

    Returns:
        "code", a digest; "arguments", what partials, defaults and objects hold; "closure", what it takes from around;
        "modules", what the modules in them have been told, and the weights of those that stand in other objects.
    """
    reader = _Reader(_root(function))
    reader.read(function)
    return {
        "code": reader.code(),
        "arguments": _joined(reader.arguments),
        "closure": _joined(reader.closure),
        "modules": _joined(reader.modules),
    }


class _Reader:
    """Walks through a function and those that it calls, each once."""

    def __init__(self, root: str) -> None:
        self.arguments: dict[str, str] = {}
        self.closure: dict[str, str] = {}
        self.modules: dict[str, str] = {}
        self._root = root
        self._seen: dict[int, Any] = {}  # which keeps them alive, so that no other takes their place
        self._trees: list[str] = []
        self._bytecode = False

    def code(self) -> str:
        if not self._trees:
            return NONE
        digest = hashlib.sha256("\n".join(self._trees).encode()).hexdigest()[:16]
        python = f"bytecode-{sys.version_info.major}.{sys.version_info.minor}"
        return f"{python if self._bytecode else 'tree'} {digest}"

    def read(self, called: Any, owner: str = "") -> None:
        """Take in something that is called; `owner` is what its bound values are listed under."""
        if id(called) in self._seen:
            return
        self._seen[id(called)] = called
        if isinstance(called, functools.partial):
            watching = _watching(called.func)
            named = {name: value for name, value in called.keywords.items() if name not in watching}
            for name, value in {**{str(i): value for i, value in enumerate(called.args)}, **named}.items():
                self.arguments[f"{owner}{name}"] = value_text(value)
                self._modules_of(f"{owner}{name}", value)
            self.read(called.func, owner)
        elif isinstance(called, MethodType):
            self._object(called.__self__, owner)
            self.read(called.__func__, owner)
        elif isinstance(called, FunctionType):
            self._function(called, owner)
        elif not isinstance(called, type) and callable(called):
            self._object(called, owner)
            method = type(called).forward if isinstance(called, nn.Module) else type(called).__call__
            if isinstance(method, FunctionType):
                self.read(method, owner)

    def _object(self, value: Any, owner: str) -> None:
        """An object whose method is called: the weights of a module, and attributes that its methods do not set."""
        if isinstance(value, type):
            return
        if isinstance(value, nn.Module):
            self.arguments[f"{owner}self"] = value_text(value)
            self._modules_of(f"{owner}self", value)
            return
        kind: Any = type(value)
        state = stored_attributes(kind)
        for name, held in sorted(getattr(value, "__dict__", {}).items()):
            if name in state:
                continue
            self._modules_of(f"{owner}self.{name}", held)
            if isinstance(held, list | dict | set):
                continue
            if (held is None or callable(held)) and name in attributes_watching(kind):
                continue
            if callable(held) and not isinstance(held, nn.Module):
                self._called(f"{owner}self.{name}", name, held, self.arguments)
            elif is_setting(held):
                self.arguments[f"{owner}self.{name}"] = value_text(held)

    def _called(self, place: str, name: str, value: Any, among: dict[str, str]) -> None:
        """A function that is held under a name: one of the same package is read, others have names of their own."""
        while isinstance(value, functools.partial):
            bound = {str(i): x for i, x in enumerate(value.args)} | value.keywords
            for key, bound_value in bound.items():
                self.arguments[f"{place}.{key}"] = value_text(bound_value)
                self._modules_of(f"{place}.{key}", bound_value)
            value = value.func
        if not isinstance(value, type) and _root(value) == self._root:
            self.read(value, f"{place}.")
            return
        self._modules_of(place, value)
        if (own := getattr(value, "__name__", name)) != name:  # imported under its own name, it is in the source
            among[place] = own

    def _function(self, function: FunctionType, owner: str) -> None:
        inner = getattr(function, "__wrapped__", None)
        if inner is not None and _home(function) != self._root:  # a decorator of another package, as torch.no_grad()
            self.read(inner, owner)
            return
        tree = syntax_tree(function.__code__)
        self._bytecode |= tree is None
        self._trees.append(_instructions(function.__code__) if tree is None else normalised(tree))
        watching = frozenset[str]() if tree is None else names_watching(tree)
        defaults = dict(zip(_positional(function)[::-1], (function.__defaults__ or ())[::-1], strict=False))
        for name, value in sorted((defaults | (function.__kwdefaults__ or {})).items()):
            if name not in watching:
                self.arguments.setdefault(f"{owner}{name}", value_text(value))
                self._modules_of(f"{owner}{name}", value)
        written = None if tree is None else names_written(tree)
        for name, value in sorted(_surroundings(function), key=lambda named: named[0]):
            if name in watching:
                continue
            if callable(value) and not isinstance(value, nn.Module):
                self._called(f"{owner}{name}", name, value, self.closure)
                continue
            self._modules_of(f"{owner}{name}", value)
            if is_setting(value) and not self._is_state(name, value, written):
                self.closure[f"{owner}{name}"] = value_text(value)

    def _modules_of(self, place: str, value: Any) -> None:
        self.modules |= module_parts(place, value)

    def _is_state(self, name: str, value: Any, written: frozenset[str] | None) -> bool:
        """Whether a function may have written into what it takes from around it."""
        if written is None:
            return isinstance(value, list | dict | set)
        return name in written


def _watching(called: Any) -> frozenset[str]:
    """Names by which a function only tells of its work."""
    while isinstance(called, functools.partial | MethodType):
        called = called.func if isinstance(called, functools.partial) else called.__func__
    tree = syntax_tree(called.__code__) if isinstance(called, FunctionType) else None
    return frozenset() if tree is None else names_watching(tree)


def _surroundings(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Variables of enclosing functions and of the module that a function looks at, by name."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in _global_names(function.__code__) & function.__globals__.keys():
        yield name, function.__globals__[name]


def _global_names(code: CodeType) -> set[str]:
    nested = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*(_global_names(each) for each in nested))


def _positional(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _instructions(code: CodeType) -> str:
    nested = [_instructions(const) if isinstance(const, CodeType) else repr(const) for const in code.co_consts]
    return "\n".join([code.co_code.hex(), *code.co_names, *code.co_varnames, *nested])


def _home(function: Any) -> str:
    """The package whose code a function runs, which a decorator that copies names does not change."""
    found = getattr(function, "__globals__", {}).get("__name__", "")
    return str(found).split(".")[0]


def _root(called: Any) -> str:
    """The package of something that is called, beneath partials, methods and decorators."""
    while True:
        if isinstance(called, functools.partial):
            called = called.func
        elif isinstance(called, MethodType):
            called = called.__func__
        elif hasattr(called, "__wrapped__"):
            called = called.__wrapped__
        elif isinstance(called, FunctionType):
            return _home(called)
        else:
            return str(type(called).__module__).split(".")[0]


def _joined(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in values.items()) or NONE
