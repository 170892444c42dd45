"""Call arguments to search beside the box, host-neutral: `{"guidance_scale": Range(1, 7, step=0.5)}`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from surrogate_ax.checks import mapping, number, text
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax.latents.deferred import count_of
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.space import is_coordinate

MOST = 2**53  # whole numbers that a float tells apart
Plain = str | int | float | bool | None  # what a record can hold


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Args:
        low: least value.
        high: greatest value, above `low`.
        step: distance between values, which divides high - low; left out, integers have 1 and floats are continuous. A
            continuous argument that a pipeline cannot take row by row costs one call an item: prefer a step.
        log: search on a logarithmic scale; `low` must be positive and `step` left out.

    Raises:
        ArgumentError: limits, step or log that do not fit together.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        low, high = (number(given, "Range: a limit", finite=False) for given in (self.low, self.high))
        if self.step is not None:
            number(self.step, "Range: step", finite=False)
        if max(-low, high) > MOST and self.integer:
            raise ArgumentError(f"Range: expected whole numbers of at most 2**53, got {self.low} to {self.high}.")
        if not (math.isfinite(high - low) and low < high):
            raise ArgumentError(f"Range: expected finite low < high, got low={self.low}, high={self.high}.")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ArgumentError(f"Range: log needs low > 0 and no step, got low={self.low}, step={self.step}.")
        if self.step is not None:
            self._check_step(self.step if math.isfinite(self.step) else 0)

    def _check_step(self, step: float) -> None:
        """Refuse a step that does not lead from low to high. As written, 0.3 is three times 0.1; in binary, not."""
        low, high, each = (Fraction(str(number)) for number in (self.low, self.high, step))
        if not 0 < each <= high - low:
            raise ArgumentError(f"Range: expected 0 < step <= high - low, got step={self.step}.")
        if (high - low) / each > MOST:
            raise ArgumentError(f"Range: expected a step that makes at most 2**53 values, got step={self.step}.")
        if (high - low) % each:
            last = float(high - (high - low) % each)
            raise ArgumentError(
                f"Range: expected a step that divides high - low, got low={self.low}, high={self.high}, "
                f"step={self.step}; the values end at {last:.12g}. Take high={last:.12g}, or another step."
            )

    @property
    def integer(self) -> bool:
        """Whether the values are whole numbers: limits and step were given as integers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, int | None)


@dataclass(frozen=True, init=False)
class Choice:
    """One of several values, such as prompts.

    Args:
        values: at least two distinct strings, numbers or booleans.

    Raises:
        ArgumentError: fewer than two values, copies, or values that a record cannot hold.
    """

    values: tuple[Plain, ...]

    def __init__(self, values: Sequence[Plain]) -> None:
        listed = [] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
        for value in listed:
            if not isinstance(value, Plain):
                raise ArgumentError(f"Choice: expected strings, numbers, booleans or None, got {value!r}; use a name.")
            if isinstance(value, str):
                text(value, "Choice")
            elif value is not None:
                number(value + 0, "Choice")
        if len(listed) < 2 or len(set(listed)) != len(listed):
            raise ArgumentError(f"Choice: expected a list of at least two distinct values, got {values!r}.")
        object.__setattr__(self, "values", tuple(listed))


Searched = Mapping[str, Range | Choice]


def check_searched(conditions: Mapping[str, Any]) -> Searched:
    """The searched conditions, checked.

    Raises:
        ArgumentError: a value that is neither Range nor Choice, or a name that the box uses (u0, u1, ...).
    """
    for name, searched in mapping(conditions, "conditions").items():
        text(name, "conditions")
        if not isinstance(searched, Range | Choice):
            raise ArgumentError(
                f"conditions[{name!r}]: expected Range or Choice, got {searched!r}. "
                "Give a fixed value to the generator instead."
            )
        if is_coordinate(name):
            raise ArgumentError(f"conditions[{name!r}]: the names u0, u1, ... belong to the box; rename the argument.")
    return conditions


def searched_to_json(searched: Searched) -> dict[str, dict[str, Any]]:
    """Searched conditions as JSON, in order."""
    return {
        name: {"values": list(of.values)} if isinstance(of, Choice) else dataclasses.asdict(of)
        for name, of in searched.items()
    }


def searched_from_json(record: Mapping[str, Mapping[str, Any]]) -> Searched:
    """The inverse of `searched_to_json`."""
    return {name: Choice(of["values"]) if "values" in of else Range(**of) for name, of in record.items()}


Condition = Mapping[str, Any]
"""The call arguments of one item."""


def check_conditions(z: Latents, conditions: Sequence[Condition]) -> int:
    """The batch size n of latents, after checking that there are n conditions.

    Raises:
        ShapeError: another number of conditions than of latents.
        ArgumentError: conditions that are no mappings.
    """
    n = count_of(z)
    if len(conditions) != n:
        raise ShapeError(f"conditions: expected n = {n}, one a latent, got {len(conditions)}.")
    given: Sequence[object] = conditions
    wrong = next((type(condition).__name__ for condition in given if not isinstance(condition, Mapping)), None)
    if wrong is not None:
        raise ArgumentError(
            f"conditions: expected one mapping an item, as [{{'prompt': 'a car'}}, ...], got {wrong} among them."
        )
    return n


def group(conditions: Sequence[Condition], *, apart: frozenset[str] = frozenset()) -> list[tuple[Condition, list[int]]]:
    """Items that one call can serve: those whose conditions agree but for the arguments in `apart`.

    Args:
        conditions: n mappings.
        apart: arguments that may differ inside a call, as a list of prompts may.

    Returns:
        (shared condition, item numbers) pairs in order of first appearance.
    """
    groups: dict[Hashable, tuple[Condition, list[int]]] = {}
    for i, condition in enumerate(conditions):
        shared = {name: value for name, value in condition.items() if name not in apart}
        key = json.dumps(shared, sort_keys=True, default=lambda value: f"{type(value).__name__}@{id(value)}")
        groups.setdefault(key, (shared, []))[1].append(i)
    return list(groups.values())
