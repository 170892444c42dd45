"""Optuna as a host of the core loop: what was told, asking in batches, telling with previews.

The study keeps its parameters for life: `u0..u{K-2}` and the searched conditions. The study's own sampler proposes,
inside `RoundSampler`; plain draws and exact rows only need parameters, so a random sampler gives them.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import mimetypes
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.artifacts import upload_artifact
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from surrogate_ax.bank import Draw, Terms, draw_entropy
from surrogate_ax.conditions import Choice, Range
from surrogate_ax.errors import MismatchError
from surrogate_ax.evaluation import INTERRUPTED, Evaluations
from surrogate_ax.generator import Generator
from surrogate_ax.loop import Candidate
from surrogate_ax.objective import Objective
from surrogate_ax.policies import Told, Turn
from surrogate_ax.previews import save_preview
from surrogate_ax.recipe import Recipe
from surrogate_ax_optuna.sampler import FIXED_ATTR, ROUND_ATTR, RoundSampler, for_batches
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

Array = np.ndarray
PREVIEW_ATTR = "preview"
_Read = tuple[Terms, list[float], list[float], Mapping[int, float]]  # recipe, values, estimates, checkpoints
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


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
        self._samplers: dict[tuple[int, bool], RoundSampler] = {}

    def close(self) -> None:
        """Give the study its own sampler back."""
        self.study.sampler = self._sampler

    def told(self) -> Told:
        """Ended trials in the order in which they ended.

        Interrupted trials are as if never asked. So are running ones: between batches this host has none, and those of
        a process that was killed would otherwise be waited for without end.
        """
        names = [metric.name for metric in self._objective.metrics]
        ended = ended_trials(self.study)
        for trial in ended:
            if trial.number not in self._read:
                recorded = metric_values(trial, names), metric_estimates(trial, names)
                self._read[trial.number] = (read_recipe(trial).terms, *recorded, trial.intermediate_values)
        rows = [self._read[trial.number] for trial in ended]
        values, estimates = (np.array([row[i] for row in rows]).reshape(len(rows), len(names)) for i in (1, 2))
        stopped = not np.isnan(estimates).all()
        steps = sorted({step for row in rows for step in row[3]}) if stopped else []
        return Told(
            self._objective,
            [row[0] for row in rows],
            dict(zip(names, values.T, strict=True)),
            np.array([_round(trial) for trial in ended], dtype=np.int64),
            tensors=self._tensors,
            estimates=dict(zip(names, estimates.T, strict=True)) if stopped else {},
            passed={step: np.array([row[3].get(step, np.nan) for row in rows]) for step in steps},
        )

    def ask(self, n: int, turn: Turn) -> Sequence[Candidate[optuna.Trial]]:
        """Exact rows of the turn that nobody has run yet, then points that the study's sampler proposes.

        Raises:
            MismatchError: the turn's K is not that of the study, whose parameters are the same for life.
        """
        self._check_axes(turn)
        exact = self._exact_left(turn)[:n]
        candidates: list[Candidate[optuna.Trial]] = []
        try:
            candidates.extend(self._ask_one(turn, n, exact=row) for row in [*exact, *[None] * (n - len(exact))])
        except BaseException:
            self._give_back([candidate.ticket for candidate in candidates])
            raise
        return candidates

    def _ask_one(self, turn: Turn, n: int, exact: tuple[int, Terms] | None = None) -> Candidate[optuna.Trial]:
        parameters = distributions(turn.space, self._conditions)
        proposes = exact is None and turn.space.fresh < 1
        key = (turn.round, proposes)
        if key not in self._samplers:
            self._samplers[key] = RoundSampler(self._batched if proposes else self._random, parameters, turn.round)
        self.study.sampler = self._samplers[key]
        trial = self.study.ask()
        try:
            for name, distribution in parameters.items():  # not by `ask`, which keeps the trial when its sampler raises
                trial._suggest(name, distribution)
            return self._candidate(trial, turn, n, exact)
        except BaseException:
            self._give_back([trial])
            raise

    def _candidate(
        self, trial: optuna.Trial, turn: Turn, n: int, exact: tuple[int, Terms] | None
    ) -> Candidate[optuna.Trial]:
        if exact is None:
            u = np.array([[trial.params[f"u{k}"] for k in range(turn.space.axes - 1)]])
            draws = [Draw(self._entropy, trial.number)] if turn.space.fresh > 0 else []
            terms = turn.space.terms(u, draws=draws)[0]
        else:
            trial.set_user_attr(FIXED_ATTR, exact[0])
            terms = exact[1]
        condition = {name: trial.params[name] for name in self._conditions}
        write_recipe(trial, terms, condition, generator=self._generator, batch=n)
        return Candidate(trial, terms, condition, turn.round)

    def _check_axes(self, turn: Turn) -> None:
        if self._axes is None:
            ended = ended_trials(self.study)
            box = [name for trial in ended[:1] for name in trial.params if name[:1] == "u" and name[1:].isdigit()]
            self._axes = len(box) + 1 if ended else turn.space.axes
        if turn.space.axes != self._axes:
            raise MismatchError(
                f"policy: the study was begun with K = {self._axes} axes, and its parameters stay the same for life, "
                f"got K = {turn.space.axes}. Use a policy of the same K, or a new study."
            )

    def _exact_left(self, turn: Turn) -> list[tuple[int, Terms]]:
        if turn.first is None:
            return []
        done = {t.user_attrs.get(FIXED_ATTR) for t in ended_trials(self.study) if _round(t) == turn.round}
        return [(i, terms) for i, terms in enumerate(turn.exact) if i not in done]

    def _give_back(self, trials: Sequence[optuna.Trial]) -> None:
        for trial in trials:
            trial.set_user_attr(REASON_ATTR, INTERRUPTED)
            self.study.tell(trial, state=TrialState.FAIL)

    def should_stop(self, cs: Sequence[Candidate[optuna.Trial]], step: int, values: Mapping[str, Array]) -> Array:
        """Report estimates to the study's pruner, all rows first, then ask it about each."""
        (metric,) = self._objective.optimised  # Optuna reports one number a step
        for candidate, value in zip(cs, values[metric.name], strict=True):
            candidate.ticket.report(float(value), step)
        return np.array([candidate.ticket.should_prune() for candidate in cs])

    def tell(self, cs: Sequence[Candidate[optuna.Trial]], ev: Evaluations) -> None:
        """Record results, previews first; a trial that has ended already is left as it is."""
        with tempfile.TemporaryDirectory() if self._previews is not None else contextlib.nullcontext("") as folder:
            for i, candidate in enumerate(cs):
                with contextlib.suppress(UpdateFinishedTrialError):
                    self._tell_one(candidate.ticket, ev, i, Path(folder))

    def _tell_one(self, trial: optuna.Trial, ev: Evaluations, i: int, folder: Path) -> None:
        status = ev.status[i]
        if self._previews is not None and status != "failed":
            trial.set_user_attr(PREVIEW_ATTR, upload_preview(self._previews, trial, ev, i, folder))
        write_result(trial, ev, i)
        if status == "done":
            self.study.tell(trial, objective_values(ev, i), skip_if_finished=True)
        else:
            state = TrialState.PRUNED if status == "stopped" else TrialState.FAIL
            self.study.tell(trial, state=state, skip_if_finished=True)

    def reclaim(self) -> int:
        """Fail trials whose worker's heartbeat has stopped, through Optuna's own stale-trial check."""
        storage = self.study._storage
        if not isinstance(storage, BaseHeartbeat) or storage.get_heartbeat_interval() is None:
            return 0
        before = len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        optuna.storages.fail_stale_trials(self.study)
        return before - len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def upload_preview(store: Any, trial: optuna.Trial, ev: Evaluations, i: int, folder: Path) -> str:
    """The artifact id of a small file of item i's output, made in a folder and uploaded for a trial."""
    path = save_preview(ev.outputs[i], folder / f"trial{trial.number}", rate=ev.rate)
    mime = mimetypes.guess_type(path.name, strict=False)[0]  # Optuna's own guess knows no WebP before Python 3.13
    return upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, mimetype=mime)


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Ended trials in the order in which they ended, without those that were broken off before they had a result."""
    trials = study.get_trials(deepcopy=False, states=ENDED)
    return sorted((trial for trial in trials if not _was_interrupted(trial)), key=_when)


def read_recipe(trial: FrozenTrial) -> Recipe:
    """The recipe of a trial.

    Raises:
        MismatchError: the trial has none, so something else made it.
    """
    if RECIPE_ATTR not in trial.user_attrs:
        raise MismatchError(
            f"study: trial {trial.number} has no recipe, so something else made it. Use a study of its own."
        )
    return Recipe.from_json(trial.user_attrs[RECIPE_ATTR])


def _was_interrupted(trial: FrozenTrial) -> bool:
    # What this host fails has a reason; a trial of a killed process, failed by a heartbeat or by hand, has none.
    return trial.state == TrialState.FAIL and trial.user_attrs.get(REASON_ATTR, INTERRUPTED) == INTERRUPTED


def _round(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(ROUND_ATTR, 0))


def _when(trial: FrozenTrial) -> tuple[float, int]:
    ended: datetime.datetime | None = trial.datetime_complete
    return (ended.timestamp() if ended else math.inf, trial.number)
