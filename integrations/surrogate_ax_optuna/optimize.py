"""`optimize`: an Optuna study searches the outputs of a generator, batch by batch."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial

from surrogate_ax.checks import whole
from surrogate_ax.errors import ArgumentError
from surrogate_ax.execution.batch_size import BatchSize
from surrogate_ax.execution.loop import Batch
from surrogate_ax.execution.records import keep_seeds
from surrogate_ax.execution.session import Session
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.seeds import drawn_rng
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import Policy
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import STUDY_ATTR, set_study_attribute, study_attributes
from surrogate_ax_optuna.host import OptunaHost
from surrogate_ax_optuna.output_folder import OutputFolder
from surrogate_ax_optuna.record import status
from surrogate_ax_optuna.sampler import in_generations
from surrogate_ax_optuna.search_samplers import MovingBoxSampler, SurrogateSampler, planning, proposing
from surrogate_ax_optuna.search_space import check_directions
from surrogate_ax_optuna.seeds import ADVICE, Seeds, remember_seeds, study_seeds
from surrogate_ax_optuna.storage import reachable, warn_of_journal
from surrogate_ax_optuna.trials import is_foreign, is_gone, study_trials
from surrogate_ax_optuna.unscored import check_unscored, without_score
from surrogate_ax_optuna.warm import read_earlier, read_sources, write_sources

_logger = logging.getLogger(f"surrogate_ax.{__name__}")
Callback = Callable[[optuna.Study, FrozenTrial], None]


def optimize(
    study: optuna.Study,
    generator: Generator,
    objective: Objective,
    *,
    rng: int | None = None,
    total_trials: int | None = None,
    budget: int | None = None,
    batch_size: BatchSize = 16,
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
    seeds: Seeds = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
    workers: int = 1,
    unscored: Path | str | None = None,
    warm: Sequence[Any] = (),
) -> None:
    """Search a generator's outputs with a study, one generator call a batch.

    The study's sampler proposes, whatever it is. `SurrogateSampler()` is the planned search: plain draws, then rounds
    of proposals that learn from every trial. Any other is placed in boxes that move: behind the draws each round has a
    new box, whose axes are such proposals, and the sampler proposes every point of it (`MovingBoxSampler`). With a
    space, its seeds are evaluated first, then the sampler searches that box. `total_trials` or `budget` says how far.

    Args:
        study: any study with one direction per metric to optimise, as `create_study` makes it. The same call again goes
            on with it, also after a crash: trials of a killed process are run again. Several processes may share it.
            Trials that are enqueued are run; those that somebody told by hand count where they lie in its box.
        generator: makes the outputs.
        objective: judges them.
        rng: seed of seeds, draws and policy; the sampler has its own. Left out, a new study draws one and records it,
            and a study that was begun goes on with its own; give it where several processes begin one study.
        total_trials: ended trials wanted in the study, earlier ones and failed ones included.
        budget: in its place, what the search may cost in whole outputs. Where the generator can stop between steps
            (`Steppable`) and one metric is optimised, estimates are scored after three eighths of the steps and the
            best quarter of each round goes on: about twice as many trials at equal cost, most of them pruned, and more
            to learn from. It calls the score for each.
        batch_size: items of one generator call, at most. "auto" measures it on plain draws: larger ones, until
            they do not fit in memory or give less than a tenth more outputs a second. The study keeps what was found,
            for runs that go on and for other workers.
        space: a box of one's own, fixed for the study.
        policy: where to search, in place of `space`; see `surrogate_ax.policies`.
        conditions: searched call arguments, `{"guidance_scale": Range(1, 7, step=0.5)}`.
        checkpoints: numbers of steps after which estimates are scored and the study's pruner stops trials, `(3,)`. The
            generator must be `Steppable`, the metric to optimise one.
        keep_fraction: share of each batch that goes on behind a checkpoint, in place of the pruner; for several
            metrics too.
        overlap: score a batch in a thread while the next one is generated, which is therefore asked for before the
            last one is told. Rounds still wait for all of their scores, so it gains where a round has several batches;
            CMA-ES wastes one batch a generation, so give it a population of several. A score in pure Python needs a
            process as well, see `SubprocessScore`.
        timeout: seconds after which no further batch is begun.
        callbacks: Optuna's, called with (study, trial) for each trial that has ended; `study.stop()` works in them.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: an Optuna artifact store; every output's picture is uploaded before its trial is told.
        seeds: where stored seeds of a space are kept: a folder, or an Optuna artifact store. SQLite files have a folder
            beside them, and studies in memory keep them there; other storages need it.
        progress: show a bar with rate, best value and time left.
        device: where latents are made: the generator's.
        workers: processes that share the study, if they are more than are seen on it: a planned search of several
            proposes for each from all that is told and pending, and nobody waits for a round to end. Say it of more
            than eight when the study is begun: they get rounds with a place for each.
        unscored: a folder where outputs are kept in place of being scored here, for `score_kept` in other processes.
            Their trials wait there, as pending, and survive whatever ends; the call returns once all are made.
        warm: earlier searches of the same family of generators that a planned search learns from: studies, or what
            `read_record` of either host gives. Prompt, steps, score and direction may differ: how much each is worth is
            learnt. Their best are evaluated in place of half of the first draws. What is taken over is recorded in the
            study, which goes on without them.

    Raises:
        ArgumentError: directions that disagree with the metrics, a sampler that was given another seed or that does not
            go with a space, space and policy together, both or neither of
            total_trials and budget, a count below 1, a budget beside parts that it plans, checkpoints outside the
            trajectory, for several metrics without `keep_fraction`, or together with overlap, stored seeds without a
            place to keep them, `unscored` beside a budget or checkpoints, or earlier searches beside a space or policy
            or with fewer than four results.
        UnsupportedError: checkpoints for a generator that cannot stop between steps.
        MismatchError: the study was begun with another generator, space, objective, conditions or earlier searches
            (named), or an earlier search has latents that mean something else.
        SeedError: the stored seeds of an earlier search are not found.
        GenerationError: everything fails; the first reason is given.
        StorageError: the storage or the artifact store fails; what was told is kept.

    Reference: arXiv 2509.23800 (surrogate spaces).
    """
    with reachable():
        rng = _recorded_rng(study) if rng is None else rng
    planned = _planned_sampler(study, rng, space)
    if unscored is not None:
        check_unscored(budget, checkpoints)
        objective = without_score(objective)
    session = Session(
        generator,
        objective,
        rng=rng,
        total_trials=total_trials,
        budget=budget,
        batch_size=batch_size,
        space=space,
        policy=policy,
        conditions=conditions,
        checkpoints=checkpoints,
        keep_fraction=keep_fraction,
        overlap=overlap,
        catch=catch,
        device=device,
        host_proposes=not isinstance(planned, SurrogateSampler),
        planned_trials=None if planned is None else planned.n_trials,
        workers=workers,
        warm=read_earlier(warm) or (planned.warm if isinstance(planned, SurrogateSampler) else []),
    )
    check_directions(study, objective)
    if checkpoints and keep_fraction is None:
        _check_pruner(objective)
    with reachable(), _allow_stop(study):
        record = {"rng": rng} | session.begin(
            _recorded(study), study=f"study {study.study_name!r}", sources=read_sources(study)
        )
        store = study_seeds(study, seeds)
        if space is not None:
            keep_seeds(store, space.bank, advice=ADVICE)
        keep_seeds(store, session.stored, advice=ADVICE)
        record = session.measured(record, study=f"study {study.study_name!r}")
        host = OptunaHost(
            study,
            generator,
            objective,
            conditions=session.conditions,
            batch_size=session.batch_size,
            rng=rng,
            previews=previews,
            seeds=store,
            total_trials=session.total_trials,
            space=space,
            workers=workers,
            unscored=None if unscored is None else OutputFolder(Path(unscored)),
        )
        if unscored is not None:
            session.proposer = session.proposer.until(lambda: host.all_made)
        warn_of_journal(study._storage)
        remember_seeds(study, seeds)
        write_sources(study, session.sources)
        set_study_attribute(study, STUDY_ATTR, record)  # after every check, so that what is refused leaves no trace
        found = status(study)
        _logger.info("study %r: %s", study.study_name, found)
        _say_who_proposes(study, planned, session)
        with contextlib.closing(host):
            session.run(
                host,
                timeout=timeout,
                callbacks=[functools.partial(_call_back, study, callbacks)],
                progress=progress and unscored is None,  # it has no values to show
                status=found,
                in_generations=in_generations(proposing(study.sampler) or study.sampler),
            )


def _check_pruner(objective: Objective) -> None:
    """Refuse to let a pruner judge several metrics."""
    names = [metric.name for metric in objective.optimised]
    if len(names) > 1:
        raise ArgumentError(
            f"checkpoints: Optuna's pruners judge one metric, the objective optimises {names}. Let a share of each "
            "batch go on, `keep_fraction=0.25`, or leave checkpoints out, or bound or track all metrics but one."
        )


def _recorded(study: optuna.Study) -> dict[str, Any] | None:
    """What a study has recorded of its search; None where no trial of one stands."""
    trials = study_trials(study)  # before the record, which another worker writes before its first trial
    recorded: dict[str, Any] | None = study_attributes(study).get(STUDY_ATTR)
    return None if all(is_gone(trial) or is_foreign(trial) for trial in trials) else recorded


def _recorded_rng(study: optuna.Study) -> int:
    """The seed that a study was begun with, or its sampler was given; a new one where there is none."""
    recorded, sampler = _recorded(study) or {}, planning(study.sampler)
    given = recorded.get("rng") if sampler is None or sampler.seed is None else sampler.seed
    return drawn_rng() if given is None else whole(given, f"study {study.study_name!r}, its rng")


def _planned_sampler(
    study: optuna.Study, rng: int, space: SurrogateSpace | None
) -> SurrogateSampler | MovingBoxSampler | None:
    """The study's sampler, if it is one of ours.

    Raises:
        ArgumentError: it was given another seed, or plans what a space has fixed.
    """
    sampler = planning(study.sampler)
    if sampler is None:
        return None
    if space is not None:
        raise ArgumentError(
            f"space: {type(sampler).__name__} makes boxes of its own. Give the study the sampler that is to search "
            "this one, such as TPESampler(), or leave the space out."
        )
    if sampler.seed is not None and sampler.seed != rng:
        raise ArgumentError(
            f"rng: {type(sampler).__name__} was given seed={sampler.seed}, got rng={rng}. Give one of them."
        )
    return sampler


def _say_who_proposes(
    study: optuna.Study, planned: SurrogateSampler | MovingBoxSampler | None, session: Session
) -> None:
    """Warn where a study goes on as it was begun, and its sampler would have it otherwise."""
    plan = session.proposer.plan
    drives = plan is not None and plan.kind != "sphere"
    if plan is None or drives != isinstance(planned, SurrogateSampler):
        return
    begun = "in boxes for a sampler" if drives else "as a planned search"
    _logger.warning(
        "study %r was begun %s and goes on so; its %s %s. Begin a new study to change that.",
        study.study_name,
        begun,
        type(study.sampler).__name__,
        "draws points evenly in them" if drives else "is asked for what the plan leaves open only",
    )


@contextlib.contextmanager
def _allow_stop(study: optuna.Study) -> Iterator[None]:
    """Let Optuna's callbacks call `study.stop()`, which it allows inside `Study.optimize` only."""
    study._thread_local.in_optimize_loop = True
    study._stop_flag = False
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False


def _call_back(study: optuna.Study, callbacks: Sequence[Callback], batch: Batch) -> bool:
    if callbacks:
        trials = study_trials(study)
        for candidate in batch.candidates:
            for callback in callbacks:
                callback(study, copy.deepcopy(trials[candidate.ticket.number]))  # the storage's own object
    return study._stop_flag
