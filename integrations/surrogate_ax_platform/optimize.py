"""`configure_experiment` and `optimize`: an Ax client searches the outputs of a generator, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ax.api.client import Client
from ax.generation_strategy.generation_strategy import GenerationStrategy

from surrogate_ax.bank import draw_entropy
from surrogate_ax.checkpoints import Checkpoints, check_checkpoints
from surrogate_ax.conditions import Choice, Range
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.evaluation import Evaluator
from surrogate_ax.generator import Generator
from surrogate_ax.loop import Batch, Direct, Line, check_counts, run
from surrogate_ax.objective import Objective
from surrogate_ax.overlap import Overlapped, check_overlap
from surrogate_ax.plan import Plan, plan
from surrogate_ax.policies import Policy, fixed
from surrogate_ax.recipe import check_fingerprint
from surrogate_ax.space import SurrogateSpace
from surrogate_ax_platform import records
from surrogate_ax_platform.host import AxHost
from surrogate_ax_platform.search_space import check_client, objective_text, optimization, parameters
from surrogate_ax_platform.snapshot import check_snapshot
from surrogate_ax_platform.strategy import Model, generation_strategy


def configure_experiment(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    seeds: int = 8,
    space: SurrogateSpace | None = None,
    conditions: Mapping[str, Range | Choice] | None = None,
    model: Model | GenerationStrategy = "coefficients",
    name: str = "surrogate",
    rng: int = 0,
) -> None:
    """Give a client the box, the metrics and a generation strategy.

    Args:
        client: a new client.
        generator: makes the outputs.
        objective: its optimised metrics become Ax's objective, bounded ones outcome constraints, the others tracked.
        seeds: K, the axes of the boxes.
        space: the box to search, in place of `seeds`.
        conditions: searched call arguments, `{"guidance_scale": Range(1, 7, step=0.5)}`.
        model: what proposes: "coefficients", "ax" (see `generation_strategy`), or a strategy of your own.
        name: of the experiment.
        rng: seed of the quasi-random points.

    Raises:
        ArgumentError: K out of range, or conditions or metric names that Ax cannot hold.
        MismatchError: the client has an experiment already, or the space was made under another prior.
    """
    if client._maybe_experiment is not None:
        raise MismatchError(
            f"client: it has the experiment {client._experiment.name!r} already. Use a new Client, or go on with "
            "`optimize`."
        )
    check_prior(space, generator)
    axes = seeds if space is None else space.axes
    if not 2 <= axes <= generator.prior.dim:
        raise ArgumentError(f"seeds: expected K from 2 to D = {generator.prior.dim}, got {axes}.")
    wanted, config = parameters(axes, conditions), optimization(objective)
    client.configure_experiment(parameters=wanted, name=name)
    bounds = [constraint.expression for constraint in config.outcome_constraints]
    client.configure_optimization(objective=objective_text(objective), outcome_constraints=bounds)
    tracked = [metric.name for metric in objective.metrics if metric.goal == "track"]
    if tracked:
        client.configure_tracking_metrics(tracked)
    strategy = model
    if not isinstance(strategy, GenerationStrategy):
        strategy = generation_strategy(strategy, seed=draw_entropy(rng, "sobol") % 2**31)
    client.set_generation_strategy(strategy)


def optimize(
    client: Client,
    generator: Generator,
    objective: Objective,
    *,
    total_trials: int,
    rng: int,
    batch_size: int = 4,
    space: SurrogateSpace | None = None,
    policy: Policy | None = None,
    checkpoints: Sequence[int] = (),
    overlap: bool = False,
    timeout: float | None = None,
    callbacks: Sequence[Callable[[Batch], bool | None]] = (),
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Path | str | None = None,
    snapshot: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> None:
    """Search a generator's outputs with the client's generation strategy, one generator call a batch.

    Without a space half the budget are plain draws, the rest is the box over the best of them (O3).
    With one, its seeds are evaluated first, then the box is searched.

    Args:
        client: configured by `configure_experiment`, or loaded; run it again to go on.
        generator: makes the outputs.
        objective: judges them.
        total_trials: ended trials wanted in the experiment, earlier ones and failed ones included.
        rng: seed of seeds, draws and policy; the client has its own.
        batch_size: items of one generator call, at most.
        space: a box of one's own, fixed for the experiment.
        policy: where to search, in place of `space`; see `surrogate_ax.policies`.
        checkpoints: numbers of steps after which estimates are scored and the client's early stopping strategy stops
            rows, `(3,)`. The generator must be steppable; set the strategy with `client.set_early_stopping_strategy`.
        overlap: score a batch in a thread while the next one is generated, which is therefore asked for before the
            last one is told. Rounds still wait for all of their scores, so it gains where a round has several batches.
            A score in pure Python needs a process as well, see `SubprocessScore`.
        timeout: seconds after which no further batch is begun.
        callbacks: called with every evaluated batch, as `surrogate_ax_optuna.mirror`; True from one ends the run.
        catch: exceptions of generator and score that fail single trials; `()` lets them through.
        previews: a folder; every output's picture is written there before its trial is told.
        snapshot: a JSON file, kept up to date by `save_client`.
        device: where latents are made: the generator's.

    Raises:
        ArgumentError: space and policy together, a count below 1, checkpoints outside the trajectory, or checkpoints
            together with overlap.
        UnsupportedError: checkpoints for a generator that cannot stop between steps.
        MismatchError: the client was begun with another generator, space, objective or K (named).
        GenerationError: everything fails; the first reason is given.

    Reference: arXiv 2509.23800 (surrogate spaces).
    """
    evaluator = Evaluator(generator, objective, catch=catch)
    check_counts(total_trials=total_trials, batch_size=batch_size)
    if space is not None and policy is not None:
        raise ArgumentError("space, policy: expected at most one of them, got both; `fixed(space)` is a policy.")
    check_prior(space, generator)
    if checkpoints:
        check_checkpoints(generator, checkpoints)
    if overlap:
        check_overlap(checkpoints)
    axes = check_client(client, objective)
    where = space.fingerprint if space else "by a policy" if policy else "planned"
    begun = _begun(client, generator, objective, where, axes, total_trials)
    if snapshot is not None:
        check_snapshot(client, snapshot)
    if policy is None:
        policy = fixed(space) if space else Plan(**begun["plan"]).policy(generator.prior, device=device)
    tensors = None if space is None else space.bank.tensors
    host = AxHost(client, generator, objective, rng=rng, previews=previews, snapshot=snapshot, tensors=tensors)
    line: Line = Overlapped(evaluator) if overlap else Direct(evaluator)
    if checkpoints:
        line = Checkpoints(host, evaluator, checkpoints, batch_size=batch_size)
    client._experiment._properties[records.EXPERIMENT] = begun  # after every check, so that a refusal leaves no trace
    client._save_experiment_to_db_if_possible(experiment=client._experiment)
    run(
        host,
        policy,
        evaluator,
        total_trials=total_trials,
        batch_size=batch_size,
        rng=rng,
        timeout=timeout,
        callbacks=callbacks,
        line=line,
    )


def check_prior(space: SurrogateSpace | None, generator: Generator) -> None:
    """Refuse a space that was made under another prior than the generator's."""
    if space is not None and space.bank.prior.fingerprint != generator.prior.fingerprint:
        raise MismatchError(
            f"space: made under prior {space.bank.prior.fingerprint}, the generator's is {generator.prior.fingerprint}."
        )


