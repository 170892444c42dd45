"""Studies for a search: made from an objective in one line, and begun by whoever asks or evaluates the first trial."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from surrogate_ax.errors import UnsupportedError
from surrogate_ax.execution.recorded_search import begin_record, search_facts
from surrogate_ax.execution.records import keep_seeds
from surrogate_ax.execution.warm_start import source_of, stored_seeds
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.policies.plan import Plan, plan
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.policies.sources import Source
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import STUDY_ATTR, readable, set_study_attribute, study_attributes
from surrogate_ax_optuna.search import SEARCH
from surrogate_ax_optuna.search_samplers import MovingBoxSampler, SurrogateSampler
from surrogate_ax_optuna.seeds import ADVICE, study_seeds
from surrogate_ax_optuna.warm import write_sources

ENDLESS = 100  # trials for which rounds are sized where nobody says how many there will be


def create_study(
    objective: Objective,
    *,
    sampler: BaseSampler | None = None,
    storage: BaseStorage | str | None = None,
    study_name: str | None = None,
    pruner: BasePruner | None = None,
    load_if_exists: bool = True,
) -> optuna.Study:
    """A study for an objective: a direction and a name for each metric to optimise, and the planned search.

    Args:
        objective: says what is optimised.
        sampler: proposes; `SurrogateSampler()`, the planned search, if left out.
        storage: of Optuna, such as `sqlite("study.db")`; memory if left out.
        study_name: in the storage.
        pruner: for checkpoints; Optuna's own default if left out.
        load_if_exists: go on with a study of that name.

    Raises:
        StorageError: Optuna cannot read the study of that name.
    """
    study = optuna.create_study(
        storage=storage,
        sampler=sampler or SurrogateSampler(),
        pruner=pruner,
        study_name=study_name,
        directions=[StudyDirection[metric.goal.upper()] for metric in objective.optimised],
        load_if_exists=load_if_exists,
    )
    names = [metric.name for metric in objective.optimised]
    with readable(study):
        named = study.metric_names == names
    if not named:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of Optuna's since 3.2; the dashboard shows the names
            study.set_metric_names(names)
    return study


@dataclass(frozen=True)
class OwnGenerator:
    """What stands for a generator where a user's own function makes the outputs.

    Args:
        prior: the law of the latents.
    """

    prior: Prior

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What is known of it: its prior."""
        return {"prior": self.prior.fingerprint}

    def generate(self, z: Latents, conditions: Sequence[Mapping[str, Any]]) -> NoReturn:
        """Refused: the user's function does it."""
        raise UnsupportedError("generator: outputs of this search are made by a function of your own.")


def begin_search(
    study: optuna.Study,
    sampler: SurrogateSampler | MovingBoxSampler,
    generator: Generator,
    objective: Objective,
    conditions: Mapping[str, Range | Choice],
) -> None:
    """Record what a study's sampler needs to propose, or check that it was begun with the same.

    Args:
        study: the study.
        sampler: its sampler.
        generator: makes the outputs.
        objective: judges them.
        conditions: searched call arguments.

    Raises:
        MismatchError: it was begun with another generator, objective, conditions or seed (named).
    """
    recorded = study_attributes(study).get(STUDY_ATTR)
    rng = (recorded or {}).get("rng", 0) if sampler.seed is None else sampler.seed
    total, prior = sampler.n_trials, generator.prior
    planned = plan(
        total or ENDLESS,
        dim=prior.dim,
        proposes=isinstance(sampler, MovingBoxSampler),
        endless=total is None,
        noisy=any(metric.noise is not None for metric in objective.metrics),
    )
    facts = search_facts(objective, space=None, policy=None, conditions=conditions, rng=rng)
    record = begin_record(recorded, facts, generator, planned, study=f"study {study.study_name!r}")
    if recorded is not None and SEARCH in recorded:
        return
    sources = take_over(study, sampler, generator)
    begun = Plan.from_json(record["plan"])  # by an earlier release, which recorded no proposer, or by this run
    proposer = Proposer.planned(
        begun, prior, total_trials=total or ENDLESS, rng=rng, conditions=conditions, sources=sources
    )
    set_study_attribute(study, STUDY_ATTR, {SEARCH: proposer.to_json()} | record)


def take_over(study: optuna.Study, sampler: SurrogateSampler | MovingBoxSampler, generator: Generator) -> list[Source]:
    """Record what a sampler's earlier searches are worth to a new study."""
    earlier = sampler.warm if isinstance(sampler, SurrogateSampler) else []
    sources = [source_of(each, generator) for each in earlier]
    stored = stored_seeds(sources, [each.record for each in earlier], generator)
    keep_seeds(study_seeds(study), stored, advice=ADVICE)
    write_sources(study, sources)
    return sources
