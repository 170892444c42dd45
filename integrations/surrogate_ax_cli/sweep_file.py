"""A sweep file: what it may hold, and reading it.

    version: 1
    generator: embedded             # or a folder of a diffusers pipeline, or package.module:factory
    call: {prompt: "happy mouth", num_inference_steps: 6}
    conditions:                     # call arguments that are searched
      guidance_scale: {low: 1.0, high: 3.0, step: 0.5}
    score: scores:warmth            # package.module:function
    metrics: {warmth: maximize}
    budget: 128                     # trials in all

Nothing is imported or opened here but the file itself: `assembly` builds what it names. Keys and their meaning are the
fields of `SweepFile`, which have the names of the Python arguments where there are such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.scoring.objective import Metric
from surrogate_ax_cli import places
from surrogate_ax_cli.places import Reader, YamlNode

T = TypeVar("T")
VERSION = 1
EMBEDDED, AUTO = "embedded", "auto"
Kind = Literal["embedded", "folder", "function"]
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Source:
    """Where the generator comes from.

    Args:
        kind: the embedded model, a folder of a diffusers pipeline, or a function that makes one.
        where: the folder, or "package.module:factory"; "embedded" otherwise.
        options: how a pipeline is loaded: device, dtype, variant, offload, step_noise.
    """

    kind: Kind
    where: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ComponentSpec:
    """Something chosen by its name.

    Args:
        name: as given.
        arguments: its keyword arguments.
        place: for errors that are found when it is built.
    """

    name: str
    arguments: Mapping[str, Any]
    place: YamlNode


@dataclass(frozen=True)
class SweepFile:
    """A sweep.

    Args:
        path: the file; names of files in it are relative to its folder.
        name: of the study.
        generator: what makes the outputs.
        call: its call arguments; the arguments of a factory.
        conditions: call arguments that are searched.
        score: "package.module:function", found in the file's folder first.
        timeout: seconds that the score of one output may take, in a process of its own; None scores in this one.
        metrics: what the score returns, in order.
        budget: ended trials in all; whole outputs' worth of them where the plan chooses the checkpoints.
        batch: trials of one generator call.
        seed: of draws, policy and sampler.
        sampler: proposes between the draws; None picks one.
        pruner: judges rows at checkpoints; None picks one.
        policy: chained from left to right; empty plans by the budget.
        checkpoints: steps at which hopeless rows are stopped; None lets the plan choose.
        overlap: whether outputs are scored while the next batch is generated.
        backend: "optuna" or "ax".
        storage: a file or the URL of an Optuna storage, None for a file beside this one.
        previews: whether a picture of each output is kept.
        places: where the keys stand that the file has.
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
    batch: int = 16
    seed: int = 0
    sampler: ComponentSpec | None = None
    pruner: ComponentSpec | None = None
    policy: tuple[ComponentSpec, ...] = ()
    checkpoints: tuple[int, ...] | None = ()
    overlap: bool = False
    backend: str = "optuna"
    storage: str | None = None
    previews: bool = True
    places: Mapping[str, YamlNode] = field(default_factory=dict)

    def at(self, key: str, message: str) -> str:
        """A message about a key, with its line where the file has it."""
        return self.places[key].at(message) if key in self.places else f"{self.path}: {key}: {message}"

    def error(self, key: str, message: str) -> ArgumentError:
        """An error about a key."""
        return ArgumentError(self.at(key, message))


def read_sweep(path: Path) -> SweepFile:
    """A sweep file, checked.

    Raises:
        ArgumentError: with file, line and key: no such file, another version, unknown or missing keys, wrong values.
    """
    root = places.read_yaml(path)
    given = dict(root.entries())
    if "version" not in given:
        raise root.error(f"version is missing. This release reads `version: {VERSION}`.")
    version = places.whole(1)(given["version"])
    if version != VERSION:
        raise given["version"].error(
            f"the file is of version {version}, this release reads {VERSION}. Upgrade surrogate-ax, or write it anew."
        )
    values = {"name": path.stem, **places.fields(_KEYS, needed=("generator", "score", "metrics", "budget"))(root)}
    values |= values.pop("score")
    del values["version"]
    sweep = SweepFile(path=path, places=given, **values)
    twice = sorted(sweep.call.keys() & sweep.conditions.keys())
    if twice:
        raise sweep.error("conditions", f"{twice[0]} is fixed under call and searched here. Keep one of them.")
    if not any(metric.goal in ("maximize", "minimize") for metric in sweep.metrics):
        raise sweep.error("metrics", "expected at least one to maximize or minimize.")
    if sweep.checkpoints and len([m for m in sweep.metrics if m.goal in ("maximize", "minimize")]) > 1:
        raise sweep.error("checkpoints", "rows are stopped by one metric; bound or track the others.")
    if sweep.checkpoints is None:
        beside = [key for key in ("policy", "pruner", "overlap") if key in given and getattr(sweep, key)]
        if beside:
            raise sweep.error("checkpoints", f"auto plans the search, so it does not go with {' and '.join(beside)}.")
    if sweep.backend == "ax" and (sweep.checkpoints or sweep.pruner):
        key = "checkpoints" if sweep.checkpoints else "pruner"
        raise sweep.error(key, "needs `backend: optuna`, or `checkpoints: auto`.")
    return sweep


