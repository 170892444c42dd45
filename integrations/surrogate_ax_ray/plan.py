"""What a pool of actors is asked for, checked before anything is started."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from surrogate_ax.checks import number
from surrogate_ax.errors import ArgumentError
from surrogate_ax.scoring.objective import Metric

Kind = Literal["whole", "previews", "references"]


def check_plan(
    factory: object, score: str | None, metrics: Sequence[Metric], outputs: str, options: Mapping[str, Any], wait: float
) -> None:
    """Refuse what no actor could be started with; arguments as of `RayGenerator`, `wait` its `start_timeout`."""
    for name, function in {"factory": factory, "score": score}.items():
        parts = str(function).partition(":")
        wrong = not all(part.isidentifier() for part in [*parts[0].split("."), *parts[2].split(".")])
        if wrong and not (name == "score" and function is None):
            raise ArgumentError(f"{name}: expected 'package.module:function', which actors import, got {function!r}.")
    if bool(score) != bool(metrics):
        raise ArgumentError("score, metrics: expected both or neither: the metrics are what the score measures.")
    if outputs not in get_args(Kind) or (outputs == "previews" and not score):
        raise ArgumentError(
            f"outputs: expected 'whole' or 'references', or 'previews' beside a `score` on the actors, got {outputs!r}."
        )
    known = ("num_cpus", "num_gpus", "memory", "resources")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ArgumentError(f"resources: expected some of {list(known)}, got {unknown}.")
    for name in ("num_cpus", "num_gpus", "memory"):
        if number(options.get(name, 0), f"resources: {name}") < 0:
            raise ArgumentError(f"resources: {name}: expected at least 0, got {options[name]}.")
    if number(wait, "start_timeout") <= 0:
        raise ArgumentError(f"start_timeout: expected a positive number of seconds, got {wait}.")


def json_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A factory's arguments as they travel.

    Args:
        arguments: JSON-able.

    Raises:
        ArgumentError: something else.
    """
    try:
        return dict(json.loads(json.dumps(dict(arguments), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"arguments: expected texts, numbers, booleans, lists and mappings of them; {error}."
        ) from error
