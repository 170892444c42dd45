"""Policies of the library as cells: the loop of `surrogate_ax.run`, with a host in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import optuna
from embedded import STEPS
from lockstep import Asking, Part, Values
from objectives import Task
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState

from surrogate_ax import Gaussian, Policy, o3
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.basic import o3_seeds
from surrogate_ax.policies.fresh_noise import mix_until_typical
from surrogate_ax.policies.history import History, Round
from surrogate_ax.policies.plan import survivors

optuna.logging.set_verbosity(optuna.logging.WARNING)
Array = np.ndarray
PRIOR = Gaussian((3, 16, 16))
Box = Callable[[Task, int, int], Any]  # (task, axes, repeat) -> an object with ask(n) and tell(u, values)


class Uniform:
    """Points drawn evenly from the box."""

    def __init__(self, task: Task, axes: int, repeat: int) -> None:
        self._axes, self._rng = axes, np.random.default_rng(repeat)

    def ask(self, n: int) -> Array:
        """u (n, K-1)."""
        return self._rng.random((n, self._axes - 1))

    def tell(self, u: Array, values: dict[str, Array]) -> None:
        """Nothing is learnt."""


class Sampled:
    """Points that an Optuna sampler proposes, with the task's directions, and constraints where it uses any."""

    def __init__(
        self,
        task: Task,
        axes: int,
        repeat: int,
        sampler: Callable[[int], BaseSampler],
        *,
        constraints: bool = True,
    ) -> None:
        self._task = task
        self._bounded = constraints and bool(task.objective.bounded)
        self._space = {f"u{k}": FloatDistribution(0, 1) for k in range(axes - 1)}
        goals = [metric.goal for metric in task.objective.optimised]
        self._study = optuna.create_study(directions=goals, sampler=sampler(repeat))
        self._asked: list[optuna.Trial] = []

    def ask(self, n: int) -> Array:
        """u (n, K-1)."""
        self._asked = [self._study.ask(self._space) for _ in range(n)]
        return np.array([[trial.params[name] for name in self._space] for trial in self._asked])

    def tell(self, u: Array, values: dict[str, Array]) -> None:
        """Values of what was asked last."""
        for i, trial in enumerate(self._asked):
            row = {name: np.array([column[i]]) for name, column in values.items()}
            found = [float(row[metric.name][0]) for metric in self._task.objective.optimised]
            if not np.isfinite(found).all():
                self._study.tell(trial, state=TrialState.PRUNED)
                continue
            if self._bounded:
                trial.set_constraint("violation", float(self._task.objective.violation(row)[0]))
            self._study.tell(trial, found)


def policy_cell(
    task: Task,
    repeat: int,
    n: int,
    *,
    policy: Policy,
    batch: int = 16,
    box: Box = Uniform,
    checkpoint: int = 0,
    kept: float = 1.0,
) -> Asking:
    """A policy's search with n trials, as the loop runs it.

    Args:
        task: what is searched for.
        repeat: seed of everything.
        n: trials.
        policy: where to search.
        batch: items of one generator call, at most.
        box: proposes inside the turn's box.
        checkpoint: step after which a share of each batch goes on; 0 for none.
        kept: that share.
    """
    history = History(task.objective, [], _nothing(task), np.zeros(0, dtype=np.int64))
    round: Round | None = None
    entropy, exact, sampler = draw_entropy(repeat, "trials"), list[Terms](), None
    while len(history.terms) < n:
        if round is None or history.ended(round.number) >= round.size:
            round = policy(history, n - len(history.terms), repeat)
            if round is None:
                return
            exact, sampler = list(round.terms), box(task, round.space.axes, repeat * 1000 + round.number)
        wanted = min(batch, n - len(history.terms), history.open(round))
        asked, exact = exact[:wanted], exact[wanted:]
        proposed = wanted - len(asked)
        u = np.zeros((0, round.space.axes - 1))
        if proposed:
            plain = round.space.fresh == 1
            u = np.full((proposed, round.space.axes - 1), 0.5) if plain else sampler.ask(proposed)
            numbers = range(len(history.terms) + len(asked), len(history.terms) + wanted)
            asked = asked + points(round, u, [Draw(entropy, i) for i in numbers])
        bank = round.space.bank.extend([seed for row in asked for seed, _ in row])
        x = bank.inner(bank.rows(asked)).numpy()
        if checkpoint:
            values, estimates = yield from _stopped(task, x, len(history.terms), checkpoint, kept)
        else:
            values, estimates = (yield x), _nothing(task)
        if proposed and round.space.fresh < 1:
            sampler.tell(u, {name: column[-proposed:] for name, column in values.items()})
        history = _grown(history, asked, values, estimates, round.number, checkpoint)


