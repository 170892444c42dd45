"""Hosts' own samplers as the proposers of a search: in boxes that move, in one over the best draws, in a random one.

A sampler is asked for a whole round or batch at a time and told what came of it; in boxes that move it begins anew with
each. Another host becomes one more entry of `HOSTS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from embedded import STEPS
from library import PRIOR, Box, Sampled, Uniform, policy_cell
from lockstep import Asking
from objectives import Task
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler

from surrogate_ax import SurrogateSpace, fixed, o3, plan
from surrogate_ax.policies.basic import o3_seeds
from surrogate_ax_optuna.sampler import RoundSampler, for_batches

ROUND, BATCH, AXES = 16, 8, 8  # trials asked at once where boxes move, and in one box; K of a random one


def sampled(make: Callable[[int], BaseSampler], *, constraints: bool = True) -> Box:
    """An Optuna sampler as `surrogate_ax_optuna` runs it, made anew for every box: it knows the box from the first."""

    def box(task: Task, axes: int, seed: int) -> Sampled:
        known = {f"u{k}": FloatDistribution(0, 1) for k in range(axes - 1)}

        def sampler(seed: int) -> BaseSampler:
            return RoundSampler(for_batches(make(seed), BATCH), known, 0)

        return Sampled(task, axes, seed, sampler, constraints=constraints)

    return box


HOSTS: dict[str, Box] = {
    "TPE": sampled(lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True)),
    "CMA-ES": sampled(lambda seed: CmaEsSampler(seed=seed), constraints=False),  # it uses none, and warns
    "GP": sampled(lambda seed: GPSampler(seed=seed)),
    "uniform": Uniform,
}
STOPPING, O3_BOX, RANDOM_BOX = " with early stopping", " in one O3 box", " in one random box"


def takes(method: str, task: Task) -> bool:
    """Whether a method searches a task: CmaEsSampler refuses two objectives."""
    return not (method.startswith("CMA-ES") and len(task.objective.optimised) > 1)


def drives(
    task: Task, repeat: int, n: int, *, host: str, stops: bool = False, batch: int = ROUND, **changes: Any
) -> Asking:
    """The planned boxes that move, every point behind the draws proposed by the host.

    Args:
        task: what is searched for.
        repeat: seed of everything.
        n: whole outputs that the search may cost.
        host: of `HOSTS`.
        stops: three quarters of a round are stopped at the planned checkpoint, where there is a single objective.
        batch: trials that are asked for at once, at most; a round has no more.
        changes: to the plan, where settings are compared.
    """
    steps = STEPS if stops and len(task.objective.optimised) == 1 else None
    planned = dataclasses.replace(plan(n, dim=PRIOR.dim, steps=steps, proposes=True), **changes)
    yield from policy_cell(
        task,
        repeat,
        planned.trials(n),
        policy=planned.policy(PRIOR),
        batch=batch,
        box=HOSTS[host],
        checkpoint=planned.checkpoint,
        kept=planned.keep_fraction,
    )


def in_o3_box(task: Task, repeat: int, n: int, *, host: str) -> Asking:
    """Half of the budget in draws, the best of which span one box (arXiv 2608.12192)."""
    policy = o3(PRIOR, n // 2, seeds=o3_seeds(n))
    yield from policy_cell(task, repeat, n, policy=policy, batch=BATCH, box=HOSTS[host])


def in_random_box(task: Task, repeat: int, n: int, *, host: str) -> Asking:
    """One box over draws, which are evaluated first (arXiv 2509.23800)."""
    policy = fixed(SurrogateSpace.sample(PRIOR, seeds=AXES, rng=repeat))
    yield from policy_cell(task, repeat, n, policy=policy, batch=BATCH, box=HOSTS[host])


# The names tell what differs; those that know their budget, and one run of which serves every budget.
DRIVEN: dict[str, Callable[..., Asking]] = {
    **{f"{host} drives": partial(drives, host=host) for host in HOSTS},
    **{f"{host} drives{STOPPING}": partial(drives, host=host, stops=True) for host in HOSTS},
    # TPE and GP in one O3 box are "O3 + TPE" and "O3 + GP".
    **{f"{host}{O3_BOX}": partial(in_o3_box, host=host) for host in HOSTS if host not in ("TPE", "GP")},
}
ANYTIME = {f"{host}{RANDOM_BOX}": partial(in_random_box, host=host) for host in HOSTS}
EVERY = {**DRIVEN, **ANYTIME}
