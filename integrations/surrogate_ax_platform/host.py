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
from ax.core.parameter import ChoiceParameter, RangeParameter
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import AxError
from ax.generators.torch.botorch_moo_utils import NO_FEASIBLE_POINTS_MESSAGE
from torch import Tensor

from surrogate_ax.bank import Draw, Terms, draw_entropy
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError
from surrogate_ax.evaluation import INTERRUPTED, Evaluations
from surrogate_ax.generator import Generator
from surrogate_ax.loop import Candidate
from surrogate_ax.objective import Objective
from surrogate_ax.policies import Told, Turn
from surrogate_ax.previews import save_preview
from surrogate_ax.recipe import Recipe
from surrogate_ax.space import SurrogateSpace
from surrogate_ax_platform import records
from surrogate_ax_platform.search_space import LAST_ROUND, ROUND, check_client, conditions_of
from surrogate_ax_platform.snapshot import save_client
from surrogate_ax_platform.strategy import sees_one_round

_logger = logging.getLogger(__name__)
Array = np.ndarray
INSIDE = 1e-9  # a row this near to a point of the box is that point
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
        tensors: inner rows (D,) of stored seeds, by SHA-256: the client keeps their hashes only.

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
        tensors: Mapping[str, Tensor] | None = None,
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
        self._tensors = dict(tensors or {})
        self._read: dict[
            int, tuple[Terms, list[float], list[float], int]
        ] = {}  # of ended trials, which do not change any more
        self._asked: set[int] = set()
        self._end: int | None = None  # progression of results, behind those of estimates
        ended = [trial.run_metadata.get(records.ORDER, -1) for trial in records.ended_trials(self._experiment)]
        self._order = 1 + max(ended, default=-1)

    def told(self) -> Told:
        """Ended trials in the order in which they ended; running ones are the caller's, or will be reclaimed."""
        names = [metric.name for metric in self._objective.metrics]
        ended = records.ended_trials(self._experiment)
        for trial in ended:
            if trial.index not in self._read:
                self._read[trial.index] = (
                    records.read_recipe(trial).terms,
                    records.metric_values(trial, names),
                    records.metric_estimates(trial, names),
                    records.round_of(trial),
                )
        rows = [self._read[trial.index] for trial in ended]
        values, estimates = (np.array([row[i] for row in rows]).reshape(len(rows), len(names)) for i in (1, 2))
        return Told(
            self._objective,
            [row[0] for row in rows],
            dict(zip(names, values.T, strict=True)),
            np.array([row[3] for row in rows], dtype=np.int64),
            tensors=self._tensors,
            estimates={} if np.isnan(estimates).all() else dict(zip(names, estimates.T, strict=True)),
        )

    def ask(self, n: int, turn: Turn) -> Sequence[Candidate[Ticket]]:
        """Trials left by a dead worker, exact rows of the turn that nobody has run yet, then what Ax proposes.

        Raises:
            MismatchError: another K than the client's, or another space than its round was begun with.
            ArgumentError: a trial that somebody attached lies outside the box.
            GenerationError: Ax proposes nothing.
        """
        self._begin(turn)
        left = self._left(turn)[:n]
        exact = self._exact_left(turn)[: n - len(left)]
        candidates: list[Candidate[Ticket]] = []
        try:
            candidates.extend(self._candidate(trial, turn, n) for trial in left)
            candidates.extend(self._ask_exact(turn, row, n) for row in exact)
            wanted = n - len(candidates)
            if wanted and self._proposes(turn):
                candidates.extend(self._propose(wanted, turn, n))
            else:
                candidates.extend(self._attach(turn, self._point(turn), n) for _ in range(wanted))
        except BaseException:
            self._give_back([candidate.ticket for candidate in candidates])
            raise
        if not candidates:
            raise GenerationError("client: Ax's generation strategy proposed no trial, and none is running.")
        self._save()
        return candidates

    def _begin(self, turn: Turn) -> None:
        """Record the turn's space, or refuse one that is not the experiment's."""
        if turn.space.axes != self.axes:
            raise MismatchError(
                f"policy: the client was configured with K = {self.axes} axes, and its parameters stay the same for "
                f"life, got K = {turn.space.axes}. Use a policy of the same K, or a new Client."
            )
        if not 0 <= turn.round <= LAST_ROUND:
            raise ArgumentError(f"policy: expected rounds from 0 to {LAST_ROUND}, got {turn.round}.")
        properties = self._experiment._properties
        spaces = properties.setdefault(records.SPACES, {})
        known = spaces.get(str(turn.round))
        if known is None:
            spaces[str(turn.round)] = records.space_to_json(turn.space)
            records.measure_gram(properties.setdefault(records.GRAM, {}), turn.space.bank)
        elif known["fingerprint"] != turn.space.fingerprint:
            raise MismatchError(
                f"space: round {turn.round} of the client was begun with {known['fingerprint']}, "
                f"got {turn.space.fingerprint}. Use the same space, seeds and rng, or a new Client."
            )
        if known is None or properties.get(records.CURRENT) != turn.round:
            properties[records.CURRENT] = turn.round
            self.client._save_experiment_to_db_if_possible(experiment=self._experiment)

    def _left(self, turn: Turn) -> list[Trial]:
        """Running trials that nobody evaluates."""
        found = []
        for trial in records.trials(self._experiment):
            if trial.status != TrialStatus.RUNNING or trial.index in self._asked:
                continue
            if records.RECIPE in trial.run_metadata or records.parameters_of(trial)[ROUND] == turn.round:
                found.append(trial)
            else:  # asked for a round that is over, by a process that died before it had written a recipe
                self._give_back([Ticket(trial.index, {})])
        return found

    def _proposes(self, turn: Turn) -> bool:
        """Whether Ax proposes, and points are not drawn here: plain draws, or too little for a model of one round."""
        if turn.space.fresh == 1:
            return False
        if not sees_one_round(self.client):
            return True
        known = [trial for trial in records.trials(self._experiment) if trial.status == TrialStatus.COMPLETED]
        return [records.parameters_of(trial)[ROUND] for trial in known].count(turn.round) >= BEGIN

    def _point(self, turn: Turn) -> dict[str, Any]:
        """A uniform point of the search space; of a plain draw, outside the round's box."""
        rng = np.random.default_rng([self._rng, len(self._experiment.trials)])
        u = {f"u{k}": float(value) for k, value in enumerate(rng.uniform(size=self.axes - 1))}
        rounds = turn.round if turn.space.fresh < 1 else -1 - turn.round
        return {**u, ROUND: rounds, **self._random_conditions(rng)}

    def _random_conditions(self, rng: np.random.Generator) -> dict[str, Any]:
        space = self._experiment.search_space
        return {name: _draw(space.parameters[name], rng) for name in self._conditions}

    def _ask_exact(self, turn: Turn, row: tuple[int, Terms], n: int) -> Candidate[Ticket]:
        number, terms = row
        point = self._point(turn)
        u = _inside(turn.space, terms)
        point |= {ROUND: -1 - turn.round} if u is None else {f"u{k}": float(value) for k, value in enumerate(u)}
        return self._attach(turn, point, n, exact=(number, terms))

    def _attach(
        self, turn: Turn, point: Mapping[str, Any], n: int, exact: tuple[int, Terms] | None = None
    ) -> Candidate[Ticket]:
        with warnings.catch_warnings():
            if point[ROUND] < 0:
                warnings.filterwarnings("ignore", message=".*out-of-design", category=RuntimeWarning)  # it is meant
            index = self.client.attach_trial(parameters=dict(point))
        return self._candidate(self._trial(index), turn, n, exact)

    def _propose(self, n: int, turn: Turn, batch: int) -> list[Candidate[Ticket]]:
        """What Ax proposes: n points or fewer."""
        try:
            asked = self.client.get_next_trials(max_trials=n, fixed_parameters={ROUND: turn.round})
        except AxError as error:
            if NO_FEASIBLE_POINTS_MESSAGE not in str(error):
                raise
            _logger.warning("Ax predicts that no trial so far keeps the bounds and proposes none: drawing at random.")
            return [self._attach(turn, self._point(turn), batch) for _ in range(n)]
        candidates: list[Candidate[Ticket]] = []
        try:
            candidates.extend(self._candidate(self._trial(index), turn, batch) for index in asked)
        except BaseException:
            self._give_back([Ticket(index, {}) for index in asked])
            raise
        return candidates

    def _candidate(self, trial: Trial, turn: Turn, n: int, exact: tuple[int, Terms] | None = None) -> Candidate[Ticket]:
        """The candidate of a trial; its recipe is recorded if it has none yet."""
        params = records.parameters_of(trial)
        condition = {name: params[name] for name in self._conditions}
        self._asked.add(trial.index)
        if records.RECIPE in trial.run_metadata:
            terms = records.read_recipe(trial).terms
            return Candidate(Ticket(trial.index, params), terms, condition, records.round_of(trial))
        terms = self._terms(trial, params, turn.space) if exact is None else exact[1]
        recipe = Recipe(terms, condition, self._generator, n)
        written = {records.RECIPE: recipe.to_json(), records.TRIAL_ROUND: turn.round}
        trial.update_run_metadata(written | ({} if exact is None else {records.EXACT: exact[0]}))
        self._store(trial)
        return Candidate(Ticket(trial.index, params), terms, condition, turn.round)

    def _terms(self, trial: Trial, params: Mapping[str, Any], space: SurrogateSpace) -> Terms:
        u = np.array([[params[f"u{k}"] for k in range(self.axes - 1)]])
        try:
            return space.terms(u, draws=[Draw(self._entropy, trial.index)] if space.fresh > 0 else [])[0]
        except ArgumentError as error:
            raise ArgumentError(
                f"client: trial {trial.index} lies outside the box ({error}). Mark it abandoned to go on."
            ) from error

    def _exact_left(self, turn: Turn) -> list[tuple[int, Terms]]:
        if turn.first is None:
            return []
        mine = [trial for trial in records.trials(self._experiment) if trial.status != TrialStatus.FAILED]
        done = {t.run_metadata.get(records.EXACT) for t in mine if records.round_of(t) == turn.round}
        return [(i, terms) for i, terms in enumerate(turn.exact) if i not in done]

    def should_stop(self, cs: Sequence[Candidate[Ticket]], step: int, values: Mapping[str, Array]) -> Array:
        """Attach estimates to all trials first, then ask the client's early stopping about each."""
        self._end = max(step + 1, self._end or 0)
        for i, candidate in enumerate(cs):
            row = {name: float(column[i]) for name, column in values.items() if np.isfinite(column[i])}
            self.client.attach_data(candidate.ticket.index, raw_data=row, progression=step)
        return np.array([self.client.should_stop_trial_early(candidate.ticket.index) for candidate in cs])

    def tell(self, cs: Sequence[Candidate[Ticket]], ev: Evaluations) -> None:
        """Record results, previews first; a trial that has ended already is left as it is."""
        for i, candidate in enumerate(cs):
            trial = self._trial(candidate.ticket.index)
            if trial.status == TrialStatus.RUNNING:
                self._tell_one(trial, ev, i)
        self._save()

    def _tell_one(self, trial: Trial, ev: Evaluations, i: int) -> None:
        self._asked.discard(trial.index)
        if ev.reasons.get(i) == INTERRUPTED:
            self._give_back([Ticket(trial.index, {})])
            return
        written: dict[str, Any] = {records.ORDER: self._order}
        self._order += 1
        if ev.status[i] == "failed":
            trial.update_run_metadata(written | {records.REASON: ev.reasons[i]})
            trial.mark_abandoned(reason=ev.reasons[i])  # a failed trial may be suggested again, an abandoned one not
            self._store(trial)
            return
        if self._previews is not None:
            written[records.PREVIEW] = self._preview(trial, ev, i)
        values = {name: float(column[i]) for name, column in ev.values.items()}
        costs: dict[str, Any] = {"nfe": float(ev.nfe[i]), "seconds": round(float(ev.seconds[i]), 6)}
        if ev.status[i] == "stopped":
            costs["stopped"] = int(ev.step[i])
        trial.update_run_metadata(written | {records.RESULT: {"values": values, **costs}})  # stored with the data
        if ev.status[i] == "stopped":
            self.client.mark_trial_early_stopped(trial.index)
        else:
            self.client.complete_trial(trial.index, raw_data=values, progression=self._end)

    def _preview(self, trial: Trial, ev: Evaluations, i: int) -> str:
        folder = self._previews or Path()
        folder.mkdir(parents=True, exist_ok=True)
        return save_preview(ev.outputs[i], folder / f"trial{trial.index}", rate=ev.rate).name

    def reclaim(self) -> int:
        """How many running trials a dead process has left; `ask` gives them out again."""
        running = [trial for trial in records.trials(self._experiment) if trial.status == TrialStatus.RUNNING]
        return sum(trial.index not in self._asked for trial in running)

    def _give_back(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            trial = self._trial(ticket.index)
            self._asked.discard(ticket.index)
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

    def _save(self) -> None:
        if self._snapshot is not None:
            save_client(self.client, self._snapshot)


def _inside(space: SurrogateSpace, terms: Terms) -> Array | None:
    """u (K-1,) of a coefficient row if it is a point of the box."""
    known = set(space.bank.seeds)
    if space.fresh > 0 or any(seed not in known for seed, _ in terms):
        return None
    row = space.bank.rows([terms]).toarray()
    w = np.linalg.lstsq(space.frame.T, row[0], rcond=None)[0]
    if (w < -INSIDE).any() or not (w > INSIDE).any():
        return None
    if np.abs(w @ space.frame - row[0]).max() > INSIDE:
        return None
    return np.asarray(space.chart.coordinates(np.clip(w, 0, None)[None])[0])


def _draw(parameter: Any, rng: np.random.Generator) -> Any:
    """A uniform value of a searched condition."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[int(rng.integers(len(parameter.values)))]
    if not isinstance(parameter, RangeParameter):
        raise MismatchError(f"client: {parameter} is neither a range nor a choice. Use `parameters`.")
    low, high = float(parameter.lower), float(parameter.upper)
    whole = parameter.parameter_type.name == "INT"
    end = high + 1 if whole else high
    drawn = np.exp(rng.uniform(np.log(low), np.log(end))) if parameter.log_scale else rng.uniform(low, end)
    value = min(float(drawn), high)
    return int(value) if whole else value