def points(round: Round, u: Array, draws: Sequence[Draw]) -> list[Terms]:
    """What `Round.point` makes of each of u (n, K-1) with a draw of its own, all at once."""
    space = round.space
    if space.fresh in (0, 1):
        return space.terms(u, draws=draws if space.fresh else [])
    bank = space.bank.extend(list(draws))
    between = bank.rows(dataclasses.replace(space, fresh=0.0).terms(u)).toarray()
    noise = bank.rows(((draw, 1.0),) for draw in draws).toarray()
    return bank.terms(mix_until_typical(bank, between, noise, np.full(len(u), space.fresh)))


def _stopped(
    task: Task, x: Array, first: int, checkpoint: int, kept: float
) -> Generator[Part, Any, tuple[dict[str, Array], dict[str, Array]]]:
    """Values (n,), NaN for what was stopped, and estimates (n,) at the checkpoint."""
    rows, estimates = yield Part(x, 0, checkpoint, first + np.arange(len(x)))
    on = np.sort(task.objective.rank(estimates)[: survivors(len(x), kept)])
    _, ended = yield Part(rows[on], checkpoint, STEPS, first + on)
    values = {name: np.full(len(x), np.nan) for name in estimates}
    for name, column in ended.items():
        values[name][on] = column
    return values, dict(estimates)


def _grown(
    history: History, terms: list[Terms], values: Values, estimates: Values, round: int, checkpoint: int
) -> History:
    """What is told with a batch more."""
    n, stopped = len(terms), history.estimates
    passed = dict(history.checkpoint_estimates)
    if checkpoint:
        metric, *others = history.objective.optimised
        ended = np.isfinite(values[metric.name])
        before = history.estimates or {name: np.full(len(history.terms), np.nan) for name in values}
        stopped = {name: np.append(before[name], np.where(ended, np.nan, estimates[name])) for name in values}
        if not others:  # hosts keep them for one metric only
            passed = {checkpoint: np.append(passed.get(checkpoint, np.zeros(0)), estimates[metric.name])}
    return History(
        history.objective,
        [*history.terms, *terms],
        {name: np.append(history.values[name], column) for name, column in values.items()},
        np.append(history.round, np.full(n, round)),
        estimates=stopped,
        checkpoint_estimates=passed,
    )


def _nothing(task: Task) -> dict[str, Array]:
    return {metric.name: np.zeros(0) for metric in task.objective.metrics}


def o3_tpe(task: Task, repeat: int, n: int, *, share: float = 0.5, batch: int = 8, candidates: int = 24) -> Asking:
    """The best of a first part of draws span the box; TPE searches it (arXiv 2608.12192)."""

    def box(task: Task, axes: int, seed: int) -> Sampled:
        return Sampled(
            task,
            axes,
            seed,
            lambda seed: TPESampler(
                seed=seed,
                multivariate=True,
                constant_liar=True,
                n_ei_candidates=candidates,
            ),
        )

    seeds, drawn = o3_seeds(n), round(share * n)
    yield from policy_cell(task, repeat, n, policy=o3(PRIOR, drawn, seeds=seeds), batch=batch, box=box)


def o3_gp(task: Task, repeat: int, n: int, *, share: float = 0.5, batch: int = 8) -> Asking:
    """The same box, searched by Optuna's Gaussian process."""

    def box(task: Task, axes: int, seed: int) -> Sampled:
        return Sampled(task, axes, seed, lambda seed: GPSampler(seed=seed))

    seeds, drawn = o3_seeds(n), round(share * n)
    yield from policy_cell(task, repeat, n, policy=o3(PRIOR, drawn, seeds=seeds), batch=batch, box=box)
