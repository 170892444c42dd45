"""`optimize`: an Optuna study searches the outputs of a generator, batch by batch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial

from surrogate_ax.checkpoints import Checkpoints, check_checkpoints
from surrogate_ax.conditions import Choice, Range, check_searched
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.evaluation import Evaluator
from surrogate_ax.generator import Generator
from surrogate_ax.loop import Batch, Direct, Line, check_counts, run
from surrogate_ax.objective import Objective
from surrogate_ax.plan import Plan, plan
from surrogate_ax.policies import Policy, fixed
from surrogate_ax.recipe import check_fingerprint
from surrogate_ax.space import SurrogateSpace
from surrogate_ax_optuna.host import OptunaHost, ended_trials
from surrogate_ax_optuna.progress import ProgressBar
from surrogate_ax_optuna.sampler import in_generations
from surrogate_ax_optuna.search_space import check_directions

STUDY_ATTR = "surrogate:study"
VERSION = 2
Callback = Callable[[optuna.Study, FrozenTrial], None]


def optimize(
    study: optuna.Study,
    generator: Generator,
    objective: Objective,
    *,
    total_trials: int,
    rng: int,
    batch_size: int = 16,
    space: SurrogateSpace | None = None,
    policy: Policy | None = None,
    conditions: Mapping[str, Range | Choice] | None = None,
    checkpoints: Sequence[int] = (),
    timeout: float | None = None,
    callbacks: Sequence[Callback] = (),
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Any = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> None:
    """Search a generator's outputs with the study's own sampler, one generator call a batch.

    Without a space the budget is planned by `surrogate_ax.plan`: plain draws, then rounds that learn from all told.
    With one, its seeds are evaluated first, then the box is searched.

    Args:
        study: any study with one direction per metric to optimise; its sampler proposes. Run it again to go on.
        generator: makes the outputs.
        objective: judges them.
        total_trials: ended trials wanted in the study, earlier ones and failed ones included.
        rng: seed of seeds, draws and policy; the sampler has its own.
        batch_size: items of one generator call, at most.
        space: a box of one's own, fixed for the study.
        policy: where to search, in place of `space`; see `surrogate_ax.policies`.
        conditions: searched call arguments, `{"guidance_scale": Range(1, 7, step=0.5)}`.
        checkpoints: numbers of steps after which estimates are scored and the study's pruner stops rows, `(3,)`. The
            generator must be `Steppable`, the metric to optimise one.
        timeout: seconds after which no further batch is begun.
        callbacks: Optuna's, called with (study, trial) for each told trial; `study.stop()` works in them.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: an Optuna artifact store; every output's picture is uploaded before its trial is told.
        progress: show a bar with rate, best value and time left.
        device: where latents are made: the generator's.

    Raises:
        ArgumentError: directions that disagree with the metrics, space and policy together, a count below 1, or
            checkpoints outside the trajectory or for several metrics.
        UnsupportedError: checkpoints for a generator that cannot stop between steps.
        MismatchError: the study was begun with another generator, space, objective or conditions (named).
        GenerationError: everything fails; the first reason is given.

    Reference: arXiv 2509.23800 (surrogate spaces).
    """
    evaluator = Evaluator(generator, objective, catch=catch)
    check_counts(total_trials=total_trials, batch_size=batch_size)
    check_directions(study, objective)
    if space is not None and policy is not None:
        raise ArgumentError("space, policy: expected at most one of them, got both; `fixed(space)` is a policy.")
    if space is not None and space.bank.prior.fingerprint != generator.prior.fingerprint:
        raise MismatchError(
            f"space: made under prior {space.bank.prior.fingerprint}, the generator's is {generator.prior.fingerprint}."
        )
    if checkpoints:
        _check_checkpoints(generator, objective, checkpoints)
    searched = check_searched(conditions or {})
    where = space.fingerprint if space else "by a policy" if policy else "planned"
    begun = _begun(study, generator, objective, where, searched, total_trials)
    if policy is None:
        policy = fixed(space) if space else Plan(**begun["plan"]).policy(generator.prior, device=device)
    host = OptunaHost(
        study,
        generator,
        objective,
        conditions=searched,
        batch_size=batch_size,
        rng=rng,
        previews=previews,
    )
    line: Line = Direct(evaluator)
    if checkpoints:
        merge = not in_generations(study.sampler)
        line = Checkpoints(host, evaluator, checkpoints, batch_size=batch_size, merge=merge)
    study.set_user_attr(STUDY_ATTR, begun)  # after every check, so that what is refused leaves no trace
    bar = ProgressBar(objective, host.told(), total_trials) if progress else None
    with contextlib.closing(host), bar or contextlib.nullcontext(), _stoppable(study):
        told: list[Callable[[Batch], bool | None]] = [lambda batch: _call_back(study, callbacks, batch)]
        run(
            host,
            policy,
            evaluator,
            total_trials=total_trials,
            batch_size=batch_size,
            rng=rng,
            timeout=timeout,
            callbacks=([bar] if bar else []) + told,
            line=line,
        )


def _check_checkpoints(generator: Generator, objective: Objective, checkpoints: Sequence[int]) -> None:
    check_checkpoints(generator, checkpoints)
    names = [metric.name for metric in objective.optimised]
    if len(names) > 1:
        raise ArgumentError(
            f"checkpoints: Optuna's pruners judge one metric, the objective optimises {names}. Leave checkpoints out, "
            "or optimise one metric and bound or track the others."
        )


def _begun(
    study: optuna.Study,
    generator: Generator,
    objective: Objective,
    where: str,
    conditions: Mapping[str, Range | Choice],
    total_trials: int,
) -> dict[str, Any]:
    """What the study is made with: as it was begun by its first ended trial; refuses what differs from that."""
    facts: dict[str, Any] = {
        "metrics": objective.describe(),
        "conditions": {name: repr(condition) for name, condition in conditions.items()},
        "space": where,
    }
    recorded: dict[str, Any] | None = study.user_attrs.get(STUDY_ATTR)
    if recorded is None and study.get_trials(deepcopy=False):
        raise MismatchError(
            f"study {study.study_name!r}: it has trials that `optimize` did not make. Use a study of its own."
        )
    if recorded is None or not ended_trials(study):
        planned = plan(total_trials, dim=generator.prior.dim, searched=bool(conditions)).describe()
        return {"version": VERSION, "generator": dict(generator.fingerprint), "plan": planned} | facts
    if recorded.get("version") != VERSION:
        raise MismatchError(
            f"study: made by version {recorded.get('version')} of this record, this release reads {VERSION}."
        )
    check_fingerprint(recorded["generator"], generator, what="study")
    differing = [f"{name}: {recorded[name]} -> {fact}" for name, fact in facts.items() if recorded[name] != fact]
    if differing:
        raise MismatchError(
            f"study {study.study_name!r} was begun with other parts. {'; '.join(differing)}. Use a new study."
        )
    return recorded


@contextlib.contextmanager
def _stoppable(study: optuna.Study) -> Iterator[None]:
    """Let Optuna's callbacks call `study.stop()`, which it allows inside `Study.optimize` only."""
    study._thread_local.in_optimize_loop = True
    study._stop_flag = False
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False


def _call_back(study: optuna.Study, callbacks: Sequence[Callback], batch: Batch) -> bool:
    if callbacks:
        trials = study.get_trials(deepcopy=False)
        for candidate in batch.candidates:
            for callback in callbacks:
                callback(study, copy.deepcopy(trials[candidate.ticket.number]))  # the storage's own object
    return study._stop_flag
