"""Policies of the library as cells: the loop of `surrogate_ax.run`, with a host in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from lockstep import Asking
from objectives import Task
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from surrogate_ax import Draw, Gaussian, Policy, Told, Turn, o3, o3_seeds
from surrogate_ax.bank import Terms, draw_entropy

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
    """Points that an Optuna sampler proposes, with the task's directions and constraints."""

    def __init__(self, task: Task, axes: int, repeat: int, sampler: Callable[[int], BaseSampler]) -> None:
        self._task = task
        self._bounded = bool(task.objective.bounded)
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
            if self._bounded:
                trial.set_constraint("violation", float(self._task.objective.violation(row)[0]))
            self._study.tell(trial, [float(row[metric.name][0]) for metric in self._task.objective.optimised])


def policy_cell(task: Task, repeat: int, n: int, *, policy: Policy, batch: int = 16, box: Box = Uniform) -> Asking:
    """A policy's search with N evaluations, as the loop runs it.

    Args:
        task: what is searched for.
        repeat: seed of everything.
        n: N.
        policy: where to search.
        batch: items of one generator call, at most.
        box: proposes inside the turn's box.
    """
    terms, values, rounds = list[Terms](), dict[str, Array](), np.zeros(0, dtype=np.int64)
    turn: Turn | None = None
    entropy, exact, sampler = draw_entropy(repeat, "trials"), list[Terms](), None
    while len(terms) < n:
        told = Told(task.objective, terms, _columns(task, values), rounds)
        if turn is None or told.ended(turn.round) >= turn.size:
            turn = policy(told, n - len(terms), repeat)
            if turn is None:
                return
            exact, sampler = list(turn.exact), box(task, turn.space.axes, repeat * 1000 + turn.round)
        wanted = min(batch, n - len(terms), told.open(turn))
        asked, exact = exact[:wanted], exact[wanted:]
        proposed = wanted - len(asked)
        u = np.zeros((0, turn.space.axes - 1))
        if proposed:
            plain = turn.space.fresh == 1
            u = np.full((proposed, turn.space.axes - 1), 0.5) if plain else sampler.ask(proposed)
            numbers = range(len(terms) + len(asked), len(terms) + wanted)
            draws = [Draw(entropy, i) for i in numbers] if turn.space.fresh > 0 else []
            asked = asked + turn.space.terms(u, draws=draws)
        bank = turn.space.bank.extend([seed for row in asked for seed, _ in row])
        got = yield bank.inner(bank.rows(asked)).numpy()
        if proposed and turn.space.fresh < 1:
            sampler.tell(u, {name: column[-proposed:] for name, column in got.items()})
        terms = terms + asked
        values = {name: np.concatenate([values.get(name, np.zeros(0)), column]) for name, column in got.items()}
        rounds = np.concatenate([rounds, np.full(wanted, turn.round)])


def _columns(task: Task, values: dict[str, Array]) -> dict[str, Array]:
    return values or {metric.name: np.zeros(0) for metric in task.objective.metrics}


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
