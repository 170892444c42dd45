"""Ax as a host of the core loop: asking in batches, telling with previews.

The client's own generation strategy proposes inside the box. Plain draws and proposals are attached as trials of
their own; those that lie in the round's box keep their place in it, the others get a round outside the search space.
An Ax client belongs to one process, so trials that are still running when a host is made were left by one that died;
they are run again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ax.api.client import Client
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import AxError
from ax.generators.torch.botorch_moo_utils import NO_FEASIBLE_POINTS_MESSAGE

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, GenerationError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.execution.records import keep_seeds, refuse_old_seeds
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.history import History, Round
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.experiment import begin_round, model_is_ready
from surrogate_ax_platform.points import coordinates, random_point
from surrogate_ax_platform.search_space import ROUND, check_client, conditions_of
from surrogate_ax_platform.seeds import ADVICE, client_seeds
from surrogate_ax_platform.snapshot import save_client

_logger = logging.getLogger(__name__)
STATUS = {"done": TrialStatus.COMPLETED, "stopped": TrialStatus.EARLY_STOPPED, "failed": TrialStatus.ABANDONED}


@dataclass(frozen=True)
class Ticket:
    """What an Ax trial is told by."""

    index: int
    params: Mapping[str, Any]  # of the arm


class AxHost:
    """A client as a `Host`.

    Args:
        client: with an experiment of `configure_experiment`.
        generator: for fingerprints.
        objective: for metrics.
        rng: seed of draws and of the random parameters of proposals.
        previews: a folder for pictures of the outputs; none are made without it.
        snapshot: a JSON file that is kept up to date; none is written without it.
        seeds: where stored seeds are kept, as the client has their hashes only; its own place if left out.

    Raises:
        MismatchError: the client was configured for something else.
    """

    def __init__(
        self,
        client: Client,
        generator: Generator,
        objective: Objective,
        *,
        rng: int = 0,
        previews: Path | str | None = None,
        snapshot: Path | str | None = None,
        seeds: SeedStore | None = None,
    ) -> None:
        self.client = client
        self.axes = check_client(client, objective)
        self._experiment = client._experiment
        self._generator = dict(generator.fingerprint)
        self._objective = objective
        self._conditions = conditions_of(client)
        self._rng = draw_entropy(rng, "parameters")
        self._entropy = draw_entropy(rng, "trials")
        self._previews = None if previews is None else Path(previews)
        self._snapshot = snapshot
        self._seeds = client_seeds(client, snapshot=snapshot) if seeds is None else seeds
        self._reader = records.ExperimentReader(objective, self._seeds)
        self._asked: set[int] = set()
        self._end: int | None = None  # progression of results, behind those of estimates
        ended = [trial.run_metadata.get(records.ORDER, -1) for trial in records.ended_trials(self._experiment)]
        self._order = 1 + max(ended, default=-1)

    def history(self) -> History:
        """Ended trials in the order in which they ended; running ones are the caller's, or will be reclaimed."""
        known = len(self._reader.ended)
        history = self._reader.read(self._experiment)
        refuse_old_seeds(self._reader.ended[known:])
        return history

    def ask(self, n: int, round: Round) -> Sequence[Candidate[Ticket]]:
        """Trials left by a dead worker, proposals of the round that nobody has run yet, then what Ax proposes.

        Raises:
            MismatchError: another K than the client's, or another space than its round was begun with.
            ArgumentError: a trial that somebody attached lies outside the box.
            GenerationError: Ax proposes nothing.
        """
        self.begin(round)
        left = self.left(round)[:n]
        waiting = self._proposals_left(round)[: n - len(left)]
        candidates: list[Candidate[Ticket]] = []
        try:
            candidates.extend(self.candidate(trial, round, n) for trial in left)
            candidates.extend(self._ask_proposal(round, number, n) for number in waiting)
            wanted = n - len(candidates)
            if wanted and model_is_ready(self.client, round):
                candidates.extend(self._propose(wanted, round, n))
            else:
                candidates.extend(self._attach(round, self._point(round), n) for _ in range(wanted))
        except BaseException:
            self._give_back([candidate.ticket for candidate in candidates])
            raise
        if not candidates:
            raise GenerationError("client: Ax's generation strategy proposed no trial, and none is running.")
        self.save()
        return candidates

    def begin(self, round: Round) -> None:
        """Record the round's space, or refuse one that is not the experiment's.

        Raises:
            MismatchError: another K than the client's, or another space than its round was begun with.
            ArgumentError: a round beyond the bounds of the parameter, or stored seeds without a place to keep them.
        """
        keep_seeds(self._seeds, round.space.bank, advice=ADVICE)
        if begin_round(self._experiment, round, axes=self.axes):
            self.client._save_experiment_to_db_if_possible(experiment=self._experiment)

    def left(self, round: Round) -> list[Trial]:
        """Running trials that nobody evaluates."""
        found = []
        for trial in records.trials(self._experiment):
            if trial.status != TrialStatus.RUNNING or trial.index in self._asked:
                continue
            if records.RECIPE in trial.run_metadata or records.parameters_of(trial)[ROUND] == round.number:
                found.append(trial)
            else:  # asked for a round that is over, by a process that died before it had written a recipe
                self._give_back([Ticket(trial.index, {})])
        return found

    def _point(self, round: Round) -> dict[str, Any]:
        """A uniform point of the search space; of a plain draw, outside the round's box."""
        number = round.number if round.space.fresh < 1 else -1 - round.number
        rng = np.random.default_rng([self._rng, len(self._experiment.trials)])
        return random_point(self._experiment.search_space, self._conditions, round=number, rng=rng)

    def _ask_proposal(self, round: Round, number: int, n: int) -> Candidate[Ticket]:
        proposal = round.proposals[number]
        point = {**self._point(round), **proposal.condition}
        point |= coordinates(round.space, proposal.terms) or {ROUND: -1 - round.number}
        return self._attach(round, point, n, number)

    def _attach(self, round: Round, point: Mapping[str, Any], n: int, proposal: int | None = None) -> Candidate[Ticket]:
        with warnings.catch_warnings():
            if point[ROUND] < 0:
                warnings.filterwarnings("ignore", message=".*out-of-design", category=RuntimeWarning)  # it is meant
            index = self.client.attach_trial(parameters=dict(point))
        return self.candidate(records.trial_of(self._experiment, index), round, n, proposal)

    def _propose(self, n: int, round: Round, batch: int) -> list[Candidate[Ticket]]:
        """What Ax proposes: n points or fewer."""
        try:
            asked = self.client.get_next_trials(max_trials=n, fixed_parameters={ROUND: round.number})
        except AxError as error:
            if NO_FEASIBLE_POINTS_MESSAGE not in str(error):
                raise
            _logger.warning("Ax predicts that no trial so far keeps the bounds and proposes none: drawing at random.")
            return [self._attach(round, self._point(round), batch) for _ in range(n)]
        candidates: list[Candidate[Ticket]] = []
        try:
            trials = [records.trial_of(self._experiment, index) for index in asked]
            candidates.extend(self.candidate(trial, round, batch) for trial in trials)
        except BaseException:
            self._give_back([Ticket(index, {}) for index in asked])
            raise
        return candidates

    def candidate(self, trial: Trial, round: Round, n: int, proposal: int | None = None) -> Candidate[Ticket]:
        """The candidate of a trial; its recipe is recorded if it has none yet.

        Args:
            trial: with one arm.
            round: where a trial without a recipe lies.
            n: items of its batch.
            proposal: number of the round's proposal that it evaluates.

        Raises:
            ArgumentError: the trial lies outside the box.
        """
        params = records.parameters_of(trial)
        condition = {name: params[name] for name in self._conditions}
        self._asked.add(trial.index)
        if records.RECIPE in trial.run_metadata:
            terms = records.read_recipe(trial).terms
            return Candidate(Ticket(trial.index, params), terms, condition, records.round_of(trial))
        terms = self._terms(trial, params, round) if proposal is None else round.proposals[proposal].terms
        recipe = Recipe(terms, condition, self._generator, n)
        written = {records.RECIPE: recipe.to_json(), records.TRIAL_ROUND: round.number}
        trial.update_run_metadata(written | ({} if proposal is None else {records.PROPOSAL: proposal}))
        self._store(trial)
        return Candidate(Ticket(trial.index, params), terms, condition, round.number)

    def _terms(self, trial: Trial, params: Mapping[str, Any], round: Round) -> Terms:
        try:
            return round.point(params, Draw(self._entropy, trial.index))
        except ArgumentError as error:
            raise ArgumentError(
                f"client: trial {trial.index} lies outside the box ({error}). Mark it failed to go on."
            ) from error

    def _proposals_left(self, round: Round) -> list[int]:
        """Numbers of the round's proposals that no trial evaluates."""
        if not round.proposals:
            return []
        mine = [trial for trial in records.trials(self._experiment) if trial.status != TrialStatus.FAILED]
        done = {t.run_metadata.get(records.PROPOSAL) for t in mine if records.round_of(t) == round.number}
        return [i for i in range(len(round.proposals)) if i not in done]

    def report_estimates(self, cs: Sequence[Candidate[Ticket]], step: int, values: Mapping[str, Array]) -> None:
        """Attach estimates to the trials."""
        self._end = max(step + 1, self._end or 0)
        for i, candidate in enumerate(cs):
            row = {name: float(column[i]) for name, column in values.items() if np.isfinite(column[i])}
            records.note_estimate(records.trial_of(self._experiment, candidate.ticket.index), step, row)
            self.client.attach_data(candidate.ticket.index, raw_data=row, progression=step)

    def should_stop(self, cs: Sequence[Candidate[Ticket]]) -> Array:
        """Ask the client's early stopping about each."""
        return np.array([self.client.should_stop_trial_early(candidate.ticket.index) for candidate in cs])

    def tell(self, cs: Sequence[Candidate[Ticket]], ev: Evaluations) -> None:
        """Record results, previews first; a trial that has ended already is left as it is."""
        for i, candidate in enumerate(cs):
            trial = records.trial_of(self._experiment, candidate.ticket.index)
            if trial.status == TrialStatus.RUNNING:
                self._tell_one(trial, candidate.ticket, ev, i)
        self.save()

    def _tell_one(self, trial: Trial, ticket: Ticket, ev: Evaluations, i: int) -> None:
        status = self.record(ticket, ev, i)
        if status == TrialStatus.ABANDONED:
            trial.mark_abandoned(reason=ev.reasons[i])
            self._store(trial)
        elif status == TrialStatus.EARLY_STOPPED:
            self.client.mark_trial_early_stopped(trial.index)
        else:
            values = {name: float(column[i]) for name, column in ev.values.items()}
            self.client.complete_trial(trial.index, raw_data=values, progression=records.end_of(trial, self._end))

    def record(self, ticket: Ticket, ev: Evaluations, i: int) -> TrialStatus:
        """Note in a trial's metadata what came of it, its picture first.

        Args:
            ticket: of the i-th trial of the batch.
            ev: of the batch.
            i: its place.

        Returns:
            The status that the trial is to be given: Ax may suggest a failed point again, an abandoned one not.
        """
        # Anew: storing a trial in a database replaces the object.
        trial = records.trial_of(self._experiment, ticket.index)
        self._asked.discard(trial.index)
        shown = self._previews is not None and ev.status[i] != "failed"
        picture = records.save_picture(trial, ev, i, self._previews or Path()) if shown else None
        trial.update_run_metadata(records.result(ev, i, order=self._order, preview=picture))  # stored with the status
        self._order += 1
        return STATUS[ev.status[i]]

    def reclaim(self) -> int:
        """How many running trials a dead process has left; `ask` gives them out again."""
        running = [trial for trial in records.trials(self._experiment) if trial.status == TrialStatus.RUNNING]
        return sum(trial.index not in self._asked for trial in running)

    def give_back(self, cs: Sequence[Candidate[Ticket]]) -> None:
        """Fail trials whose evaluation was broken off, with the reason that they were interrupted."""
        self._give_back([candidate.ticket for candidate in cs])
        self.save()

    def forget(self, cs: Sequence[Candidate[Ticket]]) -> None:
        """Let running trials be given out again."""
        self._asked.difference_update(candidate.ticket.index for candidate in cs)

    def _give_back(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            trial = records.trial_of(self._experiment, ticket.index)
            self._asked.discard(ticket.index)
            if trial.status != TrialStatus.RUNNING:
                continue
            trial.update_run_metadata({records.REASON: INTERRUPTED})
            trial.mark_failed(reason=INTERRUPTED)
            self._store(trial)

    def _store(self, trial: Trial) -> None:
        self.client._save_or_update_trial_in_db_if_possible(experiment=self._experiment, trial=trial)

    def save(self) -> None:
        """Bring the snapshot up to date, if there is one."""
        if self._snapshot is not None:
            save_client(self.client, self._snapshot)
