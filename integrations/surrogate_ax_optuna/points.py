"""The points of a host's trials: which sampler chooses a trial's parameters, and what they say is to be evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler

from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.policies.history import History, Round
from surrogate_ax_optuna.claims import Claim
from surrogate_ax_optuna.sampler import RoundSampler, for_batches, for_round
from surrogate_ax_optuna.search_samplers import fixed_parameters, proposing
from surrogate_ax_optuna.search_space import distributions
from surrogate_ax_optuna.trials import read_recipe


class Points:
    """Chooses the parameters of trials.

    Args:
        sampler: of the study.
        conditions: searched call arguments by name.
        generator: its fingerprint.
        batch_size: the usual number of trials asked at once, for samplers that work in generations.
        rng: seed of draws and of the random parameters of proposals.
        every_round: the history and the conditions of its trials, for models that learn from every round.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        conditions: Mapping[str, Range | Choice],
        generator: Mapping[str, str],
        *,
        batch_size: int,
        rng: int,
        every_round: Callable[[], tuple[History, list[Mapping[str, Any]]]],
    ) -> None:
        self._random = RandomSampler(seed=draw_entropy(rng, "parameters") % 2**32)
        self._proposes, self._fixed = proposing(sampler) or self._random, fixed_parameters(sampler)
        self._conditions, self._generator, self._batch_size = conditions, generator, batch_size
        self.entropy = draw_entropy(rng, "trials")
        self._every_round = every_round
        self._samplers: dict[tuple[int, bool], RoundSampler] = {}

    def reseed(self) -> None:
        """Choose other points than another worker with the same seed."""
        self._proposes.reseed_rng()

    def fixed(self, claim: Claim) -> Claim:
        """A claim with the parameters that the user has fixed."""
        if claim.repeats is None and self._fixed:
            return dataclasses.replace(claim, fixed={**claim.fixed, **self._fixed})
        return claim

    def complete(self, claim: Claim, round: Round, n: int) -> Claim:
        """A claim of a worker's own proposal with all that its trial has, so that one step makes it.

        Args:
            claim: what the trial is for.
            round: where it searches.
            n: size of its batch.
        """
        parameters = distributions(round.space, self._conditions)
        params = self.fixed(claim).fixed
        if round.shared or claim.repeats is not None or not parameters.keys() <= params.keys():
            return claim
        terms = round.point(params, Draw(self.entropy, 0), claim.box)  # a corner, in which there is no fresh noise
        condition = {name: params[name] for name in self._conditions}
        recipe = Recipe(terms, condition, self._generator, n)
        return dataclasses.replace(claim, parameters=parameters, recipe=recipe)

    def sampler(self, claim: Claim, parameters: Mapping[str, BaseDistribution], round: Round) -> RoundSampler:
        """What chooses the parameters of a trial of a round."""
        proposes = claim.proposal is None and claim.repeats is None and round.space.fresh < 1
        key = (claim.round, proposes)
        if key not in self._samplers:
            sampler: BaseSampler = self._random
            if proposes:
                batched = for_batches(self._proposes, max(1, min(self._batch_size, round.size)))
                sampler = for_round(batched, round.space, self._conditions, self._every_round)
            self._samplers[key] = RoundSampler(sampler, parameters, claim.round)
        return self._samplers[key]

    def recipe(
        self, trial: optuna.Trial, claim: Claim, round: Round, parameters: Mapping[str, BaseDistribution], n: int
    ) -> Recipe:
        """What a trial is to evaluate, once it has its parameters."""
        if claim.repeats is not None:
            repeated = read_recipe(claim.repeats)
            return Recipe(repeated.terms, repeated.condition, self._generator, n)
        for name, distribution in parameters.items():
            trial._suggest(name, distribution)
        terms = round.point(trial.params, Draw(self.entropy, trial.number), claim.box)
        return Recipe(terms, {name: trial.params[name] for name in self._conditions}, self._generator, n)
