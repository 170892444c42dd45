"""Values of a YAML file with their position, so that an error names file, line and key.

Only plain YAML is read (PyYAML's safe loader): texts, numbers, booleans, null, lists and mappings.
A reader is a function that checks one `YamlNode` and returns its value; `mapping` makes a reader of a mapping from one
reader for each key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml

from surrogate_ax.checks import is_storable, show
from surrogate_ax.errors import ArgumentError

T = TypeVar("T")
LARGEST = 10**300  # numbers, which floats hold
MAX_NODES = 100_000  # of a file: aliases can make a short one endless
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # texts by the rules of YAML 1.1, numbers to everybody else


@dataclass(frozen=True)
class YamlNode:
    """A value of a file and its position.

    Args:
        file: as the user wrote it.
        key: its name with those of the mappings around it, "sampler.name"; empty for the whole file.
        content: PyYAML's node.
    """

    file: Path
    key: str
    content: yaml.Node

    @property
    def line(self) -> int:
        """Counted from 1."""
        return self.content.start_mark.line + 1

    def at(self, message: str) -> str:
        """A message that begins with file, line and key."""
        prefix = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {prefix}{message.removeprefix(prefix)}"

    def error(self, message: str) -> ArgumentError:
        """An error about this value."""
        return ArgumentError(self.at(message))

    def expected(self, what: str) -> ArgumentError:
        """An error that says what was expected, and what the file has."""
        return self.error(f"expected {what}, got {show(self.value())}.")

    def value(self) -> Any:
        """The plain value."""
        value: Any = yaml.SafeLoader("").construct_document(self.content)
        return value

    def child(self, key: str, content: yaml.Node) -> YamlNode:
        """A value inside this one."""
        return YamlNode(self.file, f"{self.key}.{key}" if self.key else key, content)

    def entries(self) -> Iterator[tuple[str, YamlNode]]:
        """Keys and values of a mapping.

        Raises:
            ArgumentError: not a mapping, or a key that is not a text.
        """
        if not isinstance(self.content, yaml.MappingNode):
            raise self.expected("keys with values")
        for key, content in self.content.value:
            name = YamlNode(self.file, self.key, key).value()
            if not isinstance(name, str):
                raise YamlNode(self.file, self.key, key).expected("a text as key")
            yield name, self.child(name, content)

    def items(self) -> list[YamlNode]:
        """Values of a list.

        Raises:
            ArgumentError: not a list.
        """
        if not isinstance(self.content, yaml.SequenceNode):
            raise self.expected("a list")
        return [YamlNode(self.file, f"{self.key}[{i}]", content) for i, content in enumerate(self.content.value)]


Reader = Callable[[YamlNode], Any]


def read_yaml(file: Path) -> YamlNode:
    """A YAML file.

    Raises:
        ArgumentError: no such file, no YAML, a key given twice, or an empty file.
    """
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ArgumentError(f"{file}: cannot be read ({error.strerror}). Name a sweep file.") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    try:
        composed = yaml.compose(content, Loader=yaml.SafeLoader)
        if composed is None:
            raise ArgumentError(f"{file}: the file is empty. README, under Sweeps, has one to begin with.")
        root = YamlNode(file, "", composed)
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
    nodes, seen = [root.content], 0
    while nodes:
        node, seen = nodes.pop(), seen + 1
        if seen > MAX_NODES:
            raise root.error(f"holds more than {MAX_NODES:,} values. Aliases inside of aliases?")
        if isinstance(node, yaml.ScalarNode) and not is_storable(node.value):
            mark = YamlNode(root.file, "", node)
            raise mark.error(f"expected whole characters without zero bytes, got {node.value!r:.100}.")
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                nodes.extend((key, value))
                if isinstance(key, yaml.ScalarNode) and key.value in lines:
                    raise YamlNode(root.file, key.value, key).error(f"given twice, first on line {lines[key.value]}.")
                if isinstance(key, yaml.ScalarNode):
                    lines[key.value] = key.start_mark.line + 1


def did_you_mean(name: str, known: Sequence[str] | Mapping[str, Any], earlier: Mapping[str, str] | None = None) -> str:
    """The known name that is nearest, or all known names, as a sentence.

    Args:
        name: what was written.
        known: names to offer.
        earlier: names that are accepted too, with those to offer for them.
    """
    near = get_close_matches(name, [*known, *(earlier or {})], n=1, cutoff=0.5)
    meant = [(earlier or {}).get(each, each) for each in near]
    return f"Did you mean {meant[0]!r}?" if meant else f"Known: {', '.join(known)}."


def mapping(readers: Mapping[str, Reader], *, required: Sequence[str] = ()) -> Callable[[YamlNode], dict[str, Any]]:
    """A reader of a mapping with known keys.

    Args:
        readers: by key.
        required: keys that may not be left out.
    """

    def read(node: YamlNode) -> dict[str, Any]:
        given = dict(node.entries())
        for name, child in given.items():
            if name not in readers:
                raise child.error(f"no such key. {did_you_mean(name, readers)}")
        for name in required:
            if name not in given:
                raise node.error(f"{name} is missing. Its keys are {', '.join(readers)}.")
        return {name: readers[name](child) for name, child in given.items()}

    return read


def text(node: YamlNode) -> str:
    """A text that is not empty."""
    value = node.value()
    if not isinstance(value, str) or not value.strip():
        raise node.expected("a text")
    return value


def boolean(node: YamlNode) -> bool:
    """True or false."""
    value = node.value()
    if not isinstance(value, bool):
        raise node.expected("true or false")
    return value


def whole_number(least: int, most: int) -> Callable[[YamlNode], int]:
    """A reader of whole numbers from `least` to `most`."""

    def read(node: YamlNode) -> int:
        value = node.value()
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise node.expected(f"a whole number of at least {least}")
        if value > most:
            raise node.expected(f"a whole number of at most {most:,}")
        return value

    return read


def number(node: YamlNode) -> float:
    """A number; whole ones stay whole."""
    value = node.value()
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise node.expected("a number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise node.expected(f"a number of at most {LARGEST:.0e}")
    return value


def one_of(*words: str) -> Callable[[YamlNode], str]:
    """A reader of one of several words."""

    def read(node: YamlNode) -> str:
        value = node.value()
        if value not in words:
            raise node.expected(f"one of {', '.join(words)}")
        return str(value)

    return read


def list_of(reader: Callable[[YamlNode], T]) -> Callable[[YamlNode], tuple[T, ...]]:
    """A reader of lists."""
    return lambda node: tuple(reader(item) for item in node.items())


def plain_value(node: YamlNode) -> Any:
    """Texts, numbers, booleans, null, and lists and mappings of them."""
    if isinstance(node.content, yaml.SequenceNode):
        return [plain_value(item) for item in node.items()]
    if isinstance(node.content, yaml.MappingNode):
        return arguments(node)
    value = node.value()
    if isinstance(value, str) and _EXPONENT.fullmatch(value) and getattr(node.content, "style", None) is None:
        return float(value)
    if (isinstance(value, float) and value != value) or (isinstance(value, int) and abs(value) > LARGEST):
        raise node.expected("a number that can be told from others")
    if not isinstance(value, str | int | float | bool | None):
        raise node.expected("a text, number, true, false or null; quote what is meant as a text")
    return value


def arguments(node: YamlNode) -> dict[str, Any]:
    """Plain values by name."""
    return {name: plain_value(child) for name, child in node.entries()}
