"""Ax as a host of the core loop: what was told, asking in batches, telling with previews.

The client's own generation strategy proposes inside the box. Plain draws and exact rows are attached as trials of
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
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.history import History, Round
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.experiment import begin_round
from surrogate_ax_platform.points import coordinates, random_point
from surrogate_ax_platform.search_space import ROUND, check_client, conditions_of
from surrogate_ax_platform.snapshot import save_client
from surrogate_ax_platform.strategy import sees_one_round

_logger = logging.getLogger(__name__)
STATUS = {"done": TrialStatus.COMPLETED, "stopped": TrialStatus.EARLY_STOPPED, "failed": TrialStatus.ABANDONED}
BEGIN = 3  # results that a model of one round needs before it proposes


@dataclass(frozen=True)
class Ticket:
    """What an Ax trial is told by.

    Args:
        index: of the trial.
        params: of its arm.
    """

    index: int
    params: Mapping[str, Any]


class AxHost:
    """A client as a `Host`.

    Args:
        client: with an experiment of `configure_experiment`.
        generator: for fingerprints.
        objective: for metrics.
        rng: seed of draws and of the random parameters of exact rows.
        previews: a folder for pictures of the outputs; none are made without it.
        snapshot: a JSON file that is kept up to date; none is written without it.
        seeds: inner rows (D,) of stored seeds, by SHA-256: the client keeps their hashes only.

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
        seeds: Mapping[str, Tensor] | None = None,
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
        self._reader = records.ExperimentReader(objective, seeds)
        self._asked: set[int] = set()
        self._end: int | None = None  # progression of results, behind those of estimates
        ended = [trial.run_metadata.get(records.ORDER, -1) for trial in records.ended_trials(self._experiment)]
        self._order = 1 + max(ended, default=-1)

    def history(self) -> History:
        """Ended trials in the order in which they ended; running ones are the caller's, or will be reclaimed."""
        return self._reader.read(self._experiment)

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
            if wanted and self._proposes(round):
                candidates.extend(self._propose(wanted, round, n))
            else:
                candidates.extend(self._attach(round, self._point(round), n) for _ in range(wanted))
        except BaseException:
            self.give_back(candidates)
            raise
        if not candidates:
            raise GenerationError("client: Ax's generation strategy proposed no trial, and none is running.")
        self.save()
        return candidates

    def begin(self, round: Round) -> None:
        """Record the round's space, or refuse one that is not the experiment's.

        Raises:
            MismatchError: another K than the client's, or another space than its round was begun with.
            ArgumentError: a round beyond the bounds of the parameter.
        """
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

    def _proposes(self, round: Round) -> bool:
        """Whether Ax proposes, and points are not drawn here: plain draws, or too little for a model of one round."""
        if round.space.fresh == 1:
            return False
        if not sees_one_round(self.client):
            return True
        known = [trial for trial in records.trials(self._experiment) if trial.status == TrialStatus.COMPLETED]
        return [records.parameters_of(trial)[ROUND] for trial in known].count(round.number) >= BEGIN

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
        return self.candidate(self._trial(index), round, n, proposal)

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
            candidates.extend(self.candidate(self._trial(index), round, batch) for index in asked)
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
                f"client: trial {trial.index} lies outside the box ({error}). Mark it abandoned to go on."
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
            records.note_estimate(self._trial(candidate.ticket.index), step, row)
            self.client.attach_data(candidate.ticket.index, raw_data=row, progression=step)

    def should_stop(self, cs: Sequence[Candidate[Ticket]]) -> Array:
        """Ask the client's early stopping about each."""
        return np.array([self.client.should_stop_trial_early(candidate.ticket.index) for candidate in cs])

    def tell(self, cs: Sequence[Candidate[Ticket]], ev: Evaluations) -> None:
        """Record results, previews first; a trial that has ended already is left as it is."""
        for i, candidate in enumerate(cs):
            trial = self._trial(candidate.ticket.index)
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
        trial = self._trial(ticket.index)  # anew: storing a trial in a database replaces the object
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
            trial = self._trial(ticket.index)
            self._asked.discard(ticket.index)
            if trial.status != TrialStatus.RUNNING:
                continue
            trial.update_run_metadata({records.REASON: INTERRUPTED})
            trial.mark_failed(reason=INTERRUPTED)
            self._store(trial)

    def _trial(self, index: int) -> Trial:
        trial = self._experiment.trials[index]
        if not isinstance(trial, Trial):
            raise MismatchError(f"client: trial {index} has several arms, so something else made it.")
        return trial

    def _store(self, trial: Trial) -> None:
        self.client._save_or_update_trial_in_db_if_possible(experiment=self._experiment, trial=trial)

    def save(self) -> None:
        """Bring the snapshot up to date, if there is one."""
        if self._snapshot is not None:
            save_client(self.client, self._snapshot)
