"""What one `optimize` call decides, whatever the host: checks, plan, budget, executor, and what a study must agree on.

    Session(...) -> begin(what the study has recorded) -> run(host)

A host's own `optimize` is its signature, and what only its optimiser has: where the record is kept, and its callbacks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from surrogate_ax.checks import number, whole
from surrogate_ax.errors import ArgumentError, MismatchError, check_counts
from surrogate_ax.execution.batch_size import RECORDED, BatchSize, check_batch_size, largest, measure, recorded_size
from surrogate_ax.execution.budget import check_extent, check_overlap, stoppable_steps, why_whole
from surrogate_ax.execution.early_stopping import EarlyStopping, check_checkpoints
from surrogate_ax.execution.executor import Executor, Synchronous
from surrogate_ax.execution.loop import Callback, Host, run
from surrogate_ax.execution.pipelined import Pipelined
from surrogate_ax.execution.progress import ProgressBar
from surrogate_ax.execution.recorded_search import begin_record, read_plan, search_facts
from surrogate_ax.execution.records import SearchStatus
from surrogate_ax.execution.stops import stoppable
from surrogate_ax.execution.warm_start import Earlier, check_same, source_of, stored_seeds
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.basic import fixed
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.plan import plan
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.policies.sources import Source
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Objective

_logger = logging.getLogger(__name__)


class Session:
    """One run of a search, checked before anything is written.

    Args:
        generator: makes the outputs.
        objective: judges them.
        rng: seed of seeds, draws and policy.
        total_trials: ended trials wanted in the study.
        budget: in its place, what the search may cost in whole outputs.
        batch_size: items of one generator call, at most; "auto" for those that `measured` finds.
        space: a box of one's own, fixed for the study.
        policy: where to search, in place of `space`.
        conditions: searched call arguments.
        checkpoints: numbers of steps after which estimates are scored and trajectories are stopped.
        keep_fraction: share of each batch that goes on behind a checkpoint; without it the host says which stop.
        overlap: whether a batch is scored while the next one is generated.
        catch: exceptions of generator and score that fail single trials.
        device: where latents are made.
        axes: K, where the host's parameters are fixed already.
        host_proposes: whether the host's optimiser is to propose in a planned search, which then gives it boxes.
        planned_trials: trials over which a planned search goes from exploring to refining; `total_trials` if left out.
        workers: how many work on the study at once.
        warm: earlier searches that a planned one learns from.

    Attributes:
        batch_size: items of one generator call, at most; where it is "auto", from `measured` on.
        sources: what is taken over of earlier searches, from `begin` on: as the study has recorded it, or new.

    Raises:
        ArgumentError: space and policy together, both or neither of total_trials and budget, a count below 1, a budget
            beside parts that it plans, checkpoints outside the trajectory or together with overlap.
        UnsupportedError: checkpoints for a generator that cannot stop between steps.
        MismatchError: a space of another prior than the generator's.
    """

    def __init__(
        self,
        generator: Generator,
        objective: Objective,
        *,
        rng: int,
        total_trials: int | None = None,
        budget: int | None = None,
        batch_size: BatchSize = 16,
        space: SurrogateSpace | None = None,
        policy: Policy | None = None,
        conditions: Mapping[str, Range | Choice] | None = None,
        checkpoints: Sequence[int] = (),
        keep_fraction: float | None = None,
        overlap: bool = False,
        catch: tuple[type[Exception], ...] = (Exception,),
        device: torch.device | str = "cpu",
        axes: int | None = None,
        host_proposes: bool = False,
        planned_trials: int | None = None,
        workers: int = 1,
        warm: Sequence[Earlier] = (),
    ) -> None:
        self.evaluator = Evaluator(generator, objective, catch=catch)
        check_batch_size(batch_size)
        check_counts(workers=workers)
        whole(rng, "rng")
        parts = {"space": space, "policy": policy, "checkpoints": tuple(checkpoints), "keep_fraction": keep_fraction}
        check_extent(total_trials, budget, **parts)
        check_space(space, policy, generator)
        if warm and (space is not None or policy is not None):
            raise ArgumentError("warm: a planned search learns from earlier ones; leave space and policy out, or warm.")
        self.sources: list[Source] = [source_of(earlier, generator) for earlier in warm]
        self.stored: Bank = stored_seeds(self.sources, [earlier.record for earlier in warm], generator)
        self.conditions = check_searched(conditions or {})
        if checkpoints:
            check_checkpoints(generator, checkpoints, keep_fraction, self.conditions)
        if overlap:
            check_overlap(checkpoints)
        self._facts = search_facts(objective, space=space, policy=policy, conditions=self.conditions, rng=rng)
        self._rng, self._device, self._overlap = rng, device, overlap
        self._auto, self.batch_size = isinstance(batch_size, str), 1 if isinstance(batch_size, str) else batch_size
        self._own_policy = fixed(space) if space else policy
        self._budget, self._note = budget, ""
        self._cohort_size: int | None = None  # that of a batch
        self.total_trials = total_trials or budget or 0
        self._checkpoints, self._keep_fraction = tuple(checkpoints), keep_fraction
        self.proposer: Proposer  # from `begin` on
        self._plan = plan(
            budget or planned_trials or total_trials or 0,
            dim=generator.prior.dim,
            axes=axes,
            proposes=host_proposes,
            workers=workers,
            noisy=any(metric.noise is not None for metric in objective.metrics),
            steps=None if budget is None or overlap else stoppable_steps(generator, objective, self.conditions),
        )

    def begin(
        self,
        recorded: Mapping[str, Any] | None,
        *,
        study: str,
        inside: bool = False,
        sources: Sequence[Source] = (),
    ) -> dict[str, Any]:
        """The record of the search: as its first trial has begun it, or new. `executor` and `run` come after it.

        Args:
            recorded: what the study has recorded, None where no trial stands.
            study: what it is called, for messages.
            inside: whether this run goes on inside a box that the search has come to, whatever has moved it and with
                whatever seed.
            sources: what the study has recorded of earlier searches.

        Raises:
            MismatchError: another generator, space, objective or conditions (named).
        """
        facts = {k: v for k, v in self._facts.items() if not (inside and recorded and k in ("space", "rng"))}
        record = begin_record(recorded, facts, self.evaluator.generator, self._plan, study=study)
        self._plan = read_plan(record["plan"], study)
        if recorded is not None:
            check_same(self.sources, sources, study=study)
            self.sources = list(sources)
        if self._budget is not None:
            spent = self._plan.spend(self._budget, stops=not self._overlap)
            self.total_trials, self._checkpoints, self._keep_fraction = spent
            self._cohort_size = self._plan.cohort_size
        self.proposer = self._make_proposer()
        planned = self._own_policy is None
        return ({"search": self.proposer.to_json()} if planned else {}) | record  # as it was begun

    def measured(self, record: Mapping[str, Any], *, study: str) -> dict[str, Any]:
        """The record with the batch size in it, where that is to be measured; the generator runs for that.

        Args:
            record: of `begin`.
            study: what it is called, for messages.

        Raises:
            GenerationError: the generator raises for a plain draw, or one output does not fit in memory.
        """
        if not self._auto:
            return dict(record)
        known = recorded_size(record, study)
        if known is None:
            most = largest(self.proposer.plan, self.total_trials)
            found = measure(
                self.evaluator.generator, most, rng=self._rng, conditions=self.conditions, device=self._device
            )
            known, self._note = found.size, f"{study}, {found}."
            _logger.info(self._note)
        self.batch_size = known
        return {**record, RECORDED: known}

    def _make_proposer(self) -> Proposer:
        """Where the search goes on.

        Raises:
            ArgumentError: a prior that is too small for the plan.
        """
        total, rng, prior = self.total_trials, self._rng, self.evaluator.generator.prior
        if self._own_policy is not None:
            return Proposer(self._own_policy, total, rng)
        return Proposer.planned(
            self._plan,
            prior,
            total_trials=total,
            rng=rng,
            conditions=self.conditions,
            sources=self.sources,
            device=self._device,
        )

    def executor(self, host: Host[Any], *, in_generations: bool = False) -> Executor:
        """How candidates are evaluated.

        Args:
            host: told of estimates, and asked which trajectories to stop.
            in_generations: whether the host's optimiser needs a whole batch told before it proposes the next, so that
                survivors of a batch do not wait for those of later ones. A planned search asks no optimiser.
        """
        if self._overlap:
            return Pipelined(self.evaluator)
        if not self._checkpoints:
            return Synchronous(self.evaluator)
        return EarlyStopping(
            host,
            self.evaluator,
            self._checkpoints,
            batch_size=self.batch_size,
            merge=self._budget is not None or not in_generations,
            keep_fraction=self._keep_fraction,
            cohort_size=self._cohort_size,
        )

    def run(
        self,
        host: Host[Any],
        *,
        timeout: float | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        status: SearchStatus | None = None,
        in_generations: bool = False,
    ) -> None:
        """Search until the study has as many ended trials as are wanted.

        Args:
            host: an optimiser, adapted.
            timeout: seconds after which no further batch is begun.
            callbacks: called after every batch that has ended; one that returns True ends the run.
            progress: show a bar with rate, best value and time left.
            status: what the study holds, said above the bar.
            in_generations: as for `executor`.
        """
        if timeout is not None and number(timeout, "timeout", finite=False) != timeout:
            raise ArgumentError(f"timeout: expected seconds, got {timeout}.")
        objective, notes = self.evaluator.objective, [self._note] if self._note else []
        if self._budget is not None and not self._checkpoints:
            why = why_whole(self.evaluator.generator, objective, self.conditions, overlap=self._overlap)
            notes.append(f"The budget is spent on whole outputs: {why or 'it was begun so'}.")
            _logger.warning(notes[-1])
        bar = ProgressBar(objective, host.history(), self.total_trials, status, notes=notes) if progress else None
        with bar or contextlib.nullcontext(), stoppable():
            run(
                host,
                self.proposer,
                self.executor(host, in_generations=in_generations),
                batch_size=self.batch_size,
                timeout=timeout,
                callbacks=[*([bar] if bar else []), *callbacks],
            )


def check_space(space: SurrogateSpace | None, policy: Policy | None, generator: Generator) -> None:
    """Refuse a space beside a policy, or one that was made under another prior than the generator's."""
    if space is not None and policy is not None:
        raise ArgumentError("space, policy: expected at most one of them, got both; `fixed(space)` is a policy.")
    if space is not None and space.bank.prior.fingerprint != generator.prior.fingerprint:
        raise MismatchError(
            f"space: made under prior {space.bank.prior.fingerprint}, the generator's is {generator.prior.fingerprint}."
        )
