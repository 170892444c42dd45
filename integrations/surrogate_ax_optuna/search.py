"""A study's search, as samplers see it: read from what the study records, without a generator.

`optimize`, `trial_function` and `suggest_latents` write the record; whoever asks a trial afterwards, in whatever
process, finds the plan, K and the prior there. A trial is a point of a box of a round: the round and what the trial is
for are written before anything is sampled, and the point is decoded from the trial's final parameters, so parameters
that the user fixed or enqueued count.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from surrogate_ax.errors import MismatchError
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.history import Round
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.scoring.objective import recorded_objective
from surrogate_ax_optuna.attributes import BOX_ATTR, PROPOSAL_ATTR, ROUND_ATTR, STUDY_ATTR, attributes, study_attributes
from surrogate_ax_optuna.claims import Claim, exact
from surrogate_ax_optuna.record import StudyReader
from surrogate_ax_optuna.search_space import distributions
from surrogate_ax_optuna.seeds import study_seeds
from surrogate_ax_optuna.trials import box_of, is_gone, is_running, round_of
from surrogate_ax_optuna.warm import read_sources

SEARCH = "search"  # of the record: the proposer


class Search:
    """The rounds of one study, and the next point of the present one.

    Args:
        study: whose record it is.
        record: of the study, with a planned search.
    """

    def __init__(self, study: Study, record: Mapping[str, Any]) -> None:
        self.proposer = Proposer.from_json(record[SEARCH], sources=read_sources(study))
        self._entropy = draw_entropy(self.proposer.rng, "trials")
        # A trial without a recipe was never made: a user has told it without `suggest_latents`.
        objective = recorded_objective(record["metrics"])
        self._reader = StudyReader(objective, study_seeds(study), tells=objective, decode=lambda trial: None)
        self._trials = functools.partial(all_trials, study)
        self._rounds: dict[int, Round] = {}
        self._now: Round | None = None

    @property
    def parameters(self) -> dict[str, BaseDistribution]:
        """Of every trial: the coordinates of a box, and the searched conditions."""
        plan = self.proposer.plan
        return distributions(plan.axes if plan else 2, self.proposer.conditions)

    def open(self, number: int) -> Round:
        """The round that a new trial, of a number, belongs to."""
        unended = self._reader.read(self._trials())
        running = [round_of(trial) for trial in unended if is_running(trial) and trial.number != number]
        found = self.proposer.round(self._reader.history(running), self._now)
        self._now = found or self._now
        if self._now is None:
            raise MismatchError("study: its plan proposes no round.")
        self._rounds[self._now.number] = self._now
        return self._now

    def round(self, number: int) -> Round:
        """A round that some trial belongs to, made again from the trials before it where another process opened it."""
        if number not in self._rounds:
            self._reader.read(self._trials())
            made = self.proposer.policy(self._reader.history().before(number), 1, self.proposer.rng)
            if made is None or made.number != number:
                raise MismatchError(f"study: its round {number} does not follow from the trials that ended before it.")
            self._rounds[number] = made
        return self._rounds[number]

    def terms(self, trial: FrozenTrial) -> Terms:
        """The coefficient row that a trial's parameters name."""
        return self.round(round_of(trial)).point(trial.params, Draw(self._entropy, trial.number), box_of(trial))


class Searches:
    """The searches of the studies that one sampler serves; none of them is pickled with it."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], tuple[BaseStorage, Search]] = {}  # which keeps the storage, and so its id
        self.lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    def of(self, study: Study) -> Search | None:
        """The search of a study; None where it has no record of a planned one yet."""
        key = (id(_storage(study)), study._study_id)
        with self.lock:
            if key not in self._found:
                record = study_attributes(study).get(STUDY_ATTR, {})
                if SEARCH not in record:
                    return None
                self._found[key] = _storage(study), Search(study, record)
            return self._found[key][1]


def claim(study: Study, trial: FrozenTrial, search: Search) -> Claim:
    """Write what a new trial is for: its round, and a proposal of it that no other trial evaluates, if one is left.

    Of two workers that want the same proposal the one of the later trial sees the other, and takes the next.

    Args:
        study: of the trial.
        trial: running, not sampled yet.
        search: of the study.
    """
    storage, known = _storage(study), attributes(trial)
    if ROUND_ATTR in known:  # the host's own, or a trial that was enqueued with a round
        i = known.get(PROPOSAL_ATTR)
        if i is None or int(i) < 0:  # below 0: of a worker that has proposed it by itself
            return Claim(round_of(trial), box=box_of(trial))
        return exact(search.round(round_of(trial)), int(i))
    round = search.open(trial.number)
    _write(storage, trial, ROUND_ATTR, round.number)
    fixed = trial.system_attrs.get("fixed_params", {})
    tried = set[int]()
    while not fixed:  # an enqueued point is evaluated where it lies
        taken = {_proposal(other) for other in all_trials(study) if other.number != trial.number and not is_gone(other)}
        free = (i for i in range(len(round.proposals)) if (round.number, i) not in taken and i not in tried)
        i = next(free, None)
        if i is None:
            break
        _write(storage, trial, PROPOSAL_ATTR, i)
        if not any(
            _proposal(other) == (round.number, i) and (other.number < trial.number or other.state.is_finished())
            for other in all_trials(study)
            if other.number != trial.number and not is_gone(other)
        ):
            found = exact(round, i)
            if found.box:
                _write(storage, trial, BOX_ATTR, found.box)
            return found
        tried.add(i)
    if tried:
        _write(storage, trial, PROPOSAL_ATTR, None)
    return Claim(round.number)


def _proposal(trial: FrozenTrial) -> tuple[int, Any]:
    return round_of(trial), attributes(trial).get(PROPOSAL_ATTR)


def _write(storage: BaseStorage, trial: FrozenTrial, name: str, value: Any) -> None:
    storage.set_trial_system_attr(trial._trial_id, name, value)
    trial.system_attrs[name] = value  # the caller's copy


def all_trials(study: Study) -> list[FrozenTrial]:
    """All trials, whatever a pruner's bracket shows."""
    return _storage(study).get_all_trials(study._study_id, deepcopy=False)


def _storage(study: Study) -> BaseStorage:
    storage: BaseStorage = study._storage
    return storage
