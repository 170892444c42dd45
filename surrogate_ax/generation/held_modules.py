"""Modules that a function holds: settings and hooks of their layers, and the weights of those inside other objects.

A function often takes a whole pipeline or model from around it. What such an object holds is found two levels deep. The
settings of a layer are its plain attributes, such as a dropout's rate or the scale of a LoRA, but for those that its
`forward` changes; beside them stand hooks and a `forward` that was put in the place of the class's.
"""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn

from surrogate_ax.generation.value_text import is_setting, value_text, weights_text

_DEPTH = 2
_OF_EVERY_MODULE = frozenset((*vars(nn.Module()), "training"))
_CHANGES = ("append", "update", "setdefault", "pop", "popitem", "clear")
_CARRIED = ("torch", "accelerate")  # whose hooks come with a module, or move it between devices


def module_parts(name: str, value: Any) -> dict[str, str]:
    """What a value says by the modules in it, by the place where each is held.

    Args:
        name: of the value, as the function refers to it.
        value: anything that is not a function.
    """
    if isinstance(value, nn.Module):  # whose weights are known as those of an argument
        settings = _settings(value)
        return {name: settings} if settings else {}
    return dict(_held(name, value, 0))


def _held(name: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, nn.Module):
        yield name, f"{type(value).__name__} {weights_text(value)} {_settings(value)}".rstrip()
    elif isinstance(value, Mapping):
        for key in sorted(map(str, value)) if depth <= _DEPTH else ():
            yield from _held(f"{name}[{key}]", value.get(key), depth + 1)
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value if depth <= _DEPTH else ()):
            yield from _held(f"{name}[{i}]", each, depth + 1)
    elif depth <= _DEPTH and not isinstance(value, type | ModuleType | FunctionType | Tensor):
        attributes = getattr(value, "__dict__", {})
        config = attributes.get("_internal_dict")  # as pipelines and schedulers of diffusers have it
        if isinstance(config, Mapping):
            yield name, f"{type(value).__name__} {value_text({k: v for k, v in config.items() if k[:1] != '_'})}"
        for attribute, inner in sorted(attributes.items()):
            if attribute != "_internal_dict":
                yield from _held(f"{name}.{attribute}", inner, depth + 1)


def _settings(module: nn.Module) -> str:
    """A digest of what its layers have been told, empty where that is nothing."""
    told = list[str]()
    for path, layer in module.named_modules():
        kind: Any = type(layer)
        changed = _changed_by_forward(kind)
        for name, value in sorted(vars(layer).items()):
            if name not in _OF_EVERY_MODULE | changed and _is_told(value):
                told.append(f"{path}.{name}={value_text(value)}")
        for hook in (*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()):
            told += [f"{path} hook {_named(hook)}"] * (_package(hook) not in _CARRIED)
        forward = vars(layer).get("forward")
        if forward is not None and _package(forward) not in _CARRIED:
            told.append(f"{path} forward {_named(forward)}")
    return f"set {hashlib.sha256(' '.join(told).encode()).hexdigest()[:12]}" if told else ""


def _is_told(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(isinstance(each, bool | int | float | str) for each in value.values())
    return is_setting(value) and not isinstance(value, Tensor | nn.Module | list | set)


@cache
def _changed_by_forward(kind: Any) -> frozenset[str]:
    """Attributes into which `forward` of a class, or a method that it calls, writes."""
    waiting, seen = ["forward"], set[str]()
    changed = set[str]()
    while waiting:
        name = waiting.pop()
        method = getattr(kind, name, None)
        if name in seen or not isinstance(method, FunctionType) or (hasattr(nn.Module, name) and name != "forward"):
            continue
        seen.add(name)
        changed |= set(_written(method.__code__))
        waiting += method.__code__.co_names
    return frozenset(changed)


def _written(code: CodeType) -> Iterator[str]:
    lines: list[list[dis.Instruction]] = [[]]
    for instruction in dis.get_instructions(code):
        if instruction.starts_line:
            lines.append([])
        lines[-1].append(instruction)
    for line in lines:
        yield from (i.argval for i in line if i.opname == "STORE_ATTR")
        loaded = [i.argval for i in line if i.opname in ("LOAD_ATTR", "LOAD_METHOD")]
        if any(i.opname == "STORE_SUBSCR" for i in line) or not set(_CHANGES).isdisjoint(loaded):
            yield from loaded


def _named(called: Any) -> str:
    """A hook by the name of its function, and by what it holds."""
    function = getattr(called, "func", called)
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    bound = [*getattr(called, "args", ()), *getattr(called, "keywords", {}).values(), *cells]
    held = [value_text(value) for value in bound if _is_told(value)]
    return " ".join([str(getattr(function, "__qualname__", type(function).__qualname__)), *held])


def _package(called: Any) -> str:
    function = getattr(called, "func", called)
    module = getattr(function, "__module__", None) or type(function).__module__
    return str(module).split(".")[0]
