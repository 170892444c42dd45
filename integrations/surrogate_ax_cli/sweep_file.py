"""A sweep file: what it may hold, and reading it.

    version: 1
    generator: portraits            # or avatars, a folder of a diffusers pipeline, or package.module:factory
    call: {prompt: "happy mouth", num_inference_steps: 6}
    conditions:                     # call arguments that are searched
      guidance_scale: {low: 1.0, high: 3.0, step: 0.5}
    score: scores:warmth            # package.module:function, or clip("red hair", weights="folder")
    metrics: {warmth: maximize}
    budget: 128                     # trials in all

Only the file itself is opened here, nothing is imported: `assembly` builds what it names. The keys are the fields of
`SweepFile`; where a Python argument does the same, both have one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from surrogate_ax.checks import is_storable
from surrogate_ax.errors import MOST, ArgumentError
from surrogate_ax.execution.batch_size import BatchSize
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.scoring.objective import Metric
from surrogate_ax_cli import yaml_node
from surrogate_ax_cli.clip_call import is_clip_call, read_clip_call
from surrogate_ax_cli.generator_source import FUNCTION, Source, read_source
from surrogate_ax_cli.metric_node import construct, read_metrics
from surrogate_ax_cli.yaml_node import Reader, YamlNode

T = TypeVar("T")
VERSION = 1
AUTO = "auto"


@dataclass(frozen=True)
class ComponentSpec:
    """A sampler, pruner or policy as the file names it; `components` builds it.

    Args:
        name: as given.
        arguments: its keyword arguments, as given.
        node: where it is written, for errors that are found when it is built.
    """

    name: str
    arguments: Mapping[str, Any]
    node: YamlNode

    def __str__(self) -> str:
        """On one line, as a call: "tpe(n_startup_trials=4)"."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})" if arguments else self.name


@dataclass(frozen=True)
class SweepFile:
    """A sweep.

    Args:
        path: the file; names of files in it are relative to its folder.
        name: of the study.
        generator: what makes the outputs.
        call: fixed call arguments of a pipeline, or the arguments of a factory.
        conditions: call arguments that are searched.
        score: "package.module:function", found in the file's folder first; or `clip("red hair", weights="folder")`.
        timeout: seconds that the score of one output may take, in a process of its own; None scores in this one.
        metrics: what the score returns, in order.
        budget: ended trials in all; where the plan chooses the checkpoints, their cost in whole outputs.
        batch: trials of one generator call; "auto" measures it.
        seed: of draws, policy and sampler.
        sampler: proposes: a sampler of Optuna's, or a model of Ax's; None takes the planned search, and picks one for
            what that or a policy leaves open.
        pruner: decides at the checkpoints which outputs are stopped; None picks one.
        policy: one after the other; without any, the search is planned by the budget.
        checkpoints: steps after which the least promising outputs are stopped; None lets the plan choose.
        overlap: whether outputs are scored while the next batch is generated.
        backend: "optuna" or "ax".
        storage: a file or the URL of an Optuna storage, None for a file beside this one.
        previews: whether a picture of each output is kept.
        warm: earlier searches to learn from: sweep files, files of studies or snapshots, beside this one.
        nodes: the values of the file by key, for errors with their lines.
    """

    path: Path
    name: str
    generator: Source
    score: str
    metrics: tuple[Metric, ...]
    budget: int
    timeout: float | None = None
    call: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Range | Choice] = field(default_factory=dict)
    batch: BatchSize = 16
    seed: int = 0
    sampler: ComponentSpec | None = None
    pruner: ComponentSpec | None = None
    policy: tuple[ComponentSpec, ...] = ()
    checkpoints: tuple[int, ...] | None = ()
    overlap: bool = False
    backend: str = "optuna"
    storage: str | None = None
    previews: bool = True
    warm: tuple[str, ...] = ()
    nodes: Mapping[str, YamlNode] = field(default_factory=dict)

    def at(self, key: str, message: str) -> str:
        """A message about a key, with its line where the file has it."""
        return self.nodes[key].at(message) if key in self.nodes else f"{self.path}: {key}: {message}"

    def error(self, key: str, message: str) -> ArgumentError:
        """An error about a key."""
        return ArgumentError(self.at(key, message))


def read_sweep(path: Path) -> SweepFile:
    """A sweep file, checked.

    Raises:
        ArgumentError: with file, line and key: no such file, another version, unknown or missing keys, wrong values.
    """
    root = yaml_node.read_yaml(path)
    given = dict(root.entries())
    if "version" not in given:
        raise root.error(f"version is missing. This release reads `version: {VERSION}`.")
    version = yaml_node.whole_number(1, MOST)(given["version"])
    if version != VERSION:
        raise given["version"].error(
            f"the file is of version {version}, this release reads {VERSION}. Upgrade surrogate-ax, or write it anew."
        )
    values = {"name": path.stem, **yaml_node.mapping(_KEYS, required=("generator", "score", "metrics", "budget"))(root)}
    values |= values.pop("score")
    del values["version"]
    sweep = SweepFile(path=path, nodes=given, **values)
    _check_together(sweep)
    return sweep


