"""Optuna as a host of the core loop: asking in batches, telling with previews.

The study keeps its parameters for life: `u0..u{K-2}` and the searched conditions. The study's own sampler proposes
points of a box, inside `RoundSampler`; a proposal is a corner of a box, and a plain draw any point of one. What a trial
evaluates is decoded from its parameters. The study itself is never changed: its sampler is always what the user set.
Several processes may work on one study: `claims` says which trial is whose, `lease` which process still lives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.arrays import Array
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.execution.records import keep_seeds, refuse_old_seeds
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.space import SurrogateSpace, is_coordinate
from surrogate_ax.policies.history import History, Round
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.adoption import Adoption
from surrogate_ax_optuna.attributes import LEASE_ATTR, REASON_ATTR, RECIPE_ATTR, ROUND_ATTR, attributes, set_attribute
from surrogate_ax_optuna.claims import Claim, Ledger
from surrogate_ax_optuna.lease import Leases, fail_abandoned, owner_of
from surrogate_ax_optuna.output_folder import OutputFolder
from surrogate_ax_optuna.peers import Peers
from surrogate_ax_optuna.points import Points
from surrogate_ax_optuna.pruning import report_to_pruner
from surrogate_ax_optuna.record import StudyReader
from surrogate_ax_optuna.results import tell_results
from surrogate_ax_optuna.round_view import StudyWith
from surrogate_ax_optuna.search_space import distributions
from surrogate_ax_optuna.seeds import ADVICE, study_seeds
from surrogate_ax_optuna.trials import is_awaiting, is_gone, is_leased, numbers_of, points_of, round_of, study_trials
from surrogate_ax_optuna.unscored import keep_unscored

Candidates = Sequence[Candidate[optuna.Trial]]


class OptunaHost:
    """A study as a `Host`.

    Args:
        study: the study.
        generator: for fingerprints.
        objective: for metrics.
        conditions: searched call arguments by name.
        batch_size: the usual number of trials asked at once, for samplers that work in generations.
        rng: seed of draws and of the random parameters of proposals.
        previews: an Optuna artifact store for pictures of the outputs; none are made without it.
        seeds: where stored seeds are kept, as the storage has their hashes only; the study's own place if left out.
        total_trials: trials wanted, which several workers must not exceed; they may if it is left out.
        space: the box, where it is fixed: a trial that somebody told by hand then lies in it.
        workers: how many work on the study, if more than are seen.
        unscored: where outputs are kept in place of being told, for others to score.
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
        seeds: SeedStore | None = None,
        total_trials: int | None = None,
        space: SurrogateSpace | None = None,
        workers: int = 1,
        unscored: OutputFolder | None = None,
    ) -> None:
        self.study, self._unscored = study, unscored
        self._generator = dict(generator.fingerprint)
        self._objective = objective
        self._conditions = dict(conditions or {})
        self._points = Points(
            study.sampler,
            self._conditions,
            self._generator,
            batch_size=batch_size,
            rng=rng,
            every_round=self._every_round,
        )
        self._adoption = Adoption(study, space, self._conditions, self._generator, self._points.entropy)
        self._previews = previews
        self._axes: int | None = None  # K of the study's parameters, once they are known
        self._seeds = study_seeds(study) if seeds is None else seeds
        self._kept: int | None = None  # the round whose stored seeds are in the store
        self._reader = StudyReader(objective, self._seeds, tells=objective, decode=self._adoption.recipe)
        self._made, self._first = 0, True  # trials by this host; whether nobody else has made any
        self.numbers: list[int] = []  # the trials of the rows of the last `history`
        self._leases = Leases(study._storage)
        self._workers, self._peers = workers, Peers(self._leases.owner)
        total = math.inf if total_trials is None else total_trials
        self._ledger = Ledger(total, self._adoption.counts, self._peers.note)

    def close(self) -> None:
        """Give back trials that are still running, whatever broke in.

        An interrupt may come when a storage has made a trial and not yet said so.
        """
        mine = [t for t in self._trials() if owner_of(t) == self._leases.owner and not is_awaiting(t)]
        try:
            self._give_back([t._trial_id for t in mine if not t.state.is_finished()])
        finally:
            self._leases.close()

    def history(self) -> History:
        """Ended trials in the order in which they ended, and the rounds of those that other processes run.

        Interrupted and lost trials are as if never asked: their places are free.
        """
        known = len(self._reader.ended)
        unended = self._reader.read(self._read_trials())
        self._adoption.say(self._reader.passed_over)
        refuse_old_seeds(self._reader.ended[known:])
        self.numbers = [trial.number for trial in self._reader.ended]
        others = self._others(unended)
        history = self._reader.history([round_of(trial) for trial in others])
        return dataclasses.replace(history, pending=points_of(others), sharing=self._peers.sharing(self._workers))

    def ask(self, n: int, round: Round) -> Candidates:
        """Lost trials of killed processes, proposals of the round that nobody has taken, then the sampler's points.

        Returns:
            At most n; none when other workers hold all that is left.

        Raises:
            MismatchError: the round's K is not that of the study, whose parameters are the same for life.
            ArgumentError: the round has stored seeds, and the study no place to keep them.
        """
        trials = self._read_trials()
        self._check_axes(round, trials)
        if round.number != self._kept:
            keep_seeds(self._seeds, round.space.bank, advice=ADVICE)
            self._kept = round.number
        if self._first and len(trials) > self._made:
            self._first = False  # the seed has given these points to another worker, or to an earlier run
            self._points.reseed()
        candidates = list[Candidate[optuna.Trial]]()
        try:
            while len(candidates) < n:
                if self._ledger.waiting and (trial_id := self.study._pop_waiting_trial_id()) is not None:
                    candidates.append(self._ask_one(trial_id, self._adopt(trial_id, round), round, n))
                    continue
                wanted = n - len(candidates)
                claims = self._ledger.claims(round, wanted, after=wanted * self._peers.before)
                if not claims or (claims[0].alone and candidates):
                    break
                candidates += self._claimed(claims, round, n)
                if claims[0].alone and candidates:
                    break
        except BaseException:
            self._give_back([candidate.ticket._trial_id for candidate in candidates])
            raise
        return candidates

    @property
    def all_made(self) -> bool:
        """Whether no output is left to be made, as of the last `history` or `ask`."""
        return self._ledger.all_made

    def _trials(self) -> list[FrozenTrial]:
        return study_trials(self.study)

    def _read_trials(self) -> list[FrozenTrial]:
        trials = self._trials()
        self._ledger.read(trials)
        self._peers.see(self._ledger.unended)
        return trials

    def _claimed(self, claims: Sequence[Claim], round: Round, n: int) -> list[Candidate[optuna.Trial]]:
        """Trials for claims, but for those that another worker was first at.

        That can only be known from the study as it is once the trials are made. Where others work on it too, a trial
        gets its parameters after that.
        """
        made, asked = list[int](), list[Candidate[optuna.Trial]]()
        alone = not self._others(self._ledger.unended)
        claims = [self._points.complete(claim, round, n) for claim in claims]
        sure = self._ledger.undisputed(claims, round, self._peers.sharing(self._workers).workers * n)
        try:
            for claim in claims:
                made.append(self._create(claim))
                if alone:
                    asked.append(self._ask_one(made[-1], claim, round, n))
            trials = [] if sure else self._read_trials()
            numbers = numbers_of(trials, made)
            kept = [sure or self._ledger.stands(c, numbers[i], round) for c, i in zip(claims, made, strict=True)]
            if not alone:
                standing = [(i, claim) for i, claim, stands in zip(made, claims, kept, strict=True) if stands]
                asked = [self._ask_one(i, claim, round, n) for i, claim in standing]
        except BaseException:
            self._give_back(made)
            raise
        lost = [trial_id for trial_id, stands in zip(made, kept, strict=True) if not stands]
        if lost:
            self._give_back(lost)
            self._read_trials()
        return [candidate for candidate in asked if candidate.ticket._trial_id not in lost]

    def _create(self, claim: Claim) -> int:
        """Id of a new trial that says what it is for."""
        template = self._points.fixed(claim).trial(self._leases.payload())
        trial_id = self.study._storage.create_new_trial(self.study._study_id, template_trial=template)
        self._made += 1
        self._leases.hold(trial_id)
        return trial_id

    def _adopt(self, trial_id: int, round: Round) -> Claim:
        """The claim of a trial that waited in Optuna's queue: a user's point, or a retry of Optuna's own."""
        storage = self.study._storage
        trial = storage.get_trial(trial_id)
        known = attributes(trial)
        number = int(known.get(ROUND_ATTR, round.number))
        storage.set_trial_system_attr(trial_id, LEASE_ATTR, self._leases.payload())  # first: after a kill it ends
        storage.set_trial_system_attr(trial_id, ROUND_ATTR, number)
        self._leases.hold(trial_id)
        self._read_trials()
        return Claim(number, repeats=trial if RECIPE_ATTR in known else None)

    def _ask_one(self, trial_id: int, claim: Claim, round: Round, n: int) -> Candidate[optuna.Trial]:
        """A trial made for a claim, with its parameters and its recipe."""
        parameters = distributions(round.space, self._conditions)
        try:
            self.study._thread_local.cached_all_trials = None  # as in `Study.ask`: samplers see the newest
            sampler = self._points.sampler(claim, parameters, round)
            trial = optuna.Trial(StudyWith(self.study, sampler), trial_id)
            recipe = claim.recipe or self._points.recipe(trial, claim, round, parameters, n)
            if claim.recipe is None:
                set_attribute(trial, RECIPE_ATTR, recipe.to_json())
            self._reader.recipes[trial.number] = recipe
        except BaseException:
            self._give_back([trial_id])
            raise
        return Candidate(trial, recipe.terms, dict(recipe.condition), claim.round)

    def _every_round(self) -> tuple[History, list[Mapping[str, Any]]]:
        """The history, and the conditions of its trials, for models that learn from every round."""
        return self.history(), [trial.recipe.condition for trial in self._reader.ended]

    def _check_axes(self, round: Round, trials: Sequence[FrozenTrial]) -> None:
        if self._axes is None:
            ours = (trial for trial in trials if RECIPE_ATTR in attributes(trial) and not is_gone(trial))
            asked = next((trial for trial in ours if any(map(is_coordinate, trial.params))), None)
            self._axes = 1 + sum(map(is_coordinate, asked.params)) if asked else round.space.axes
        if round.space.axes != self._axes:
            raise MismatchError(
                f"policy: the study was begun with K = {self._axes} axes, and its parameters stay the same for life, "
                f"got K = {round.space.axes}. Use a policy of the same K, or a new study."
            )

    def _others(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Running trials of other workers."""
        held = self._leases.held
        return [trial for trial in trials if is_leased(trial) and trial._trial_id not in held]

    def give_back(self, candidates: Candidates) -> None:
        """Fail trials whose evaluation was broken off, with the reason that they were interrupted."""
        self._give_back([candidate.ticket._trial_id for candidate in candidates])

    def _give_back(self, trial_ids: Sequence[int]) -> None:
        storage = self.study._storage
        for trial_id in trial_ids:
            with contextlib.suppress(UpdateFinishedTrialError):  # taken away by another worker
                storage.set_trial_system_attr(trial_id, REASON_ATTR, INTERRUPTED)
                storage.set_trial_state_values(trial_id, TrialState.FAIL)
            self._leases.release(trial_id)

    def report_estimates(self, candidates: Candidates, step: int, values: Mapping[str, Array]) -> None:
        """Report estimates as intermediate values, which Optuna has for studies of one objective only."""
        if len(self._objective.optimised) == 1:
            report_to_pruner(self.study, [candidate.ticket for candidate in candidates], step, values, self._objective)

    def should_stop(self, candidates: Candidates) -> Array:
        """Ask the study's pruner about each."""
        return np.array([candidate.ticket.should_prune() for candidate in candidates])

    def tell(self, candidates: Candidates, evaluations: Evaluations) -> None:
        """Record results, previews first; a trial that has ended already, or was taken away, is left as it is.

        Raises:
            StorageError: a preview could not be stored; the values of all candidates have been told.
        """
        trials = [candidate.ticket for candidate in candidates]
        if self._unscored is not None:
            trials, evaluations = keep_unscored(trials, evaluations, self._unscored, done=self._leases.release)
        tell_results(trials, evaluations, self._previews, told=self._leases.release)

    def reclaim(self) -> int:
        """Fail trials whose process was killed, without a reason: `ask` then has them run again.

        Trials of its own that it does not know are given back: the storage's server made them and went away before it
        said so.
        """
        others = [trial for trial in self._others(self._trials()) if not is_awaiting(trial)]
        mine = [trial._trial_id for trial in others if owner_of(trial) == self._leases.owner]
        if mine:
            self._give_back(mine)
        return fail_abandoned(self.study, self._others(self._trials()))
