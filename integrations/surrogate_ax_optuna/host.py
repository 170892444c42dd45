"""Optuna as a host of the core loop: what was told, asking in batches, telling with previews.

The study keeps its parameters for life: `u0..u{K-2}` and the searched conditions. The study's own sampler proposes,
inside `RoundSampler`; plain draws and exact rows only need parameters, so a random sampler gives them. Several
processes may work on one study: `claims` says which trial is whose, `lease` which process still lives.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from surrogate_ax.errors import MismatchError, StorageError, SurrogateError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.generation.conditions import Choice, Condition, Range
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import History, Round
from surrogate_ax.scoring.evaluator import INTERRUPTED, Evaluations
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.claims import Claim, Ledger
from surrogate_ax_optuna.lease import LEASE_ATTR, Leases, abandoned, owner_of
from surrogate_ax_optuna.previews import PREVIEW_ATTR, encoding, upload
from surrogate_ax_optuna.pruning import checkpoint_estimates, report_to_pruner
from surrogate_ax_optuna.round_view import ROUND_ATTR
from surrogate_ax_optuna.sampler import RoundSampler, for_batches, for_round
from surrogate_ax_optuna.search_space import (
    REASON_ATTR,
    RECIPE_ATTR,
    distributions,
    metric_estimates,
    metric_values,
    objective_values,
    write_recipe,
    write_result,
)
from surrogate_ax_optuna.trials import (
    HISTORY,
    ended_trials,
    in_order,
    is_gone,
    is_running,
    proposal,
    read_recipe,
    round_of,
)

__all__ = ["PREVIEW_ATTR", "OptunaHost", "ended_trials", "read_recipe"]
Array = np.ndarray
TRIES = 5  # at which a trial's process may be killed before the trial counts as failed
_Read = tuple[
    Terms, list[float], list[float], Mapping[int, float], Condition
]  # recipe, values, estimates, checkpoints, condition


class OptunaHost:
    """A study as a `Host`.

    Args:
        study: the study; its sampler is put aside while trials are asked and told, and `close` restores it.
        generator: for fingerprints.
        objective: for metrics.
        conditions: searched call arguments by name.
        batch_size: the usual number of trials asked at once, for samplers that work in generations.
        rng: seed of draws and of the random parameters of exact rows.
        previews: an Optuna artifact store for pictures of the outputs; none are made without it.
        tensors: inner rows (D,) of stored seeds, by SHA-256: the storage keeps their hashes only.
        total_trials: trials wanted, which several workers must not exceed; they may if it is left out.
    """

    def __init__(
        self,
        study: optuna.Study,
        generator: Generator,
        objective: Objective,
        *,
        conditions: Mapping[str, Range | Choice] | None = None,
        batch_size: int = 1,
        rng: int = 0,
        previews: Any = None,
        tensors: Mapping[str, Tensor] | None = None,
        total_trials: int | None = None,
    ) -> None:
        self.study = study
        self._generator = dict(generator.fingerprint)
        self._objective = objective
        self._conditions = dict(conditions or {})
        self._sampler = study.sampler
        self._batched = for_batches(study.sampler, batch_size)
        self._random = RandomSampler(seed=draw_entropy(rng, "parameters") % 2**32)
        self._entropy = draw_entropy(rng, "trials")
        self._previews = previews
        self._tensors = dict(tensors or {})
        self._axes: int | None = None  # K of the study's parameters, once they are known
        self._read: dict[int, _Read] = {}  # of ended trials, which do not change any more
        self._asked: dict[int, tuple[Terms, Condition]] = {}  # what this host wrote into recipes, until they are told
        self._samplers: dict[tuple[int, bool], RoundSampler] = {}
        self._made = 0  # trials, by this host
        self._alone = True
        self._leases = Leases(study._storage)
        self._ledger = Ledger(math.inf if total_trials is None else total_trials)

    def close(self) -> None:
        """Give the study its own sampler back, and trials that are still running, whatever broke in.

        An interrupt may come when a storage has made a trial and not yet said so.
        """
        self.study.sampler = self._sampler
        mine = [trial for trial in self.study.get_trials(deepcopy=False) if owner_of(trial) == self._leases.owner]
        try:
            self._give_back([trial._trial_id for trial in mine if not trial.state.is_finished()])
        finally:
            self._leases.close()

    def history(self) -> History:
        """Ended trials in the order in which they ended, and the rounds of those that other processes run.

        Interrupted and lost trials are as if never asked: their places are free.
        """
        return self._told()[0]

    def _told(self) -> tuple[History, list[Mapping[str, Any]]]:
        """The same, and the conditions of the ended trials."""
        names = [metric.name for metric in self._objective.metrics]
        trials = self.study.get_trials(deepcopy=False)
        ended = in_order(trials)
        for trial in ended:
            if trial.number not in self._read:
                recorded = metric_values(trial, names), metric_estimates(trial, names)
                terms, condition = self._asked.pop(trial.number) if trial.number in self._asked else proposal(trial)
                self._read[trial.number] = (terms, *recorded, checkpoint_estimates(trial), condition)
        rows = [self._read[trial.number] for trial in ended]
        values, estimates = (np.array([row[i] for row in rows]).reshape(len(rows), len(names)) for i in (1, 2))
        stopped = not np.isnan(estimates).all()
        steps = sorted({step for row in rows for step in row[3]}) if stopped else []
        history = History(
            self._objective,
            [row[0] for row in rows],
            dict(zip(names, values.T, strict=True)),
            np.array([round_of(trial) for trial in ended], dtype=np.int64),
            running=[round_of(trial) for trial in self._others(trials)],
            tensors=self._tensors,
            estimates=dict(zip(names, estimates.T, strict=True)) if stopped else {},
            checkpoint_estimates={step: np.array([row[3].get(step, np.nan) for row in rows]) for step in steps},
        )
        return history, [row[4] for row in rows]

    def ask(self, n: int, round: Round) -> Sequence[Candidate[optuna.Trial]]:
        """Lost trials of killed processes, exact rows of the turn that nobody has run yet, then the sampler's points.

        Returns:
            At most n; none when other workers hold all that is left.

        Raises:
            MismatchError: the turn's K is not that of the study, whose parameters are the same for life.
        """
        trials = self._read_trials()
        self._check_axes(round, trials)
        if self._alone and len(trials) > self._made:
            self._alone = False  # the seed has given these points to another worker, or to an earlier run
            self._batched.reseed_rng()
        exact, candidates = round.terms, list[Candidate[optuna.Trial]]()
        try:
            while len(candidates) < n:
                if self._ledger.waiting and (trial_id := self.study._pop_waiting_trial_id()) is not None:
                    candidates.append(self._ask_one(trial_id, self._adopt(trial_id, round), round, exact, n))
                elif (claim := self._ledger.next(round, len(exact))) is None:
                    break
                elif (mine := self._make(claim, round)) is not None:
                    candidates.append(self._ask_one(mine, claim, round, exact, n))
        except BaseException:
            self._give_back([candidate.ticket._trial_id for candidate in candidates])
            raise
        return candidates

    def _read_trials(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        self._ledger.read(trials)
        return trials

    def _make(self, claim: Claim, round: Round) -> int | None:
        """Id of a new trial for a claim; None where another worker was first."""
        storage = self.study._storage
        trial_id = storage.create_new_trial(self.study._study_id, template_trial=claim.trial(self._leases.payload()))
        self._made += 1
        try:
            self._leases.hold(trial_id)
            number = next(trial.number for trial in reversed(self._read_trials()) if trial._trial_id == trial_id)
            if self._ledger.stands(claim, number, round):
                return trial_id
        except BaseException:
            self._give_back([trial_id])
            raise
        self._give_back([trial_id])
        self._read_trials()
        return None

    def _adopt(self, trial_id: int, round: Round) -> Claim:
        """The claim of a trial that waited in Optuna's queue: a user's point, or a retry of Optuna's own."""
        storage = self.study._storage
        trial = storage.get_trial(trial_id)
        number = int(trial.user_attrs.get(ROUND_ATTR, round.number))
        storage.set_trial_user_attr(trial_id, ROUND_ATTR, number)  # first: what has a round is taken back after a kill
        storage.set_trial_user_attr(trial_id, LEASE_ATTR, self._leases.payload())
        self._leases.hold(trial_id)
        self._read_trials()
        return Claim(number, repeats=trial if RECIPE_ATTR in trial.user_attrs else None)

    def _ask_one(
        self, trial_id: int, claim: Claim, round: Round, exact: Sequence[Terms], n: int
    ) -> Candidate[optuna.Trial]:
        """A trial made for a claim, with its parameters and its recipe."""
        parameters = distributions(round.space, self._conditions)
        proposes = claim.exact is None and claim.repeats is None and round.space.fresh < 1
        try:
            self.study._thread_local.cached_all_trials = None  # as in `Study.ask`: samplers see the newest
            self.study.sampler = self._round_sampler(claim.round, proposes, parameters, round.space)
            trial = optuna.Trial(self.study, trial_id)
            if claim.repeats is not None:
                terms, condition = proposal(claim.repeats)
            else:
                for name, distribution in parameters.items():
                    trial._suggest(name, distribution)
                terms = self._terms(trial, round) if claim.exact is None else exact[claim.exact]
                condition = {name: trial.params[name] for name in self._conditions}
            write_recipe(trial, terms, condition, generator=self._generator, batch=n)
            self._asked[trial.number] = terms, condition
        except BaseException:
            self._give_back([trial_id])
            raise
        return Candidate(trial, terms, condition, claim.round)

    def _terms(self, trial: optuna.Trial, round: Round) -> Terms:
        """The row of a trial's point in the box."""
        u = np.array([[trial.params[f"u{k}"] for k in range(round.space.axes - 1)]])
        draws = [Draw(self._entropy, trial.number)] if round.space.fresh > 0 else []
        return round.space.terms(u, draws=draws)[0]

    def _round_sampler(
        self, round: int, proposes: bool, parameters: Mapping[str, BaseDistribution], space: SurrogateSpace
    ) -> RoundSampler:
        key = (round, proposes)
        if key not in self._samplers:
            proposing = for_round(self._batched, space, self._conditions, self._told) if proposes else self._random
            self._samplers[key] = RoundSampler(proposing, parameters, round)
        return self._samplers[key]

    def _check_axes(self, round: Round, trials: Sequence[FrozenTrial]) -> None:
        if self._axes is None:
            asked = next((trial for trial in trials if RECIPE_ATTR in trial.user_attrs and not is_gone(trial)), None)
            box = [name for name in asked.params if name[:1] == "u" and name[1:].isdigit()] if asked else []
            self._axes = len(box) + 1 if asked else round.space.axes
        if round.space.axes != self._axes:
            raise MismatchError(
                f"policy: the study was begun with K = {self._axes} axes, and its parameters stay the same for life, "
                f"got K = {round.space.axes}. Use a policy of the same K, or a new study."
            )

    def _others(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Running trials of other workers."""
        held = self._leases.held
        return [trial for trial in trials if is_running(trial) and trial._trial_id not in held]

    def _give_back(self, trial_ids: Sequence[int]) -> None:
        storage = self.study._storage
        for trial_id in trial_ids:
            with contextlib.suppress(UpdateFinishedTrialError):  # taken away by another worker
                storage.set_trial_user_attr(trial_id, REASON_ATTR, INTERRUPTED)
                storage.set_trial_state_values(trial_id, TrialState.FAIL)
            self._leases.release(trial_id)

    def report_estimates(self, cs: Sequence[Candidate[optuna.Trial]], step: int, values: Mapping[str, Array]) -> None:
        """Report estimates as intermediate values, which Optuna has for studies of one objective only."""
        if len(self._objective.optimised) == 1:
            report_to_pruner(self.study, [candidate.ticket for candidate in cs], step, values, self._objective)

    def should_stop(self, cs: Sequence[Candidate[optuna.Trial]]) -> Array:
        """Ask the study's pruner about each."""
        return np.array([candidate.ticket.should_prune() for candidate in cs])

    def tell(self, cs: Sequence[Candidate[optuna.Trial]], ev: Evaluations) -> None:
        """Record results, previews first; a trial that has ended already, or was taken away, is left as it is.

        Raises:
            StorageError: a preview could not be stored; the values of all candidates have been told.
        """
        shown = [i for i in range(len(cs)) if self._previews is not None and ev.status[i] != "failed"]
        failed: tuple[int, Exception] | None = None
        with encoding(ev, {i: cs[i].ticket for i in shown}) as pictures:
            for i, candidate in enumerate(cs):
                trial = candidate.ticket
                with contextlib.suppress(UpdateFinishedTrialError):
                    error = self._upload(trial, pictures[i]) if i in pictures else None
                    if error is not None and failed is None:
                        failed = trial.number, error
                    self._tell_one(trial, ev, i)
                self._leases.release(trial._trial_id)
        if failed is not None:
            raise StorageError(
                f"previews: the picture of trial {failed[0]} could not be stored ({failed[1]}). The values of its "
                "batch are kept. Make room or look after the artifact store, then run again: the study goes on."
            ) from failed[1]

    def _upload(self, trial: optuna.Trial, picture: Future[Path]) -> Exception | None:
        """Upload a picture; what a disk or a store raises is handed back, as a value is worth more than its picture."""
        try:
            artifact = upload(self._previews, trial, picture.result())
        except (SurrogateError, UpdateFinishedTrialError):
            raise
        except Exception as error:  # noqa: BLE001  each kind of store has errors of its own
            return error
        trial.set_user_attr(PREVIEW_ATTR, artifact)
        return None

    def _tell_one(self, trial: optuna.Trial, ev: Evaluations, i: int) -> None:
        status = ev.status[i]
        write_result(trial, ev, i)
        values = objective_values(ev, i) if status == "done" else None
        state = {"done": None, "stopped": TrialState.PRUNED}.get(status, TrialState.FAIL)
        # As `Study.tell`, which copies the trial besides: with its recipe that takes longer than all else here.
        _tell_with_warning(self.study, trial, values, state, skip_if_finished=True)

    def reclaim(self) -> int:
        """Fail trials whose process was killed, without a reason: `ask` then has them run again.

        One whose process was killed at every one of `TRIES` tries is given a reason, and so counts as failed: it may be
        what kills them.
        """
        others, taken = self._others(self.study.get_trials(deepcopy=False)), 0
        for trial in abandoned(self.study, others):
            with contextlib.suppress(UpdateFinishedTrialError):  # another worker, or its own after all, was first
                if len(trial.system_attrs.get(HISTORY, ())) >= TRIES - 1:
                    reason = f"its process was killed at each of {TRIES} tries"
                    self.study._storage.set_trial_user_attr(trial._trial_id, REASON_ATTR, reason)
                taken += self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return taken
