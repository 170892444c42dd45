"""What the public names of the packages say of themselves: docstrings, and what these say of each argument.

An argument is explained

- in the `Args` of the function, or of the class for its fields and those of `__init__`;
- by its name in the text, in backticks or with a shape, as in "u (n, K-1) -> w (n, K)";
- where the text refers to another name for it, as in "see `Chart`" or "arguments as for `coefficients`";
- by the protocol whose method the function is, or outside of these packages by the class whose method it overrides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REFERS = re.compile(r"(?:see|[Aa]rguments as (?:for|in|of)) `([\w.]+)`|[Aa]rguments as of (?:any generator|`generate`)")
OUTSIDE = {  # classes of Optuna and GPyTorch, and their methods, which they explain
    "BaseSampler": {
        "before_trial",
        "infer_relative_search_space",
        "sample_relative",
        "sample_independent",
        "after_trial",
    },
    "BasePruner": {"prune"},
    "Kernel": {"forward"},
}


def names(packages: list[Any]) -> Iterator[Any]:
    """Every object of the `__all__` of some packages, once.

    Args:
        packages: as Griffe reads them.
    """
    seen = set[str]()
    for package in packages:
        for name in package.exports or ():
            thing = package.members[str(name)]
            thing = thing.final_target if thing.is_alias else thing
            if thing.path not in seen:
                seen.add(thing.path)
                yield thing


def protocols(packages: list[Any]) -> list[Any]:
    """The protocols among the public names."""
    return [thing for thing in names(packages) if thing.is_class and any("Protocol" in str(b) for b in thing.bases)]


def unexplained(thing: Any, known: list[Any]) -> list[str]:
    """What a public object does not explain, in lines.

    Args:
        thing: a function, class or attribute.
        known: the protocols that explain the methods of classes.
    """
    if thing.is_function:
        return _function(thing, thing.path)
    if not thing.is_class:
        return [] if thing.docstring else [f"{thing.path}: no docstring"]
    found = [] if thing.docstring else [f"{thing.path}: no docstring"]
    taken = [p.name for p in thing.members["__init__"].parameters] if "__init__" in thing.members else []
    fields = [name for name, member in thing.members.items() if _is_field(thing, member)]
    found += [f"{thing.path}: {name}" for name in _missing(thing, list(dict.fromkeys([*taken, *fields])))]
    elsewhere = _explained_elsewhere(thing, known)
    for name, member in thing.members.items():
        if name.startswith("_") or member.is_alias or name in elsewhere:
            continue
        if member.is_function:
            found += _function(member, member.path)
        elif member.is_attribute and "property" in member.labels and not member.docstring:
            found.append(f"{member.path}: no docstring")
    return found


def _function(function: Any, path: str) -> list[str]:
    if not function.docstring:
        return [f"{path}: no docstring"]
    return [f"{path}: {name}" for name in _missing(function, [parameter.name for parameter in function.parameters])]


def _missing(thing: Any, wanted: list[str]) -> list[str]:
    """Arguments of which a docstring says nothing."""
    text = thing.docstring.value if thing.docstring else ""
    if REFERS.search(text):
        return []
    listed = {
        entry.name.lstrip("*")
        for section in (thing.docstring.parsed if thing.docstring else ())
        if section.kind.value in ("parameters", "attributes")
        for entry in section.value
    }
    wanted = [name.lstrip("*") for name in wanted if name not in ("self", "cls")]
    return [name for name in wanted if name not in listed and not _named(name, text) and not name.startswith("_")]


def _named(name: str, text: str) -> bool:
    return re.search(rf"`{name}`|(?<!\w){re.escape(name)} \(n|(?<!\w){re.escape(name)} \(\.\.\.", text) is not None


def _is_field(thing: Any, member: Any) -> bool:
    """Whether an attribute is a field of a dataclass or of a named tuple, which is an argument too."""
    is_value = "dataclass" in thing.labels or any("NamedTuple" in str(base) for base in thing.bases)
    private = member.name.startswith("_") or "property" in member.labels or "ClassVar" in str(member.annotation)
    return bool(member.is_attribute and is_value and not private and "instance-attribute" in member.labels)


def _explained_elsewhere(thing: Any, known: list[Any]) -> set[str]:
    """Methods that a protocol, or a class from outside, explains."""
    here = set(thing.all_members)
    found = set[str]()
    for protocol in known:
        theirs = {name for name in protocol.members if not name.startswith("_")}
        if protocol is not thing and theirs and theirs <= here:
            found |= theirs
    for base in map(str, thing.bases):
        found |= OUTSIDE.get(base.split(".")[-1], set())
    return found
