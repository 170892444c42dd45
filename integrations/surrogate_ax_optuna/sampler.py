"""Any Optuna sampler, confined to one round of a study and told its parameters from the start.

A study keeps the parameters `u0..u{K-2}` for life while rounds move the space they stand for, so equal values of u mean
different outputs in different rounds. `RoundSampler` shows the sampler inside it the trials of one round only (user
attribute `surrogate:round`), without those that were given exactly (`surrogate:exact`) and so were never proposed in
the box. What a sampler keeps on its trials (the optimizer of CMA-ES, the generations of NSGA) is thereby anew in every
round; what it keeps on the study (the position of QMC, the parents of NSGA) is stored under a name of the round.

Optuna infers which parameters may be sampled together ("relatively") from finished trials, so a first batch is always
random. Here the parameters are known, and the inner sampler is asked what it would infer if one trial with just these
had been completed. So the sampler itself decides, and keeps its settings:

| sampler | relative parameters | from |
|---|---|---|
| CmaEsSampler | numerical | the round's first trial (with `n_startup_trials=0`, see `for_batches`) |
| QMCSampler | all | the round's first trial |
| TPESampler, multivariate (default for one objective) or group | all | its `n_startup_trials` in the round |
| TPESampler, otherwise | none: it models each parameter on its own | its `n_startup_trials` in the round |
| BoTorchSampler with a `candidates_func` that knows rounds | all | the round's first trial |
| GPSampler, BoTorchSampler | all | their `n_startup_trials` in the round, one of them completed |
| NSGAIISampler, NSGAIIISampler | all | a `population_size` completed in the round |
| PartialFixedSampler | those of its base, without the fixed | as its base |
| RandomSampler, GridSampler, BruteForceSampler | none | - |

Grid and brute-force samplers end a study themselves, which Optuna allows inside `Study.optimize` only. A start that the
user gave CMA-ES (`x0`, `source_trials`) is used in every round.

Reference: the bracket study of Optuna's HyperbandPruner, which filters trials in the same manner.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, PartialFixedSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Searched
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import History
from surrogate_ax_optuna.attributes import ROUND_ATTR, attributes
from surrogate_ax_optuna.round_view import KnownSpaceView, RoundView

_MIN_POPSIZE = 4  # below, CMA-ES has a single parent and its learning rates divide by zero


class RoundSampler(BaseSampler):
    """A sampler that sees the trials of one round and knows the parameters from the first trial.

    Make one per round and keep it through the round. It writes the round on each trial before anything is sampled, so
    that a crash right after `Study.ask` leaves a trial that is known to its round; one that carries a round keeps it.

    Args:
        inner: The sampler that proposes. Its settings and its random stream are used as they are.
        distributions: The parameters of every trial. Others that a trial asks for are sampled independently. When
            empty, `inner` infers them from the trials of the round, as it does without this wrapper.
        round: The round that trials asked from here belong to.
    """

    def __init__(self, inner: BaseSampler, distributions: Mapping[str, BaseDistribution], round: int) -> None:
        self._inner = _change_base(inner, _for_round)
        self._needs_results = _needs_results(inner)
        self._round = round
        self._known = _stand_in(distributions) if distributions else None

    def __str__(self) -> str:
        return f"RoundSampler({self._inner}, round={self._round})"

    def reseed_rng(self) -> None:
        """Reseed the inner sampler, as Optuna asks of each of several workers."""
        self._inner.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Write the round on the trial, then let the inner sampler prepare it."""
        if ROUND_ATTR not in attributes(trial):
            study._storage.set_trial_system_attr(trial._trial_id, ROUND_ATTR, self._round)
            trial.system_attrs[ROUND_ATTR] = self._round  # the caller's copy
        self._inner.before_trial(self._view(study, trial), trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Ask the inner sampler which of the known parameters it samples together."""
        view = self._view(study, trial)
        shown = view if self._known is None else KnownSpaceView(study, self._round, trial, self._known)
        # Asked even where the answer is not used: TPE's groups are remembered by this call.
        space = self._inner.infer_relative_search_space(shown, trial)
        if self._needs_results and not view._get_trials(False, (TrialState.COMPLETE,), use_cache=True):
            return {}
        return space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample the given parameters together, from the trials of the round."""
        return self._inner.sample_relative(self._view(study, trial), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample one parameter, from the trials of the round."""
        return self._inner.sample_independent(self._view(study, trial), trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Let the inner sampler close the trial."""
        self._inner.after_trial(self._view(study, trial), trial, state, values)

    def _view(self, study: Study, trial: FrozenTrial) -> RoundView:
        return RoundView(study, self._round, trial)


def for_batches(sampler: BaseSampler, batch_size: int) -> BaseSampler:
    """Return the sampler as it should be when trials are asked and told in batches.

    CMA-ES closes a generation at a batch boundary only and wastes the surplus. So a population size that the user left
    open becomes the batch size (4 and 6 for batches of 2 and 3, CMA-ES's own default for batches of 1), and the random
    trial that Optuna puts before the first generation is dropped, and trials stopped at a checkpoint count with their
    estimates, without which a generation would not close. BoTorchSampler takes running trials into account, without
    which the trials of a batch come out alike. Other samplers need nothing.

    Args:
        sampler: The user's sampler. It is not changed; a copy shares its random stream.
        batch_size: Trials asked before the first of them is told.

    Returns:
        A changed copy, or `sampler` itself where nothing has to change.

    Raises:
        ArgumentError: If `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be a whole number of at least 1, but {batch_size} was given.")

    def change(base: BaseSampler) -> BaseSampler:
        if isinstance(base, CmaEsSampler):
            return _cma_es_for_batches(base, batch_size)
        if _is_botorch(base):
            return _with(base, _consider_running_trials=True)
        return base

    return _change_base(sampler, change)


@runtime_checkable
class KnowsRounds(Protocol):
    """A BoTorchSampler's `candidates_func` that learns from the trials of every round."""

    def in_round(
        self,
        space: SurrogateSpace,
        conditions: Searched,
        history: Callable[[], tuple[History, Sequence[Mapping[str, Any]]]],
    ) -> KnowsRounds:
        """The same for one round, given its box, searched conditions, and what gives ended trials and conditions."""
        ...


def for_round(
    sampler: BaseSampler,
    space: SurrogateSpace,
    conditions: Searched,
    history: Callable[[], tuple[History, Sequence[Mapping[str, Any]]]],
) -> BaseSampler:
    """Return the sampler as it should be in one round: a BoTorchSampler that knows rounds is told of all of them.

    It proposes from the round's first trial on, because what it needs it may know from earlier rounds.

    Args:
        sampler: The sampler of the study. It is not changed.
        space: The box of the round.
        conditions: What is searched beside it.
        history: Gives the ended trials of all rounds and their conditions.

    Returns:
        A changed copy, or `sampler` itself where nothing has to change.
    """

    def change(base: BaseSampler) -> BaseSampler:
        if not (_is_botorch(base) and isinstance(known := vars(base)["_candidates_func"], KnowsRounds)):
            return base
        return _with(base, _candidates_func=known.in_round(space, conditions, history), _n_startup_trials=0)

    return _change_base(sampler, change)


def in_generations(sampler: BaseSampler) -> bool:
    """Tell whether a sampler needs a whole batch told before the next is asked, or wastes what is told later."""
    if isinstance(sampler, PartialFixedSampler):
        return in_generations(sampler._base_sampler)
    return isinstance(sampler, CmaEsSampler)


def _cma_es_for_batches(sampler: CmaEsSampler, batch_size: int) -> BaseSampler:
    changed: dict[str, Any] = {"_consider_pruned_trials": True}  # none are there unless checkpoints stop them
    if sampler._popsize is None and batch_size > 1:
        changed["_popsize"] = batch_size * -(-_MIN_POPSIZE // batch_size)
    if sampler._n_startup_trials == 1:  # Optuna's default; a number of the user's own is kept
        changed["_n_startup_trials"] = 0
    return _with(sampler, **changed)


def _with(sampler: BaseSampler, **attributes: Any) -> BaseSampler:
    """Return a copy with some attributes replaced, sharing the others: the random stream goes on through both."""
    copied = copy.copy(sampler)
    vars(copied).update(attributes)
    return copied


def _change_base(sampler: BaseSampler, change: Callable[[BaseSampler], BaseSampler]) -> BaseSampler:
    """Apply a change to a sampler, or to what a PartialFixedSampler holds."""
    if isinstance(sampler, PartialFixedSampler):
        return _with(sampler, _base_sampler=_change_base(sampler._base_sampler, change))
    return change(sampler)


def _for_round(sampler: BaseSampler) -> BaseSampler:
    """Return the sampler without what it remembers of other trials: inferred parameters and fitted kernels."""
    forgotten: dict[str, Any] = {
        name: type(value)(value._include_pruned)
        for name, value in vars(sampler).items()
        if isinstance(value, (IntersectionSearchSpace, _GroupDecomposedSearchSpace))
    }
    if isinstance(sampler, GPSampler):  # it starts each fit at its last kernel
        forgotten |= {"_gprs_cache_list": None, "_constraints_gprs_cache_list": None}
    return _with(sampler, **forgotten) if forgotten else sampler


def _needs_results(sampler: BaseSampler) -> bool:
    """Tell whether relative sampling fails on a round without a completed trial.

    Bare, these samplers are safe because nothing can be inferred yet. BoTorchSampler counts running trials as startup
    trials, so within a first batch above `n_startup_trials` it would fit a model to nothing; GPSampler does with none.
    """
    if isinstance(sampler, PartialFixedSampler):
        return _needs_results(sampler._base_sampler)
    if _is_botorch(sampler):
        return not isinstance(vars(sampler)["_candidates_func"], KnowsRounds)
    return isinstance(sampler, GPSampler)


def _is_botorch(sampler: BaseSampler) -> bool:
    # By name, because importing BoTorch takes seconds and it may not be installed.
    return any(
        base.__name__ == "BoTorchSampler" and base.__module__.startswith("optuna_integration.")
        for base in type(sampler).__mro__
    )


def _stand_in(distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Make a completed trial with the given parameters; its values mean nothing."""
    return create_trial(
        params={name: _any_value(distribution) for name, distribution in distributions.items()},
        distributions=dict(distributions),
        values=[0.0],
    )


def _any_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    return cast("FloatDistribution | IntDistribution", distribution).low
