"""Metrics as sweep files write them: a goal, a bound, or either with the noise of the score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from surrogate_ax.errors import ArgumentError
from surrogate_ax.scoring.objective import Metric
from surrogate_ax_cli import yaml_node
from surrogate_ax_cli.yaml_node import Reader, YamlNode

T = TypeVar("T")


def read_metrics(node: YamlNode) -> tuple[Metric, ...]:
    """The metrics of a file, in order."""
    return tuple(_metric(name, child) for name, child in node.entries())


def _metric(name: str, node: YamlNode) -> Metric:
    value = node.value()
    if value in ("maximize", "minimize", "track"):
        return construct(node, Metric, name=name, goal=value)
    if isinstance(value, dict):
        given = yaml_node.mapping(_METRIC)(node)
        noise = given.pop("noise", None)
        if len(given) == 1:
            ((goal, bound),) = given.items()
            goal, bound = (bound, None) if goal == "goal" else (goal, float(bound))
            return construct(node, Metric, name=name, goal=goal, bound=bound, noise=noise)
    raise node.expected(
        "maximize, minimize, track, {at_most: 1.0}, {at_least: 1.0}, or with noise {goal: maximize, noise: 0.3}"
    )


def construct(node: YamlNode, make: Callable[..., T], **arguments: Any) -> T:
    """Call a class or function of the core; what it refuses is an error of the node."""
    try:
        return make(**arguments)
    except ArgumentError as error:
        raise node.error(str(error)) from None


def _noise(node: YamlNode) -> float | str:
    return "unknown" if node.value() == "unknown" else float(yaml_node.number(node))


_METRIC: Mapping[str, Reader] = {
    "goal": yaml_node.one_of("maximize", "minimize", "track"),
    "at_most": yaml_node.number,
    "at_least": yaml_node.number,
    "noise": _noise,
}
