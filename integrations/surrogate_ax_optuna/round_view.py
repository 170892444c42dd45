"""A study of which only the trials of one round are seen: what `RoundSampler` shows the sampler inside it.

Reference: the bracket study of Optuna's HyperbandPruner, which filters trials in the same manner.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container
from typing import Any, cast

from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax_optuna.attributes import PROPOSAL_ATTR, ROUND_ATTR, attributes

_STUDY_KEYS = "study:"  # Optuna's own facts about a study, such as its metric names


class StudyWith(Study):
    """A study with another sampler: trials are asked and told through it, and the study itself is never touched.

    Args:
        study: the user's.
        sampler: what proposes.
    """

    def __init__(self, study: Study, sampler: BaseSampler) -> None:
        vars(self).update(vars(study))
        self.sampler = sampler
        self._study = study

    def stop(self) -> None:
        """End the study itself."""
        self._study.stop()


class RoundView(Study):
    """A study of which only the trials of one round are seen, and the trial in hand.

    Not built by `Study.__init__`, which would query the storage at every call, nor by copying all attributes of the
    study, of which Hyperband's bracket study gives out a few only. Each method filters what its namesake in the study
    returns, so that a bracket stays a bracket.
    """

    def __init__(self, study: Study, round: int, trial: FrozenTrial) -> None:
        self._study = study
        self._round = round
        self._trial_id = trial._trial_id
        self.study_name = study.study_name
        self._study_id = study._study_id
        self._directions = study._directions
        self.sampler = study.sampler
        self.pruner = study.pruner
        self._thread_local = study._thread_local
        self._storage = cast(BaseStorage, _RoundStorage(study._storage, round, self._seen))

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials of the round, and the one in hand."""
        return self._seen(self._study.get_trials(deepcopy=False, states=states), deepcopy)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return self._seen(self._study._get_trials(deepcopy=False, states=states, use_cache=use_cache), deepcopy)

    def stop(self) -> None:
        """End the study itself, as grid samplers do."""
        self._study.stop()

    def _seen(self, trials: list[FrozenTrial], deepcopy: bool) -> list[FrozenTrial]:
        seen = [
            t
            for t in trials
            if ((attrs := attributes(t)).get(ROUND_ATTR) == self._round and attrs.get(PROPOSAL_ATTR) is None)
            or t._trial_id == self._trial_id
        ]
        return copy.deepcopy(seen) if deepcopy else seen


class KnownSpaceView(RoundView):
    """The same with a single trial, which has the known parameters: what the inner sampler infers from."""

    def __init__(self, study: Study, round: int, trial: FrozenTrial, known: FrozenTrial) -> None:
        super().__init__(study, round, trial)
        self._known = copy.copy(known)
        self._known.number = trial.number  # the newest: samplers remember up to which trial they looked

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The known trial, whatever has happened."""
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        if states is not None and self._known.state not in states:
            return []
        return [copy.deepcopy(self._known) if deepcopy else self._known]


class _RoundStorage:
    """A storage with the same view, for samplers that go past the study; the rest is passed on.

    Study attributes are kept per round. Without that, NSGA would look for the parents of round 1 in round 2, find none
    and stay random, and a QMC sequence would go on instead of covering the new space from its start.
    """

    def __init__(
        self, storage: BaseStorage, round: int, seen: Callable[[list[FrozenTrial], bool], list[FrozenTrial]]
    ) -> None:
        self._storage = storage
        self._prefix = f"{ROUND_ATTR}:{round}:"
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._seen(self._storage.get_all_trials(study_id, deepcopy=False, states=states), deepcopy)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return BaseStorage.get_best_trial(cast(BaseStorage, self), study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        stored = self._storage.get_study_system_attrs(study_id)
        own = {k.removeprefix(self._prefix): v for k, v in stored.items() if k.startswith(self._prefix)}
        return {k: v for k, v in stored.items() if k.startswith(_STUDY_KEYS)} | own

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._storage.set_study_system_attr(study_id, self._prefix + key, value)
