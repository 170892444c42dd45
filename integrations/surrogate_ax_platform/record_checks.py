"""What an experiment of ours records, checked for its types wherever a client comes in.

A snapshot is a JSON file that anybody can edit, and a database holds whatever was written into it. What `records`
lists is read all over this package by its type, so all of it is checked here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ax.core.base_trial import BaseTrial
from ax.core.experiment import Experiment

from surrogate_ax.checks import mapping, number, show, text, whole
from surrogate_ax.errors import ArgumentError, MismatchError, SurrogateError
from surrogate_ax.latents.charts import chart_named
from surrogate_ax.latents.seeds import seed_from_json
from surrogate_ax.scoring.objective import recorded_objective
from surrogate_ax_platform import records
from surrogate_ax_platform.seeds import FOLDER

Check = Callable[[Any, str], object]


def check_records(experiment: Experiment) -> None:
    """Refuse an experiment whose records of ours are of other types than this package writes; others' are left alone.

    Args:
        experiment: any.

    Raises:
        MismatchError: naming the record and what is wrong with it.
    """
    try:
        _each(experiment._properties, _PROPERTIES, "its experiment")
        for trial in experiment.trials.values():
            _check_trial(trial)
    except (SurrogateError, RecursionError) as error:
        raise MismatchError(f"client: {error} It was altered; go on from a copy of it.") from error


def _check_trial(trial: BaseTrial) -> None:
    where = f"trial {trial.index}"
    _each(trial.run_metadata, {**_PROPOSED, **_EVALUATED}, where)
    for run in trial.generator_runs:
        _each({} if run.gen_metadata is None else run.gen_metadata, _PROPOSED, where)


def _each(held: Any, checks: Mapping[str, Check], where: str) -> None:
    if not isinstance(held, Mapping):
        raise ArgumentError(f"{where}: expected its records by name, got {show(held)}.")
    for name in held.keys() & checks.keys():
        checks[name](held[name], f"{where}, {name}")


def _search(value: Any, where: str) -> None:
    """What an experiment was begun with; `Session.begin` compares the rest."""
    record = mapping(value, where)
    for name in ("generator", "plan"):
        mapping(record.get(name), f"{where}: {name}")
    mapping(record.get("conditions", {}), f"{where}: conditions")  # which earlier releases did not record
    text(record.get("space", ""), f"{where}: space")
    for name in ("version", "rng"):
        whole(record.get(name, 0), f"{where}: {name}")
    recorded_objective(record.get("metrics"))


def _proposing(value: Any, where: str) -> None:
    """Prior, seed and fixed box."""
    record = mapping(value, where)
    prior = mapping(record.get("prior"), f"{where}: prior")
    for name, shape in mapping(prior.get("shapes"), f"{where}: shapes").items():
        for length in _listed(shape, f"{where}: shape of {name!r}"):
            whole(length, f"{where}: shape of {name!r}", least=1)
    whole(prior.get("dim"), f"{where}: dim", least=1)
    text(prior.get("fingerprint"), f"{where}: fingerprint")
    whole(record.get("rng"), f"{where}: rng", least=0)
    if record.get("space") is not None:
        _box(record["space"], f"{where}: space")


def _boxes(value: Any, where: str) -> None:
    for name, box in mapping(value, where).items():
        if not name.removeprefix("-").isdecimal():
            raise ArgumentError(f"{where}: expected boxes by their numbers, got {show(name)}.")
        _box(box, f"{where}: box {name}")


def _box(value: Any, where: str) -> None:
    """A frame of terms, the chart, and the share of fresh noise."""
    box = mapping(value, where)
    text(box.get("fingerprint"), f"{where}: fingerprint")
    chart_named(text(box.get("chart"), f"{where}: chart"))
    if not 0 <= number(box.get("fresh"), f"{where}: fresh") <= 1:
        raise ArgumentError(f"{where}: fresh: expected a share, got {show(box['fresh'])}.")
    for name in ("round", "box"):
        whole(box.get(name, 0), f"{where}: {name}")
    for seed in _listed(box.get("seeds", []), f"{where}: seeds"):
        seed_from_json(seed)
    frame = _listed(box.get("frame"), f"{where}: frame")
    if len(frame) < 2:
        raise ArgumentError(f"{where}: frame: expected at least 2 axes, got {len(frame)}.")
    for axis in frame:
        for term in _listed(axis, f"{where}: an axis"):
            *seed, coefficient = _listed(term, f"{where}: a term") or [None]
            seed_from_json(seed)
            number(coefficient, f"{where}: a coefficient")


def _products(value: Any, where: str) -> None:
    for row in mapping(value, where).values():
        for product in mapping(row, where).values():
            number(product, where)


def _estimates(value: Any, where: str) -> None:
    for step, values in mapping(value, where).items():
        if not step.isdecimal():
            raise ArgumentError(f"{where}: expected estimates by their steps, got {show(step)}.")
        for name, estimate in mapping(values, f"{where}: step {step}").items():
            number(estimate, f"{where}: step {step}: {name}", finite=False)


def _result(value: Any, where: str) -> None:
    record = mapping(value, where)
    for name, measured in mapping(record.get("values"), f"{where}: values").items():
        number(measured, f"{where}: {name}", finite=False)


def _choice(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise ArgumentError(f"{where}: expected true or false, got {show(value)}.")


def _folder(value: Any, where: str) -> None:
    if not isinstance(value, str):  # a path may hold what no text does
        raise ArgumentError(f"{where}: expected a path, got {show(value)}.")


def _maybe_whole(value: Any, where: str) -> None:
    if value is not None:
        whole(value, where)


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
        raise ArgumentError(f"{where}: expected a list, got {show(value)}.")
    return list(value)


_PROPERTIES: Mapping[str, Check] = {
    records.EXPERIMENT: _search,
    records.SEARCH: _proposing,
    records.SPACES: _boxes,
    records.CURRENT: whole,
    records.GRAM: _products,
    records.CHOSEN: _choice,
    FOLDER: _folder,
}
_PROPOSED: Mapping[str, Check] = {
    records.RECIPE: mapping,
    records.TRIAL_ROUND: _maybe_whole,
    records.PROPOSAL: _maybe_whole,
}
_EVALUATED: Mapping[str, Check] = {
    records.ORDER: whole,
    records.RESULT: _result,
    records.PASSED: _estimates,
}