def _source(place: YamlNode) -> Source:
    if isinstance(place.value(), str):
        where = places.text(place)
        if where == EMBEDDED:
            return Source("embedded", where)
        return Source("function" if _FUNCTION.fullmatch(where) else "folder", where)
    options = places.fields(_PIPELINE, needed=("folder",))(place)
    return Source("folder", options.pop("folder"), options)


def _function(place: YamlNode) -> str:
    name = places.text(place)
    if not _FUNCTION.fullmatch(name):
        raise place.expected("package.module:function")
    return name


def _score(place: YamlNode) -> dict[str, Any]:
    """The fields `score` and `timeout`."""
    if isinstance(place.value(), str):
        return {"score": _function(place)}
    read = places.fields({"function": _function, "timeout": _seconds}, needed=("function", "timeout"))(place)
    return {"score": read["function"], "timeout": read["timeout"]}


def _seconds(place: YamlNode) -> float:
    seconds = places.number(place)
    if not 0 < seconds < float("inf"):
        raise place.expected("a positive number of seconds")
    return seconds


def _condition(place: YamlNode) -> Range | Choice:
    value = place.value()
    if isinstance(value, list):
        return _made(place, Choice, values=places.plain(place))
    if isinstance(value, dict):
        return _made(place, Range, **places.fields(_RANGE, needed=("low", "high"))(place))
    raise place.expected("a list of values, or {low: 1, high: 7, step: 0.5}; a fixed value stands under call")


def _conditions(place: YamlNode) -> Mapping[str, Range | Choice]:
    return _made(place, check_searched, conditions={name: _condition(inner) for name, inner in place.entries()})


def _metrics(place: YamlNode) -> tuple[Metric, ...]:
    return tuple(_metric(name, inner) for name, inner in place.entries())


def _metric(name: str, place: YamlNode) -> Metric:
    value = place.value()
    if value in ("maximize", "minimize", "track"):
        return _made(place, Metric, name=name, goal=value)
    if isinstance(value, dict) and len(value) == 1:
        ((goal, bound),) = places.fields({"at_most": places.number, "at_least": places.number})(place).items()
        return _made(place, Metric, name=name, goal=goal, bound=float(bound))
    raise place.expected("maximize, minimize, track, {at_most: 1.0} or {at_least: 1.0}")


def _made(place: YamlNode, make: Callable[..., T], **arguments: Any) -> T:
    """What a function makes of arguments, its refusal at the place."""
    try:
        return make(**arguments)
    except ArgumentError as error:
        raise place.error(str(error)) from None


def _named(place: YamlNode) -> ComponentSpec:
    if isinstance(place.value(), str):
        return ComponentSpec(places.text(place), {}, place)
    given = dict(place.entries())
    if "name" not in given:
        raise place.error("name is missing. Write a name, or {name: ..., and its arguments}.")
    others = {name: places.plain(inner) for name, inner in given.items() if name != "name"}
    return ComponentSpec(places.text(given["name"]), others, place)


def _or_auto(reader: Reader, auto: Any) -> Reader:
    """A reader that takes "auto" as well."""
    return lambda place: auto if place.value() == AUTO else reader(place)


def _policy(place: YamlNode) -> tuple[ComponentSpec, ...]:
    if isinstance(place.value(), list):
        return places.listed(_named)(place)
    return (_named(place),)


_RANGE: Mapping[str, Reader] = {
    "low": places.number,
    "high": places.number,
    "step": places.number,
    "log": places.flag,
}
_PIPELINE: Mapping[str, Reader] = {
    "folder": places.text,
    "device": places.text,
    "dtype": places.one_of("float32", "bfloat16", "float16"),
    "variant": places.text,
    "offload": places.flag,
    "step_noise": places.flag,
}
_KEYS: Mapping[str, Reader] = {
    "version": places.whole(1),
    "name": places.text,
    "generator": _source,
    "call": places.arguments,
    "conditions": _conditions,
    "score": _score,
    "metrics": _metrics,
    "budget": places.whole(1),
    "batch": places.whole(1),
    "seed": places.whole(0),
    "sampler": _or_auto(_named, None),
    "pruner": _or_auto(_named, None),
    "policy": _or_auto(_policy, ()),
    "checkpoints": _or_auto(places.listed(places.whole(1)), None),
    "overlap": places.flag,
    "backend": places.one_of("optuna", "ax"),
    "storage": places.text,
    "previews": places.flag,
}
