"""`optimize`: an Optuna study searches the outputs of a generator, batch by batch."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial

from surrogate_ax.errors import ArgumentError, MismatchError, check_counts
from surrogate_ax.execution.early_stopping import EarlyStopping, check_checkpoints
from surrogate_ax.execution.executor import Executor, Synchronous
from surrogate_ax.execution.loop import Batch, run
from surrogate_ax.execution.pipelined import Pipelined, check_overlap
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import check_fingerprint
from surrogate_ax.latents.seeds import seed_to_json
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.basic import fixed
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.plan import Plan, check_wanted, plan, stoppable
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.host import OptunaHost
from surrogate_ax_optuna.progress import ProgressBar
from surrogate_ax_optuna.sampler import in_generations
from surrogate_ax_optuna.search_space import check_directions
from surrogate_ax_optuna.storage import reachable, warn_of_journal
from surrogate_ax_optuna.trials import is_gone, status

_logger = logging.getLogger(__name__)
STUDY_ATTR = "surrogate:study"
VERSION = 2
Callback = Callable[[optuna.Study, FrozenTrial], None]


def optimize(
    study: optuna.Study,
    generator: Generator,
    objective: Objective,
    *,
    rng: int,
    total_trials: int | None = None,
    budget: int | None = None,
    batch_size: int = 16,
    space: SurrogateSpace | None = None,
    policy: Policy | None = None,
    conditions: Mapping[str, Range | Choice] | None = None,
    checkpoints: Sequence[int] = (),
    keep_fraction: float | None = None,
    overlap: bool = False,
    timeout: float | None = None,
    callbacks: Sequence[Callback] = (),
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Any = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> None:
    """Search a generator's outputs with the study's own sampler, one generator call a batch.

    Without a space the search is planned by `surrogate_ax.plan`: plain draws, then rounds that learn from all told.
    With one, its seeds are evaluated first, then the box is searched. `total_trials` or `budget` says how far.

    Args:
        study: any study with one direction per metric to optimise; its sampler proposes. The same call again goes on
            with it, also after a crash: trials of a killed process are run again. Several processes may share it.
        generator: makes the outputs.
        objective: judges them.
        rng: seed of seeds, draws and policy; the sampler has its own.
        total_trials: ended trials wanted in the study, earlier ones and failed ones included.
        budget: in its place, what the search may cost in whole outputs. Where the generator can stop between steps
            (`Steppable`) and one metric is optimised, estimates are scored after three eighths of the steps and the
            best quarter of each round goes on: about twice as many trials at equal cost, most of them pruned, and more
            to learn from. It calls the score for each.
        batch_size: items of one generator call, at most.
        space: a box of one's own, fixed for the study.
        policy: where to search, in place of `space`; see `surrogate_ax.policies`.
        conditions: searched call arguments, `{"guidance_scale": Range(1, 7, step=0.5)}`.
        checkpoints: numbers of steps after which estimates are scored and the study's pruner stops rows, `(3,)`. The
            generator must be `Steppable`, the metric to optimise one.
        keep_fraction: share of each batch that goes on behind a checkpoint, in place of the pruner; for several metrics too.
        overlap: score a batch in a thread while the next one is generated, which is therefore asked for before the
            last one is told. Rounds still wait for all of their scores, so it gains where a round has several batches;
            CMA-ES wastes one batch a generation, so give it a population of several. A score in pure Python needs a
            process as well, see `SubprocessScore`.
        timeout: seconds after which no further batch is begun.
        callbacks: Optuna's, called with (study, trial) for each told trial; `study.stop()` works in them.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: an Optuna artifact store; every output's picture is uploaded before its trial is told.
        progress: show a bar with rate, best value and time left.
        device: where latents are made: the generator's.

    Raises:
        ArgumentError: directions that disagree with the metrics, space and policy together, both or neither of
            total_trials and budget, a count below 1, a budget beside parts that it plans, checkpoints outside the
            trajectory, for several metrics without `keep_fraction`, or together with overlap.
        UnsupportedError: checkpoints for a generator that cannot stop between steps.
        MismatchError: the study was begun with another generator, space, objective or conditions (named).
        GenerationError: everything fails; the first reason is given.
        StorageError: the storage or the artifact store fails; what was told is kept.

    Reference: arXiv 2509.23800 (surrogate spaces).
    """
    evaluator = Evaluator(generator, objective, catch=catch)
    check_counts(batch_size=batch_size)
    check_wanted(
        total_trials, budget, space=space, policy=policy, checkpoints=tuple(checkpoints), keep_fraction=keep_fraction
    )
    check_directions(study, objective)
    if space is not None and policy is not None:
        raise ArgumentError("space, policy: expected at most one of them, got both; `fixed(space)` is a policy.")
    if space is not None and space.bank.prior.fingerprint != generator.prior.fingerprint:
        raise MismatchError(
            f"space: made under prior {space.bank.prior.fingerprint}, the generator's is {generator.prior.fingerprint}."
        )
    if checkpoints:
        _check_checkpoints(generator, objective, checkpoints, keep_fraction)
    if overlap:
        check_overlap(checkpoints)
    searched = check_searched(conditions or {})
    facts: dict[str, Any] = {"metrics": objective.describe()}
    facts |= {"conditions": {name: repr(value) for name, value in searched.items()}}
    facts |= _parts(space) if space else {"space": "by a policy" if policy else "planned", "rng": rng}
    steps = None if budget is None or overlap else stoppable(generator, objective)
    planned = plan(
        budget or total_trials or 0,
        dim=generator.prior.dim,
        searched=bool(searched),
        steps=steps,
    )
    with reachable(), _stoppable(study):
        begun = _begun(study, generator, facts, planned)
        planned = Plan.from_json(begun["plan"])
        wanted, cohort_size = total_trials or 0, None
        if budget is not None:
            wanted, checkpoints, keep_fraction = planned.spend(budget, stops=not overlap)
            cohort_size = planned.cohort_size
        if policy is None:
            policy = fixed(space) if space else planned.policy(generator.prior, device=device)
        host = OptunaHost(
            study,
            generator,
            objective,
            conditions=searched,
            batch_size=batch_size,
            rng=rng,
            previews=previews,
            tensors=space.bank.tensors if space else None,
            total_trials=wanted,
        )
        executor: Executor = Pipelined(evaluator) if overlap else Synchronous(evaluator)
        if checkpoints:
            merge = budget is not None or not in_generations(study.sampler)  # a plan's points are no sampler's
            executor = EarlyStopping(
                host,
                evaluator,
                checkpoints,
                batch_size=batch_size,
                merge=merge,
                keep_fraction=keep_fraction,
                cohort_size=cohort_size,
            )
        warn_of_journal(study._storage)
        study.set_user_attr(STUDY_ATTR, begun)  # after every check, so that what is refused leaves no trace
        found = status(study)
        _logger.info("study %r: %s", study.study_name, found)
        bar = ProgressBar(objective, host.history(), wanted, found) if progress else None
        with contextlib.closing(host), bar or contextlib.nullcontext():
            history: list[Callable[[Batch], bool | None]] = [lambda batch: _call_back(study, callbacks, batch)]
            run(
                host,
                policy,
                evaluator,
                total_trials=wanted,
                batch_size=batch_size,
                rng=rng,
                timeout=timeout,
                callbacks=([bar] if bar else []) + history,
                executor=executor,
            )


def _check_checkpoints(
    generator: Generator, objective: Objective, checkpoints: Sequence[int], keep_fraction: float | None
) -> None:
    check_checkpoints(generator, checkpoints, keep_fraction)
    names = [metric.name for metric in objective.optimised]
    if len(names) > 1 and keep_fraction is None:
        raise ArgumentError(
            f"checkpoints: Optuna's pruners judge one metric, the objective optimises {names}. Let a share of each "
            "batch go on, `keep_fraction=0.25`, or leave checkpoints out, or bound or track all metrics but one."
        )


def _begun(study: optuna.Study, generator: Generator, facts: Mapping[str, Any], planned: Plan) -> dict[str, Any]:
    """What the study is made with: as it was begun by the first trial that stands; refuses what differs from that."""
    trials = study.get_trials(deepcopy=False)  # before the record, which another worker writes before its first trial
    recorded: dict[str, Any] | None = study.user_attrs.get(STUDY_ATTR)
    if recorded is None and trials:
        raise MismatchError(
            f"study {study.study_name!r}: it has trials that `optimize` did not make. Use a study of its own."
        )
    if recorded is None or all(is_gone(trial) for trial in trials):
        made = {"version": VERSION, "generator": dict(generator.fingerprint), "plan": planned.to_json()}
        return made | dict(facts)
    if recorded.get("version") != VERSION:
        raise MismatchError(
            f"study: made by version {recorded.get('version')} of this record, this release reads {VERSION}."
        )
    check_fingerprint(recorded["generator"], generator, what="study")
    differing = [
        f"{name}: {recorded[name]} -> {fact}" for name, fact in facts.items() if recorded.get(name, fact) != fact
    ]
    if differing:
        raise MismatchError(
            f"study {study.study_name!r} was begun with other parts. {'; '.join(differing)}. Use a new study."
        )
    return recorded


def _parts(space: SurrogateSpace) -> dict[str, str]:
    """What a box is made of, part by part, to say which of them has changed."""
    seeds = json.dumps([seed_to_json(seed) for seed in space.bank.seeds])
    bank = "bank-" + hashlib.sha256(seeds.encode()).hexdigest()[:12]
    return {"space": space.fingerprint, "bank": bank, "chart": space.chart.name}


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