def _begun(
    client: Client, generator: Generator, objective: Objective, where: str, axes: int, total_trials: int
) -> dict[str, Any]:
    """What the experiment is made with: as it was begun by its first ended trial; refuses what differs from that."""
    experiment = client._experiment
    facts: dict[str, Any] = {"metrics": objective.describe(), "space": where}
    recorded: dict[str, Any] | None = experiment._properties.get(records.EXPERIMENT)
    ended = records.ended_trials(experiment)
    for trial in ended:
        records.read_recipe(trial)  # refuses what somebody else has told
    _check_values(client)
    if recorded is None or not ended:
        # As if conditions were searched: the client's own strategy is to propose, in one long round.
        planned = plan(total_trials, dim=generator.prior.dim, axes=axes, searched=True).describe()
        return {"version": records.VERSION, "generator": dict(generator.fingerprint), "plan": planned, **facts}
    if recorded.get("version") != records.VERSION:
        raise MismatchError(
            f"client: made by version {recorded.get('version')} of this record, this release reads {records.VERSION}."
        )
    check_fingerprint(recorded["generator"], generator, what="client")
    differing = [f"{name}: {recorded[name]} -> {fact}" for name, fact in facts.items() if recorded[name] != fact]
    if differing:
        raise MismatchError(
            f"client: its experiment was begun with other parts. {'; '.join(differing)}. Use a new Client."
        )
    return recorded


def _check_values(client: Client) -> None:
    """Refuse an experiment that somebody told NaN, which breaks Ax's models and analyses."""
    for row in client._experiment.lookup_data().df.itertuples():
        if not math.isfinite(row.mean):
            raise MismatchError(
                f"client: trial {row.trial_index} has {row.metric_name} = {row.mean}, which Ax accepts and later fails "
                "on. Start from a snapshot before it; `optimize` marks such trials abandoned itself."
            )
