"""Ax as a host of the core loop: asking in batches, telling with previews.

The client's own generation strategy proposes inside the box. Plain draws and proposals become trials of our own nodes;
each is a point of a box of the design. An Ax client belongs to one process, so trials that are still running when a
host is made were left by one that died, or by a loop by hand; they are run again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ax.api.client import Client
from ax.core.arm import Arm
from ax.core.generator_run import GeneratorRun
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
from surrogate_ax_platform.adoption import adopt, pass_over
from surrogate_ax_platform.boxes import begin_round, located
from surrogate_ax_platform.experiment import random_points
from surrogate_ax_platform.search import impose, point_of, proposals_left
from surrogate_ax_platform.search_space import ROUND, check_client, searched_names
from surrogate_ax_platform.seeds import ADVICE, client_seeds
from surrogate_ax_platform.snapshot import save_client

_logger = logging.getLogger(f"surrogate_ax.{__name__}")
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
        self._prior = generator.prior
        self._objective = objective
        self._conditions = searched_names(client._experiment.search_space)
        self._rng = draw_entropy(rng, "parameters")
        self._entropy = draw_entropy(rng, "trials")
        self._previews = None if previews is None else Path(previews)
        self._snapshot = snapshot
        self._seeds = client_seeds(client, snapshot=snapshot) if seeds is None else seeds
        self._reader = records.ExperimentReader(objective, self._seeds)
        self._asked: set[int] = set()
        self._end: int | None = None  # progression of results, behind those of estimates

    def history(self) -> History:
        """Ended trials in the order in which they ended, those told without us among them where they can be read."""
        record = {"metrics": self._objective.describe(), "generator": self._generator}
        for trial in adopt(self._experiment, record, self._prior, self._seeds):
            self._store(trial)
        known = len(self._reader.ended)
        history = self._reader.read(self._experiment)
        refuse_old_seeds(self._reader.ended[known:])
        return history

    def ask(self, n: int, round: Round) -> Sequence[Candidate[Ticket]]:
        """Trials left by a dead worker, proposals of the round that nobody has run yet, then what Ax proposes.

        Raises:
            MismatchError: another K than the client's, or another space than its round was begun with.
            GenerationError: Ax proposes nothing.
        """
        self.begin(round)
        left = self.left(round)[:n]
        waiting = proposals_left(self._experiment, round)[: n - len(left)]
        candidates: list[Candidate[Ticket]] = []
        try:
            candidates.extend(self.candidate(trial, n, round) for trial in left)
            candidates.extend(self._attach(round, n, number) for number in waiting)
            while wanted := n - len(candidates):
                lacking = min(wanted, random_points(self.client, round, wanted))
                more = [self._attach(round, n) for _ in range(lacking)] or self._propose(wanted, round, n)
                candidates.extend(more)
                if not lacking:
                    break
        except BaseException:
            self._give_back([candidate.ticket for candidate in candidates])
            raise
        if not candidates:
            raise GenerationError("client: Ax's generation strategy proposed no trial, and none is running.")
        self.save()
        return candidates

    def begin(self, round: Round) -> None:
        """Record the box of `round`, or refuse one that is not the experiment's.

        Raises:
            MismatchError: another K than the client's, or another space than its round was begun with.
            ArgumentError: more boxes than the parameter has values, or stored seeds without a place to keep them.
        """
        keep_seeds(self._seeds, round.space.bank, advice=ADVICE)
        if begin_round(self._experiment, round, axes=self.axes):
            self.client._save_experiment_to_db_if_possible(experiment=self._experiment)

    def left(self, round: Round | None = None) -> list[Trial]:
        """Running trials that nobody evaluates; one that lies in no box is passed over with a word.

        Args:
            round: in play, whose boxes need not be read back.
        """
        found = []
        for trial in records.trials(self._experiment):
            if trial.status != TrialStatus.RUNNING or trial.index in self._asked:
                continue
            try:
                self._placed(trial, round)
            except ArgumentError as error:
                pass_over(self._experiment, trial, str(error))
                continue
            found.append(trial)
        return found

    def _placed(self, trial: Trial, round: Round | None) -> tuple[Terms, int]:
        draw = Draw(self._entropy, trial.index)
        return located(self._experiment, trial, draw, self._prior, tensors=self._seeds, round=round)

    def _attach(self, round: Round, n: int, proposal: int | None = None) -> Candidate[Ticket]:
        """A trial of our nodes: a random point of the round's box, or one of its proposals."""
        index = len(self._experiment.trials)
        params = point_of(self._experiment, round, self._rng, index, proposal=proposal)
        run = GeneratorRun(arms=[Arm(parameters=params)], generator_key="draws" if proposal is None else "plan")
        run._generation_node_name = run._generator_key
        trial = self._experiment.new_trial(generator_run=run)
        trial.mark_running(no_runner_required=True)
        return self.candidate(trial, n, round, proposal)

    def _propose(self, n: int, round: Round, batch: int) -> list[Candidate[Ticket]]:
        """What Ax proposes: n points or fewer."""
        current = int(self._experiment._properties[records.CURRENT])
        try:
            with impose(self._experiment, round):
                asked = self.client.get_next_trials(max_trials=n, fixed_parameters={ROUND: current})
        except AxError as error:
            if NO_FEASIBLE_POINTS_MESSAGE not in str(error):
                raise
            _logger.warning("Ax predicts that no trial so far keeps the bounds and proposes none: drawing at random.")
            return [self._attach(round, batch) for _ in range(n)]
        candidates: list[Candidate[Ticket]] = []
        try:
            trials = [records.trial_of(self._experiment, index) for index in asked]
            candidates.extend(self.candidate(trial, batch, round) for trial in trials)
        except BaseException:
            self._give_back([Ticket(index, {}) for index in asked])
            raise
        return candidates

    def candidate(
        self, trial: Trial, n: int, round: Round | None = None, proposal: int | None = None
    ) -> Candidate[Ticket]:
        """The candidate of a trial; its recipe is recorded if it has none yet.

        Args:
            trial: with one arm.
            n: items of its batch.
            round: in play, whose boxes need not be read back.
            proposal: number of the round's proposal that it evaluates.

        Raises:
            ArgumentError: the trial lies outside the boxes.
        """
        params = records.parameters_of(trial)
        condition = {name: params[name] for name in self._conditions}
        if round is not None and proposal is not None:
            terms, number = round.proposals[proposal].terms, round.number
        else:
            terms, number = self._placed(trial, round)
            proposal = records.noted(trial, records.PROPOSAL)
        self._asked.add(trial.index)
        if records.RECIPE not in trial.run_metadata:
            recipe = Recipe(terms, condition, self._generator, n)
            written = {records.RECIPE: recipe.to_json(), records.TRIAL_ROUND: number}
            trial.update_run_metadata(written | ({} if proposal is None else {records.PROPOSAL: proposal}))
            self._store(trial)
        return Candidate(Ticket(trial.index, params), terms, condition, number)

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
            self.abandon(ticket, ev.reasons[i])
        elif status == TrialStatus.EARLY_STOPPED:
            self.client.mark_trial_early_stopped(trial.index)
        else:
            values = {name: float(column[i]) for name, column in ev.values.items()}
            self.client.complete_trial(trial.index, raw_data=values, progression=records.end_of(trial, self._end))

    def abandon(self, ticket: Ticket, why: str) -> None:
        """Mark the trial of a `ticket` that failed, and `why`: Ax does not suggest it again."""
        trial = records.trial_of(self._experiment, ticket.index)
        trial.mark_abandoned(reason=why)
        self._store(trial)

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
        order = records.next_order(self._experiment)
        trial.update_run_metadata(records.result(ev, i, order=order, preview=picture))  # stored with the status
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
        """Let the running candidates `cs` be given out again."""
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
