"""Values of a YAML file, each with the place where it stands, so that an error names its file, line and key.

Only plain YAML is read (PyYAML's safe loader): texts, numbers, booleans, null, lists and mappings.
A reader is a function of a `YamlNode` that returns a checked value; `fields` reads a mapping with one reader a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml

from surrogate_ax.errors import ArgumentError

T = TypeVar("T")
MOST_NODES = 100_000  # of a file: aliases can make a short one endless
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # texts by the rules of YAML 1.1, numbers to everybody else


@dataclass(frozen=True)
class YamlNode:
    """A value where it stands.

    Args:
        file: as the user wrote it.
        key: its name with those of the mappings around it, "sampler.name"; empty for the whole file.
        node: what YAML found there.
    """

    file: Path
    key: str
    node: yaml.Node

    @property
    def line(self) -> int:
        """Counted from 1."""
        return self.node.start_mark.line + 1

    def at(self, message: str) -> str:
        """A message that begins with file, line and key."""
        named = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {named}{message.removeprefix(named)}"

    def error(self, message: str) -> ArgumentError:
        """An error about this value."""
        return ArgumentError(self.at(message))

    def expected(self, what: str) -> ArgumentError:
        """An error that says what was expected, and what is there."""
        return self.error(f"expected {what}, got {self.value()!r}.")

    def value(self) -> Any:
        """The plain value."""
        value: Any = yaml.SafeLoader("").construct_document(self.node)
        return value

    def inner(self, key: str, node: yaml.Node) -> YamlNode:
        """A place inside this one."""
        return YamlNode(self.file, f"{self.key}.{key}" if self.key else key, node)

    def entries(self) -> Iterator[tuple[str, YamlNode]]:
        """Keys of a mapping and their places.

        Raises:
            ArgumentError: not a mapping, or a key that is not a text.
        """
        if not isinstance(self.node, yaml.MappingNode):
            raise self.expected("keys with values")
        for key, node in self.node.value:
            name = YamlNode(self.file, self.key, key).value()
            if not isinstance(name, str):
                raise YamlNode(self.file, self.key, key).expected("a text as key")
            yield name, self.inner(name, node)

    def items(self) -> list[YamlNode]:
        """Places of a list's values.

        Raises:
            ArgumentError: not a list.
        """
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.expected("a list")
        return [YamlNode(self.file, f"{self.key}[{i}]", node) for i, node in enumerate(self.node.value)]


Reader = Callable[[YamlNode], Any]


def read_yaml(file: Path) -> YamlNode:
    """A YAML file.

    Raises:
        ArgumentError: no such file, no YAML, a key given twice, or nothing in it.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ArgumentError(f"{file}: cannot be read ({error.strerror}). Name a sweep file.") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ArgumentError(f"{file}: the file is empty. README, under Sweeps, has one to begin with.")
        root = YamlNode(file, "", node)
        _check_nodes(root)
        root.value()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else f"{file}"
        raise ArgumentError(
            f"{where}: not YAML: {error.problem or error.context}. Quote texts that hold : or #."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    return root


def _check_nodes(root: YamlNode) -> None:
    """Refuse keys that are given twice, of which YAML would keep the last, and files that aliases make huge."""
    nodes, seen = [root.node], 0
    while nodes:
        node, seen = nodes.pop(), seen + 1
        if seen > MOST_NODES:
            raise root.error(f"holds more than {MOST_NODES:,} values. Aliases inside of aliases?")
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            names: dict[str, int] = {}
            for key, value in node.value:
                nodes.extend((key, value))
                if isinstance(key, yaml.ScalarNode) and key.value in names:
                    raise YamlNode(root.file, key.value, key).error(f"given twice, first on line {names[key.value]}.")
                if isinstance(key, yaml.ScalarNode):
                    names[key.value] = key.start_mark.line + 1


def fields(readers: Mapping[str, Reader], *, needed: Sequence[str] = ()) -> Callable[[YamlNode], dict[str, Any]]:
    """A reader of a mapping whose keys are known.

    Args:
        readers: by key.
        needed: keys that may not be left out.
    """

    def read(place: YamlNode) -> dict[str, Any]:
        given = dict(place.entries())
        for name, inner in given.items():
            if name not in readers:
                raise inner.error(f"no such key. {nearest(name, readers)}")
        for name in needed:
            if name not in given:
                raise place.error(f"{name} is missing. Its keys are {', '.join(readers)}.")
        return {name: readers[name](inner) for name, inner in given.items()}

    return read


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """What may have been meant, as a sentence."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def text(place: YamlNode) -> str:
    """A text that is not empty."""
    value = place.value()
    if not isinstance(value, str) or not value.strip():
        raise place.expected("a text")
    return value


def flag(place: YamlNode) -> bool:
    """True or false."""
    value = place.value()
    if not isinstance(value, bool):
        raise place.expected("true or false")
    return value


def whole(least: int) -> Callable[[YamlNode], int]:
    """A reader of whole numbers."""

    def read(place: YamlNode) -> int:
        value = place.value()
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise place.expected(f"a whole number of at least {least}")
        return value

    return read


def number(place: YamlNode) -> float:
    """A number; whole ones stay whole."""
    value = place.value()
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise place.expected("a number")
    return value


def one_of(*names: str) -> Callable[[YamlNode], str]:
    """A reader of one of some words."""

    def read(place: YamlNode) -> str:
        value = place.value()
        if value not in names:
            raise place.expected(f"one of {', '.join(names)}")
        return str(value)

    return read


def listed(reader: Callable[[YamlNode], T]) -> Callable[[YamlNode], tuple[T, ...]]:
    """A reader of lists."""
    return lambda place: tuple(reader(item) for item in place.items())


def plain(place: YamlNode) -> Any:
    """Texts, numbers, booleans, null, and lists and mappings of them."""
    if isinstance(place.node, yaml.SequenceNode):
        return [plain(item) for item in place.items()]
    if isinstance(place.node, yaml.MappingNode):
        return {name: plain(inner) for name, inner in place.entries()}
    value = place.value()
    if isinstance(value, str) and _EXPONENT.fullmatch(value) and getattr(place.node, "style", None) is None:
        return float(value)
    if not isinstance(value, str | int | float | bool | None):
        raise place.expected("a text, number, true, false or null; quote what is meant as a text")
    return value


def arguments(place: YamlNode) -> dict[str, Any]:
    """Plain values by name."""
    return {name: plain(inner) for name, inner in place.entries()}
