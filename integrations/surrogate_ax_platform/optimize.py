"""`configure_experiment` and `optimize`: an Ax client searches the outputs of a generator, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ax.api.client import Client
from ax.generation_strategy.generation_strategy import GenerationStrategy

from surrogate_ax.errors import ArgumentError, MismatchError, check_counts
from surrogate_ax.execution.batch_size import BatchSize
from surrogate_ax.execution.loop import Callback
from surrogate_ax.execution.records import keep_seeds
from surrogate_ax.execution.session import Session, check_space
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import Policy
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform import records
from surrogate_ax_platform.conditions import searched_conditions, with_conditions
from surrogate_ax_platform.experiment import (
    PLANNED,
    known_space,
    proposes,
    record_search,
    recorded_rng,
    recorded_search,
)
from surrogate_ax_platform.host import AxHost
from surrogate_ax_platform.record_checks import check_records
from surrogate_ax_platform.search_space import check_client, objective_text, optimization, parameters
from surrogate_ax_platform.seeds import ADVICE, Seeds, client_seeds, remember_seeds
from surrogate_ax_platform.snapshot import check_snapshot
from surrogate_ax_platform.sources import read_sources, write_sources
from surrogate_ax_platform.strategy import Model, generation_strategy, renew_strategy
from surrogate_ax_platform.warm import read_earlier


def configure_experiment(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    seeds: int = 8,
    space: SurrogateSpace | None = None,
    conditions: Mapping[str, Range | Choice] | None = None,
    model: Model | GenerationStrategy | None = None,
    total_trials: int | None = None,
    name: str = "surrogate",
    rng: int = 0,
    warm: Sequence[Any] = (),
) -> None:
    """Give a client the box, the metrics and a generation strategy, and record the search that it is to make.

    From then on `optimize`, `client.run_trials` (after `configure_runner`) and a loop of your own over
    `client.get_next_trials` and `client.complete_trial` (with `trial_function`) are the same search.

    Args:
        client: a new client.
        generator: makes the outputs.
        objective: its optimised metrics become Ax's objective, bounded ones outcome constraints, the others tracked.
        seeds: K, the axes of the boxes.
        space: the box to search, in place of a planned search: its seeds first, then the model proposes in it.
        conditions: searched call arguments, `{"guidance_scale": Range(1, 7, step=0.5)}`.
        model: what proposes in the box: "coefficients", "ax" (see `generation_strategy`), or a strategy of your own.
            Named, it also drives a search without space and policy; left out, "coefficients" stands ready for
            spaces and policies that leave something to propose.
        total_trials: how many trials a search that is not begun by `optimize` is planned for; it goes on after them.
            100 if left out.
        name: of the experiment.
        rng: seed of seeds, draws and proposals.
        warm: earlier searches that a planned one learns from, as for `optimize`.

    Raises:
        ArgumentError: K out of range, conditions or metric names that Ax cannot hold, or earlier searches beside a
            space.
        MismatchError: the client has an experiment already, or the space was made under another prior.
    """
    if client._maybe_experiment is not None:
        raise MismatchError(
            f"client: it has the experiment {client._experiment.name!r} already. Use a new Client, or go on with "
            "`optimize`."
        )
    check_space(space, None, generator)
    axes = seeds if space is None else space.axes
    if not 2 <= axes <= generator.prior.dim:
        raise ArgumentError(f"seeds: expected K from 2 to D = {generator.prior.dim}, got {axes}.")
    wanted, config = parameters(axes, conditions), optimization(objective)
    strategy = generation_strategy(model or "coefficients") if not isinstance(model, GenerationStrategy) else model
    check_counts(total_trials=PLANNED if total_trials is None else total_trials)
    earlier = read_earlier(warm)
    client.configure_experiment(parameters=wanted, name=name)
    session = Session(
        generator,
        objective,
        rng=rng,
        total_trials=PLANNED if total_trials is None else total_trials,
        space=space,
        axes=axes,
        host_proposes=model is not None,
        conditions=searched_conditions(client),
        warm=earlier,
    )
    record = session.begin(None, study="client: its experiment")
    bounds = [constraint.expression for constraint in config.outcome_constraints]
    client.configure_optimization(objective=objective_text(objective), outcome_constraints=bounds)
    tracked = [metric.name for metric in objective.metrics if metric.goal == "track"]
    if tracked:
        client.configure_tracking_metrics(tracked)
    client._experiment._properties[records.CHOSEN] = model is not None
    store = client_seeds(client)
    if space is not None and store is not None:
        keep_seeds(store, space.bank, advice=ADVICE)
    keep_seeds(store, session.stored, advice=ADVICE)
    write_sources(client._experiment, session.sources)
    record_search(client, record, prior=generator.prior, rng=rng, space=space)
    client.set_generation_strategy(strategy)


def optimize(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    rng: int | None = None,
    total_trials: int | None = None,
    budget: int | None = None,
    batch_size: BatchSize = 4,
    space: SurrogateSpace | None = None,
    policy: Policy | None = None,
    checkpoints: Sequence[int] = (),
    keep_fraction: float | None = None,
    overlap: bool = False,
    timeout: float | None = None,
    callbacks: Sequence[Callback] = (),
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Path | str | None = None,
    snapshot: Path | str | None = None,
    seeds: Seeds = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
    warm: Sequence[Any] = (),
) -> None:
    """Search a generator's outputs through a client, one generator call a batch.

    Without a space the search is planned by `surrogate_ax.plan`: plain draws, then rounds of proposals that learn
    from every trial, conditions among them where these are searched. Where `configure_experiment` was given a model, or
    a client came with a generation strategy of its own, the strategy proposes every point after the draws, in a box
    that moves (`moving_boxes`). With a space, its seeds are evaluated first, then the strategy searches the box; with a
    policy, the strategy proposes what its rounds leave to it.

    Trials that a loop by hand has left running are evaluated first, and those that were told by hand are taken in where
    they lie in a box; what cannot be is named in the log.

    Args:
        client: configured by `configure_experiment`, or loaded; run it again to go on.
        generator: makes the outputs.
        objective: judges them.
        rng: seed of seeds, draws and policy; that of `configure_experiment` if left out. The client has its own.
        total_trials: ended trials wanted in the experiment, earlier ones and failed ones included.
        budget: in its place, what the search may cost in whole outputs. Where the generator can stop between steps
            (`Steppable`) and one metric is optimised, estimates are scored after three eighths of the steps and the
            best quarter of each round goes on: about twice as many trials at equal cost, most of them stopped early.
        batch_size: items of one generator call, at most. "auto" measures it on plain draws: larger ones, until
            they do not fit in memory or give less than a tenth more outputs a second. The study keeps what was found,
            for runs that go on and for other workers.
        space: a box of one's own, fixed for the experiment; that of `configure_experiment` if left out.
        policy: where to search, in place of `space`; see `surrogate_ax.policies`.
        checkpoints: numbers of steps after which estimates are scored and the client's early stopping strategy stops
            rows, `(3,)`. The generator must be steppable; set the strategy with `client.set_early_stopping_strategy`.
        keep_fraction: share of each batch that goes on behind a checkpoint, in place of that strategy.
        overlap: score a batch in a thread while the next one is generated, which is therefore asked for before the
            last one is told. Rounds still wait for all of their scores, so it gains where a round has several batches.
            A score in pure Python needs a process as well, see `SubprocessScore`.
        timeout: seconds after which no further batch is begun.
        callbacks: called with every evaluated batch, as `surrogate_ax_optuna.mirror`; True from one ends the run.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: a folder; every output's picture is written there before its trial is told.
        snapshot: a JSON file, kept up to date by `save_client`.
        seeds: a folder for stored seeds of a space; beside the snapshot, or in memory, if left out. Ax's SQL storage
            needs it.
        progress: show a bar with rate, best value and time left.
        device: where latents are made: the generator's.
        warm: earlier searches of the same family of generators that a planned search learns from: clients, files of
            snapshots, or what `read_record` of either host gives. Prompt, steps, score and direction may differ: how
            much each is worth is learnt. Their best are evaluated in place of half of the first draws. What is taken
            over is recorded in the experiment, which goes on without them.

    Raises:
        ArgumentError: space and policy together, both or neither of total_trials and budget, a count below 1, a
            budget beside parts that it plans, checkpoints outside the trajectory or together with overlap, stored
            seeds without a place to keep them, or earlier searches beside a space or policy or with fewer than four
            results.
        UnsupportedError: checkpoints for a generator that cannot stop between steps.
        MismatchError: the client was begun with another generator, space, objective or K (named), or a search without
            a space with another `rng` or other earlier searches, or an earlier search has latents that mean something
            else.
        SeedError: the stored seeds of an earlier search are not found.
        GenerationError: everything fails; the first reason is given.
        StorageError: a stored seed could not be written.

    Reference: arXiv 2509.23800 (surrogate spaces).
    """
    axes, searched = check_client(client, objective), searched_conditions(client)
    check_records(client._experiment)
    store = client_seeds(client, seeds, snapshot=snapshot)
    rng = recorded_rng(client) if rng is None else rng
    if space is None and policy is None:
        space = known_space(client, generator.prior, store)
    renew_strategy(client)
    session = Session(
        generator,
        objective,
        rng=rng,
        total_trials=total_trials,
        budget=budget,
        batch_size=batch_size,
        space=space,
        policy=policy,
        checkpoints=checkpoints,
        keep_fraction=keep_fraction,
        overlap=overlap,
        catch=catch,
        device=device,
        axes=axes,
        conditions=searched,
        host_proposes=proposes(client),
        warm=read_earlier(warm),
    )
    known, sources = with_conditions(recorded_search(client), searched), read_sources(client._experiment)
    if known is None and sources and not warm:  # configured with them, and no trial yet
        session.sources = sources
    record = session.begin(known, study="client: its experiment", sources=sources)
    if snapshot is not None:
        check_snapshot(client, snapshot)
    if space is not None:
        keep_seeds(store, space.bank, advice=ADVICE)
    keep_seeds(store, session.stored, advice=ADVICE)
    record = session.measured(record, study="client: its experiment")
    write_sources(client._experiment, session.sources)
    host = AxHost(client, generator, objective, rng=rng, previews=previews, snapshot=snapshot, seeds=store)
    remember_seeds(client, store)
    record_search(
        client, record, prior=generator.prior, rng=rng, space=space
    )  # after every check, so that what is refused leaves no trace
    found = records.status(client)
    session.run(host, timeout=timeout, callbacks=callbacks, progress=progress, status=found)