def _check_together(sweep: SweepFile) -> None:
    """Refuse keys that are right one by one and contradict each other."""
    if not is_storable(sweep.name):
        raise sweep.error("name", f"expected whole characters, got the file's name {sweep.name!r}. Write a `name:`.")
    twice = sorted(sweep.call.keys() & sweep.conditions.keys())
    if twice:
        raise sweep.error("conditions", f"{twice[0]} is fixed under call and searched here. Keep one of them.")
    optimised = [metric for metric in sweep.metrics if metric.goal in ("maximize", "minimize")]
    if not optimised:
        raise sweep.error("metrics", "expected at least one to maximize or minimize.")
    if sweep.checkpoints and len(optimised) > 1:
        raise sweep.error("checkpoints", "outputs are stopped by one metric to optimise; bound or track the others.")
    if sweep.checkpoints is None:
        beside = [key for key in ("policy", "pruner", "overlap") if getattr(sweep, key)]
        if beside:
            raise sweep.error("checkpoints", f"auto plans the search, so it does not go with {' and '.join(beside)}.")
    if sweep.generator.scores_there and (sweep.timeout is not None or is_clip_call(sweep.score)):
        raise sweep.error("score", "actors score by a function, package.module:function, without a timeout of its own.")
    if sweep.warm and sweep.policy:
        raise sweep.error("warm", "a planned search learns from earlier ones, so it does not go with policy.")
    if sweep.backend == "ax" and (sweep.checkpoints or sweep.pruner):
        key = "checkpoints" if sweep.checkpoints else "pruner"
        raise sweep.error(key, "needs `backend: optuna`, or `checkpoints: auto`.")


def _function(node: YamlNode) -> str:
    name = yaml_node.text(node)
    if not FUNCTION.fullmatch(name):
        raise node.expected("package.module:function")
    return name


def _score(node: YamlNode) -> dict[str, Any]:
    """The fields `score` and `timeout`."""
    value = node.value()
    if isinstance(value, str) and is_clip_call(value):
        try:
            read_clip_call(value)
        except ArgumentError as error:
            raise node.error(str(error)) from error
        return {"score": value}
    if isinstance(value, str):
        return {"score": _function(node)}
    if not isinstance(value, dict):
        raise node.expected("package.module:function, or {function: package.module:function, timeout: 60}")
    read = yaml_node.mapping({"function": _function, "timeout": _seconds}, required=("function", "timeout"))(node)
    return {"score": read["function"], "timeout": read["timeout"]}


def _seconds(node: YamlNode) -> float:
    seconds = yaml_node.number(node)
    if not 0 < seconds < float("inf"):
        raise node.expected("a positive number of seconds")
    return seconds


def _condition(node: YamlNode) -> Range | Choice:
    value = node.value()
    if isinstance(value, list):
        return construct(node, Choice, values=yaml_node.plain_value(node))
    if isinstance(value, dict):
        return construct(node, Range, **yaml_node.mapping(_RANGE, required=("low", "high"))(node))
    raise node.expected("a list of values, or {low: 1, high: 7, step: 0.5}; a fixed value stands under call")


def _conditions(node: YamlNode) -> Mapping[str, Range | Choice]:
    return construct(node, check_searched, conditions={name: _condition(child) for name, child in node.entries()})


def _component(node: YamlNode) -> ComponentSpec:
    value = node.value()
    if isinstance(value, str):
        return ComponentSpec(yaml_node.text(node), {}, node)
    if not isinstance(value, dict):
        raise node.expected("a name, or {name: ..., and its arguments}")
    given = dict(node.entries())
    if "name" not in given:
        raise node.error("name is missing. Write a name, or {name: ..., and its arguments}.")
    name = yaml_node.text(given.pop("name"))
    return ComponentSpec(name, {key: yaml_node.plain_value(child) for key, child in given.items()}, node)


def _or_auto(reader: Reader, auto: Any) -> Reader:
    """A reader that takes "auto" as well."""
    return lambda node: auto if node.value() == AUTO else reader(node)


def _batch(node: YamlNode) -> BatchSize:
    value = node.value()
    if isinstance(value, str) and value != AUTO:
        raise node.expected("a whole number of at least 1, or auto")
    return "auto" if value == AUTO else yaml_node.whole_number(1, MOST)(node)


def _policy(node: YamlNode) -> tuple[ComponentSpec, ...]:
    if isinstance(node.value(), list):
        return yaml_node.list_of(_component)(node)
    return (_component(node),)


_RANGE: Mapping[str, Reader] = {
    "low": yaml_node.number,
    "high": yaml_node.number,
    "step": yaml_node.number,
    "log": yaml_node.boolean,
}
_KEYS: Mapping[str, Reader] = {
    "version": yaml_node.whole_number(1, MOST),
    "name": yaml_node.text,
    "generator": read_source,
    "call": yaml_node.arguments,
    "conditions": _conditions,
    "score": _score,
    "metrics": read_metrics,
    "budget": yaml_node.whole_number(1, MOST),
    "batch": _batch,
    "seed": yaml_node.whole_number(0, 2**32 - 1),  # of samplers
    "sampler": _or_auto(_component, None),
    "pruner": _or_auto(_component, None),
    "policy": _or_auto(_policy, ()),
    "checkpoints": _or_auto(yaml_node.list_of(yaml_node.whole_number(1, MOST)), None),
    "overlap": yaml_node.boolean,
    "backend": yaml_node.one_of("optuna", "ax"),
    "storage": yaml_node.text,
    "previews": yaml_node.boolean,
    "warm": yaml_node.list_of(yaml_node.text),
}
