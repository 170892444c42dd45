"""Loops of one's own: `study.optimize(trial_function(...))`, ask and tell, and parts of an objective that do more.

The study's sampler says which point a trial is; here it is decoded from the trial's final parameters, made, scored and
recorded as `optimize` does, so that both go on with each other's studies.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.execution.records import keep_seeds
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import Round
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.objective import Objective, recorded_objective
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, RECIPE_ATTR, ROUND_ATTR, attributes, set_attribute
from surrogate_ax_optuna.coalescing import Coalescing
from surrogate_ax_optuna.previews import upload_preview
from surrogate_ax_optuna.search import Search, claim
from surrogate_ax_optuna.search_samplers import planning
from surrogate_ax_optuna.search_space import check_directions, distributions, objective_values, write_result
from surrogate_ax_optuna.seeds import ADVICE, Seeds, study_seeds
from surrogate_ax_optuna.studies import OwnGenerator, begin_search

BATCH = 16


class _Point(NamedTuple):
    terms: Terms
    condition: Mapping[str, Any]


class TrialFunction:
    """See `trial_function`."""

    def __init__(
        self,
        generator: Generator,
        objective: Objective,
        *,
        space: SurrogateSpace | None,
        conditions: Mapping[str, Range | Choice],
        batch_size: int,
        catch: tuple[type[Exception], ...],
        previews: Any,
        seeds: Seeds,
        device: torch.device | str,
    ) -> None:
        self._evaluator = Evaluator(generator, objective, catch=catch)
        self._space, self._conditions = space, check_searched(conditions)
        self._previews, self._seeds, self._device = previews, seeds, device
        self._bank: Bank | None = None
        self._batches = Coalescing(self._evaluate, size=batch_size)

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, ...]:
        """Make, score and record one trial; the value, or one a metric where several are optimised.

        A trial that fails has its reason in the log and in its attributes, and NaN as value, which Optuna fails.
        """
        point = self._point(trial)
        evaluations, i = self._batches(point)
        self._record(trial, evaluations, i)
        return values_of(evaluations, i)

    def evaluate(self, trials: Sequence[optuna.Trial]) -> list[float | tuple[float, ...]]:
        """What an ask-and-tell loop tells of a batch: the trials in one call.

        Args:
            trials: n asked trials.

        Returns:
            n values for `study.tell(trial, value)`; NaN of a trial that failed, which Optuna fails.
        """
        points = [self._point(trial) for trial in trials]
        found = self._evaluate(points)
        for trial, (evaluations, i) in zip(trials, found, strict=True):
            self._record(trial, evaluations, i)
        return [values_of(evaluations, i) for evaluations, i in found]

    def _point(self, trial: optuna.Trial) -> _Point:
        """What a trial is to evaluate, written on it."""
        generator, objective = self._evaluator.generator, self._evaluator.objective
        check_directions(trial.study, objective)
        if self._bank is None:
            self._bank = self._seed_bank(trial.study)
        if self._space is None:
            recipe = planned_point(trial, generator, objective, self._conditions)
        else:
            recipe = box_point(trial, self._space, self._conditions, generator.fingerprint)
        set_attribute(trial, RECIPE_ATTR, recipe.to_json())
        return _Point(recipe.terms, recipe.condition)

    def _seed_bank(self, study: optuna.Study) -> Bank:
        store: SeedStore | None = study_seeds(study, self._seeds)
        if self._space is not None:
            keep_seeds(store, self._space.bank, advice=ADVICE)
        return Bank(self._evaluator.generator.prior, (), tensors=store, device=self._device)

    def _evaluate(self, points: Sequence[_Point]) -> list[tuple[Evaluations, int]]:
        bank = self._bank
        if bank is None:
            raise ArgumentError("trials: expected trials that were asked from a study.")
        evaluations = self._evaluator(bank.latents_of([p.terms for p in points]), [dict(p.condition) for p in points])
        return [(evaluations, i) for i in range(len(points))]

    def _record(self, trial: optuna.Trial, evaluations: Evaluations, i: int) -> None:
        if self._previews is not None and i not in evaluations.reasons:
            with tempfile.TemporaryDirectory() as folder:
                artifact = upload_preview(self._previews, trial, evaluations, i, Path(folder))
            set_attribute(trial, PREVIEW_ATTR, artifact)
        write_result(trial, evaluations, i)


def trial_function(
    generator: Generator,
    objective: Objective,
    *,
    space: SurrogateSpace | None = None,
    conditions: Mapping[str, Range | Choice] | None = None,
    batch_size: int = BATCH,
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Any = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
) -> TrialFunction:
    """What `study.optimize` calls: `study.optimize(trial_function(generator, objective), n_trials=100, n_jobs=16)`.

    Trials of several threads are made in one generator call. For ask and tell by hand, its `evaluate(trials)` takes a
    batch.

    Args:
        generator: makes the outputs.
        objective: judges them.
        space: a box of one's own, which the study's sampler searches, whatever it is. Left out, the sampler is
            `SurrogateSampler` or `MovingBoxSampler`, which makes the boxes itself.
        conditions: searched call arguments.
        batch_size: items of one generator call, at most.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: an Optuna artifact store for pictures of the outputs.
        seeds: where stored seeds are kept, as for `optimize`.
        device: where latents are made: the generator's.

    Returns:
        A function of an Optuna trial.

    Raises:
        ArgumentError: (of the function) a study whose sampler makes no boxes, or whose directions are not the
            objective's.
        MismatchError: (of the function) a study that was begun with something else.
    """
    return TrialFunction(
        generator,
        objective,
        space=space,
        conditions=conditions or {},
        batch_size=batch_size,
        catch=catch,
        previews=previews,
        seeds=seeds,
        device=device,
    )


def suggest_latents(trial: optuna.Trial, where: SurrogateSpace | Prior) -> Latents:
    """The latents of one trial, for an objective function of one's own that does more.

    Args:
        trial: Optuna's trial; gets the parameters `u0` to `u{K-2}` and the recipe.
        where: a box of one's own, or a generator's prior: the study's sampler, `SurrogateSampler` or
            `MovingBoxSampler`, then makes the boxes.

    Returns:
        Named parts (1, *shape).

    Raises:
        ArgumentError: a prior where the study's sampler makes no boxes.
        MismatchError: a study that was begun with something else.
    """
    if isinstance(where, SurrogateSpace):
        recipe, bank = box_point(trial, where, {}, {"prior": where.bank.prior.fingerprint}), where.bank
    else:
        recipe = planned_point(trial, OwnGenerator(where), _objective_of(trial.study), {})
        bank = Bank(where, (), tensors=study_seeds(trial.study))
    set_attribute(trial, RECIPE_ATTR, recipe.to_json())
    return bank.latents_of([recipe.terms])


def record(trial: optuna.Trial, evaluations: Evaluations) -> float | tuple[float, ...]:
    """Write an evaluation of one item on its trial, and give what an objective function returns.

    Args:
        trial: the trial whose latents came from `suggest_latents`.
        evaluations: of n = 1 item.

    Returns:
        The value, or one a metric when several are optimised; NaN when the item failed, which makes Optuna fail the
        trial (the reason is in its attributes).

    Raises:
        ArgumentError: more than one item, or a trial that has no recipe.
    """
    known = attributes(trial).get(RECIPE_ATTR)
    if len(evaluations.status) != 1 or known is None:
        raise ArgumentError(
            f"record: expected one evaluated item of a trial with latents of `suggest_latents`, got "
            f"{len(evaluations.status)} items, recipe {'missing' if known is None else 'present'}."
        )
    complete = dataclasses.replace(
        Recipe.from_json(known), condition=evaluations.conditions[0], generator=evaluations.generator
    )
    set_attribute(trial, RECIPE_ATTR, complete.to_json())
    write_result(trial, evaluations, 0)
    return values_of(evaluations, 0)


def values_of(evaluations: Evaluations, i: int) -> float | tuple[float, ...]:
    """What an objective function returns of item i: NaN where it failed."""
    failed = i in evaluations.reasons
    values = [float("nan")] * len(evaluations.objective.optimised) if failed else objective_values(evaluations, i)
    return values[0] if len(values) == 1 else tuple(values)


def planned_point(
    trial: optuna.Trial,
    generator: Generator,
    objective: Objective,
    conditions: Mapping[str, Range | Choice],
) -> Recipe:
    """The point that the study's sampler, one of ours, has given a trial; the first trial begins the search."""
    study = trial.study
    sampler = planning(study.sampler)
    if sampler is None:
        name = type(study.sampler).__name__
        raise ArgumentError(
            f"study: its sampler {name} makes no boxes. Create it with sampler=SurrogateSampler() for the planned "
            f"search, with MovingBoxSampler({name}()) to let {name} propose, or give a space of your own."
        )
    with sampler.searches.lock:
        begin_search(study, sampler, generator, objective, conditions)
        search = sampler.searches.of(study)
        if search is None:
            raise ArgumentError("study: its storage does not keep attributes of studies.")
        _suggest(trial, search)
        frozen = trial._cached_frozen_trial
        terms = search.terms(frozen)
    condition = {name: trial.params[name] for name in search.proposer.conditions}
    return Recipe(terms, condition, dict(generator.fingerprint), 1)


def _suggest(trial: optuna.Trial, search: Search) -> None:
    for name, kind in search.parameters.items():
        trial._suggest(name, kind)
    if ROUND_ATTR not in attributes(trial):  # every parameter was fixed, and the sampler never asked
        claim(trial.study, trial._cached_frozen_trial, search)


def box_point(
    trial: optuna.Trial,
    space: SurrogateSpace,
    conditions: Mapping[str, Range | Choice],
    fingerprint: Mapping[str, Any],
) -> Recipe:
    """The point of a box of the user's that the study's sampler proposes."""
    for name, kind in distributions(space, conditions).items():
        trial._suggest(name, kind)
    draw = Draw(draw_entropy(0, "trials"), trial.number)
    terms = Round(space, 0, 1).point(trial.params, draw)
    return Recipe(terms, {name: trial.params[name] for name in conditions}, dict(fingerprint), 1)


def _objective_of(study: optuna.Study) -> Objective:
    """What a study optimises, by its directions and the names of its metrics."""
    goals = [direction.name.lower() for direction in study.directions]
    names = study.metric_names or (["value"] if len(goals) == 1 else [f"value{i}" for i in range(len(goals))])
    return recorded_objective([(name, goal, None) for name, goal in zip(names, goals, strict=True)])
