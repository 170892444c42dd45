"""Optuna samplers that search a generator's outputs: the planned search, and any other sampler in boxes that move.

Both read the study's record (see `search`), so they hold no generator, are pickled, and propose in a process without
the model. Before a study has a record, and for parameters that the search does not know, they draw at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.seeds import draw_entropy
from surrogate_ax_optuna.sampler import RoundSampler, for_batches
from surrogate_ax_optuna.search import Search, Searches, claim
from surrogate_ax_optuna.trials import round_of
from surrogate_ax_optuna.warm import read_earlier


class SurrogateSampler(BaseSampler):
    """The planned search as a sampler: plain draws, then rounds of proposals that learn from every trial.

    Args:
        n_trials: trials over which proposals go from exploring to refining; left out, both go on evenly for ever.
        seed: of draws and proposals; left out, 0, or the `rng` of `optimize`.
        warm: earlier searches to learn from, as for `optimize`; they are read now.

    Raises:
        ArgumentError: a number of trials below 1, or something that is no search.

    Reference: arXiv 2509.23800 (surrogate spaces); docs/policies.md says how the plan was chosen.
    """

    def __init__(self, n_trials: int | None = None, seed: int | None = None, *, warm: Sequence[Any] = ()) -> None:
        self.n_trials, self.seed, self.warm = _checked(n_trials), seed, read_earlier(warm)
        self.searches = Searches()

    def reseed_rng(self) -> None:
        """Nothing: every draw is keyed by the number of its trial."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Write what the trial is for."""
        if (search := self.searches.of(study)) is not None:
            with self.searches.lock:
                claim(study, trial, search)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The coordinates of a box and the searched conditions."""
        search = self.searches.of(study)
        return {} if search is None else search.parameters

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A proposal's corner of its box, or a random point."""
        search = self.searches.of(study)
        with self.searches.lock:
            fixed = {} if search is None else claim(study, trial, search).fixed
        return {
            name: fixed[name] if name in fixed else draw(study, trial, name, kind, _seed(self.seed, search))
            for name, kind in search_space.items()
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return draw(study, trial, param_name, param_distribution, _seed(self.seed, self.searches.of(study)))


class MovingBoxSampler(BaseSampler):
    """Any sampler, in boxes that move: plain draws, then rounds in which it proposes the points of a new box.

    The axes of a box are what a Gaussian process proposes from all trials so far, and every point is mixed with fresh
    noise, which falls over the search. The sampler begins anew in each round, whose trials it sees only.

    Args:
        inner: proposes in the boxes, and every parameter that is not of the search.
        n_trials: trials over which the share of fresh noise falls; left out, it is drawn evenly from its range.
        seed: of draws and boxes; left out, 0, or the `rng` of `optimize`. The sampler inside has its own.

    Raises:
        ArgumentError: a number of trials below 1, or something else than a sampler of Optuna's that knows no rounds.
    """

    def __init__(self, inner: BaseSampler, n_trials: int | None = None, seed: int | None = None) -> None:
        given: object = inner
        if not isinstance(given, BaseSampler) or planning(inner) is not None:
            raise ArgumentError(f"inner: expected a sampler such as TPESampler(), got {type(inner).__name__}.")
        self.inner, self.n_trials, self.seed = inner, _checked(n_trials), seed
        self.searches = Searches()
        self._rounds: dict[tuple[int, int], RoundSampler] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_rounds": {}}

    def reseed_rng(self) -> None:
        """Reseed the sampler inside."""
        self.inner.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Write the round of the trial, then let the sampler prepare it."""
        if (search := self.searches.of(study)) is None:
            self.inner.before_trial(study, trial)
            return
        with self.searches.lock:
            claim(study, trial, search)
        if (sampler := self._sampler(study, trial, search)) is not None:
            sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the sampler samples together; all parameters of a plain draw."""
        if (search := self.searches.of(study)) is None:
            return self.inner.infer_relative_search_space(study, trial)
        sampler = self._sampler(study, trial, search)
        return search.parameters if sampler is None else sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the sampler proposes; random values of a plain draw."""
        if (search := self.searches.of(study)) is None:
            return self.inner.sample_relative(study, trial, search_space)
        if (sampler := self._sampler(study, trial, search)) is not None:
            return sampler.sample_relative(study, trial, search_space)
        return {name: draw(study, trial, name, kind, _seed(self.seed, search)) for name, kind in search_space.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the sampler proposes for one parameter."""
        search = self.searches.of(study)
        sampler = None if search is None else self._sampler(study, trial, search)
        return (sampler or self.inner).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Let the sampler close the trial."""
        search = self.searches.of(study)
        sampler = None if search is None else self._sampler(study, trial, search)
        if sampler is not None or search is None:
            (sampler or self.inner).after_trial(study, trial, state, values)

    def _sampler(self, study: Study, trial: FrozenTrial, search: Search) -> RoundSampler | None:
        """The sampler in the round of a trial; None in a round of plain draws."""
        with self.searches.lock:
            number = round_of(trial)
            round, key = search.round(number), (id(search), number)
            if round.space.fresh == 1:
                return None
            if key not in self._rounds:
                self._rounds[key] = RoundSampler(for_batches(self.inner, round.size), search.parameters, number)
            return self._rounds[key]


def planning(sampler: BaseSampler) -> SurrogateSampler | MovingBoxSampler | None:
    """The sampler of ours that a study has, if it has one; what a PartialFixedSampler holds counts."""
    if isinstance(sampler, PartialFixedSampler):
        return planning(sampler._base_sampler)
    return sampler if isinstance(sampler, SurrogateSampler | MovingBoxSampler) else None


def proposing(sampler: BaseSampler) -> BaseSampler | None:
    """What proposes in a box: a sampler itself, or what it holds; None for the planned search, which knows no box."""
    planned = planning(sampler)
    if planned is None:
        return sampler
    return planned.inner if isinstance(planned, MovingBoxSampler) else None


def fixed_parameters(sampler: BaseSampler) -> dict[str, Any]:
    """Values that a PartialFixedSampler gives to every trial."""
    return dict(sampler._fixed_params) if isinstance(sampler, PartialFixedSampler) else {}


def _seed(own: int | None, search: Search | None) -> int:
    """The seed of a sampler's draws: that of the search, which `optimize` may have begun, or before it its own."""
    return (own or 0) if search is None else search.proposer.rng


def draw(study: Study, trial: FrozenTrial, name: str, kind: BaseDistribution, seed: int) -> Any:
    """A random value, the same for a seed, a trial's number and a parameter, whoever draws it."""
    entropy = draw_entropy(seed, f"{name} of trial {trial.number}")
    return RandomSampler(seed=entropy % 2**32).sample_independent(study, trial, name, kind)


def _checked(n_trials: int | None) -> int | None:
    if n_trials is not None and n_trials < 1:
        raise ArgumentError(f"n_trials: expected at least 1, or None for a search without an end, got {n_trials}.")
    return n_trials
