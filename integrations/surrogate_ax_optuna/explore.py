"""`explore`: an Optuna study that a person searches by choosing among pictures.

The trials are like any other's, with recipes; what was said is an attribute of the study. A trial's value is what the
person was found to like when the trial was told. `read_record`, and so reports and the best, have what was found since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import torch

from surrogate_ax.execution.asking import Mode, person
from surrogate_ax.execution.exploration import Exploration
from surrogate_ax.execution.recorded_search import begin_record, search_facts
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.policies.plan import plan
from surrogate_ax.policies.taste import AXES, taste
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import ANSWERS_ATTR, STUDY_ATTR, set_study_attribute, study_attributes
from surrogate_ax_optuna.host import OptunaHost
from surrogate_ax_optuna.search_space import check_directions
from surrogate_ax_optuna.seeds import Seeds, remember_seeds, study_seeds
from surrogate_ax_optuna.storage import reachable
from surrogate_ax_optuna.studies import ENDLESS


class StudyAnswers:
    """An answer book in an attribute of a study.

    Args:
        study: of the host.
        host: whose history the numbers are of.
    """

    def __init__(self, study: optuna.Study, host: OptunaHost) -> None:
        self._study, self._host = study, host

    def numbers(self) -> Sequence[int]:
        """The trials of the rows of the host's history."""
        return self._host.numbers

    def number_of(self, ticket: optuna.Trial) -> int:
        """Optuna's number of a trial."""
        return ticket.number

    def read(self) -> Any:
        """What was written last, None before that."""
        return study_attributes(self._study).get(ANSWERS_ATTR)

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep a record in place of the last."""
        set_study_attribute(self._study, ANSWERS_ATTR, dict(record))


def explore(
    study: optuna.Study,
    generator: Generator,
    *,
    objective: Objective | None = None,
    rng: int = 0,
    mode: Mode = "eight",
    batch_size: int = 8,
    previews: Any = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
) -> Exploration:
    """A search of a generator's outputs by a person's choices, kept in a study: `create_study(person(), ...)`.

    Args:
        study: to maximise one metric; with a study that `explore` made, it goes on from there.
        generator: makes the items.
        objective: `person(Metric("contrast", "at_least", 0.3), score=contrast)` searches what is liked among what keeps
            the bound; what is liked alone if left out.
        rng: seed of draws and proposals.
        mode: how one answers at first: "eight", any number of eight; "four", the best of four; "pairs", the better of
            two. The best so far is shown again in the latter.
        batch_size: items of one generator call, at most.
        previews: an Optuna artifact store for pictures of the outputs.
        seeds: where stored seeds are kept, as for `optimize`.
        device: where latents are made: the generator's.

    Returns:
        The exploration; `page` says what to show, `answer` takes what is liked, `close` ends it.

    Raises:
        ArgumentError: a study of other directions, or another mode.
        MismatchError: the study was begun with another generator or seed, or by something else (named).
        StorageError: the storage fails.
    """
    objective = objective or person()
    check_directions(study, objective)
    policy = taste(generator.prior, device=device)
    facts = search_facts(objective, space=None, policy=policy, conditions={}, rng=rng)
    planned = plan(ENDLESS, dim=generator.prior.dim, axes=AXES, endless=True)
    with reachable():
        recorded = study_attributes(study).get(STUDY_ATTR)
        record = begin_record(recorded, facts, generator, planned, study=f"study {study.study_name!r}")
        store = study_seeds(study, seeds)
        host = OptunaHost(study, generator, objective, rng=rng, previews=previews, seeds=store)
        remember_seeds(study, seeds)
        set_study_attribute(study, STUDY_ATTR, record)
        return Exploration(
            host,
            StudyAnswers(study, host),
            generator,
            objective=objective,
            rng=rng,
            mode=mode,
            batch_size=batch_size,
            device=device,
        )
