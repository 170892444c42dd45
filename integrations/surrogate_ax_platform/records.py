"""What an experiment of ours records, in the metadata of its trials and the properties of the experiment.

Trials (run metadata): `surrogate:recipe` (written as soon as the point is known), `surrogate:round`, `surrogate:exact`
(number of a proposal of its round), `surrogate:result` (values of every metric, NFE, seconds,
the step where it was stopped, if it was), `surrogate:passed` (estimates of the metrics by checkpoint),
`surrogate:reason` (why it failed), `surrogate:order` (place among the ended trials), `preview` (file
name of its picture). What our nodes propose has recipe, round and exact number in the metadata of its generator run.
Experiment (properties): `surrogate:experiment` (what it was begun with), `surrogate:search` (what proposing needs
beside that: prior, seed, space), `surrogate:spaces` (the frame of each box, with its round), `surrogate:round` (the box
in play), `surrogate:gram` (inner products of stored seeds with the seeds of the frames), `surrogate:chosen` (whether
the user chose the generation strategy), `surrogate:seeds` (folder of stored seeds), `surrogate:warm` (what was taken
over of earlier searches).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ax.api.client import Client
from ax.core.experiment import Experiment
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus
from torch import Tensor

from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.batch_size import recorded_size
from surrogate_ax.execution.collector import collecting_later
from surrogate_ax.execution.records import EndedTrial, HistoryBuilder, SearchRecord, SearchStatus, result_record
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.media.previews import save_preview
from surrogate_ax.policies.history import History
from surrogate_ax.policies.noisy import settled_record
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective, recorded_objective
from surrogate_ax_platform.search_space import ROUND
from surrogate_ax_platform.seeds import Seeds, client_seeds

RECIPE, TRIAL_ROUND, PROPOSAL = "surrogate:recipe", "surrogate:round", "surrogate:exact"
SEARCH = "surrogate:search"
RESULT, REASON, ORDER = "surrogate:result", "surrogate:reason", "surrogate:order"
PASSED, PREVIEW = "surrogate:passed", "preview"
EXPERIMENT, SPACES, CURRENT = "surrogate:experiment", "surrogate:spaces", "surrogate:round"
GRAM, CHOSEN, WARM = "surrogate:gram", "surrogate:chosen", "surrogate:warm"
ENDED = (TrialStatus.COMPLETED, TrialStatus.EARLY_STOPPED, TrialStatus.ABANDONED)


def trials(experiment: Experiment) -> list[Trial]:
    """Trials of one arm, by index.

    Raises:
        MismatchError: a batch trial, which has several arms.
    """
    rows = []
    for index, trial in sorted(experiment.trials.items()):
        if not isinstance(trial, Trial) or trial.arm is None:
            raise MismatchError(f"client: trial {index} has not one arm, so something else made it. Use a new Client.")
        rows.append(trial)
    return rows


def trial_of(experiment: Experiment, index: int) -> Trial:
    """The trial of an index.

    Raises:
        MismatchError: a batch trial, which has several arms.
    """
    trial = experiment.trials[index]
    if not isinstance(trial, Trial):
        raise MismatchError(f"client: trial {index} has several arms, so something else made it.")
    return trial


def ended_trials(experiment: Experiment) -> list[Trial]:
    """Ended trials of the search in the order in which they ended, without those that were broken off."""
    ended = [trial for trial in trials(experiment) if trial.status in ENDED and RECIPE in trial.run_metadata]
    return sorted(ended, key=lambda trial: (trial.run_metadata.get(ORDER, math.inf), trial.index))


def next_order(experiment: Experiment) -> int:
    """The place among the ended trials of the next one to end."""
    return 1 + max((trial.run_metadata.get(ORDER, -1) for trial in experiment.trials.values()), default=-1)


def read_recipe(trial: Trial) -> Recipe:
    """The recipe of a trial.

    Raises:
        MismatchError: the trial has none, so something else made it.
    """
    if RECIPE not in trial.run_metadata:
        raise MismatchError(f"client: trial {trial.index} has no recipe, so the search knows nothing of it.")
    return Recipe.from_json(trial.run_metadata[RECIPE])


def noted(trial: Trial, key: str) -> Any:
    """What a trial, or the generator run that proposed it, has under a key; None where it has nothing."""
    found = trial.run_metadata.get(key)
    run = trial.generator_run if found is None else None
    return found if run is None else (run.gen_metadata or {}).get(key)


def round_of(trial: Trial) -> int | None:
    """The round of a trial, None where it lies in no box that the search has opened."""
    recorded, params = noted(trial, TRIAL_ROUND), parameters_of(trial)
    if recorded is not None or ROUND not in params:
        return None if recorded is None else int(recorded)
    number = int(params[ROUND])
    box = trial.experiment._properties.get(SPACES, {}).get(str(number))
    if box is None:
        return -1 - number if number < 0 else None
    return int(box.get("round", number))


def parameters_of(trial: Trial) -> dict[str, Any]:
    """The parameters of a trial's only arm."""
    return {} if trial.arm is None else dict(trial.arm.parameters)


def read_trial(trial: Trial, objective: Objective) -> EndedTrial:
    """An ended trial.

    Raises:
        MismatchError: the trial has no recipe.
    """
    kept, estimates = trial.run_metadata, dict[int, float]()
    if len(objective.optimised) == 1:
        name = objective.optimised[0].name
        estimates = {int(step): known[name] for step, known in kept.get(PASSED, {}).items() if name in known}
    number = round_of(trial)
    return EndedTrial(
        trial.index, read_recipe(trial), -1 if number is None else number, kept.get(RESULT, {}), estimates
    )


class ExperimentReader:
    """Reads the ended trials of an experiment, each once.

    Args:
        objective: ranks them.
        seeds: inner rows (D,) of stored seeds, by SHA-256.
    """

    def __init__(self, objective: Objective, seeds: Mapping[str, Tensor] | None = None) -> None:
        self._objective = objective
        self._builder = HistoryBuilder(objective, seeds)
        self._read: set[int] = set()

    @collecting_later()
    def read(self, experiment: Experiment, *, running: Sequence[int] = ()) -> History:
        """The history of all that has ended.

        Args:
            experiment: of ours.
            running: rounds of the running trials; the caller's own, or those to be reclaimed, are left out.
        """
        fresh = [trial for trial in ended_trials(experiment) if trial.index not in self._read]
        rows = [(trial.run_metadata.get(ORDER, math.inf), read_trial(trial, self._objective)) for trial in fresh]
        self._builder.extend(rows)
        self._read.update(trial.index for trial in fresh)
        return self._builder.build(running)

    @property
    def ended(self) -> Sequence[EndedTrial]:
        """What was read, in the order of ending."""
        return self._builder.trials


def read_record(client: Client, objective: Objective | None = None, *, seeds: Seeds = None) -> SearchRecord:
    """What a client holds.

    Args:
        client: with an experiment of `optimize`, or loaded.
        objective: ranks what was measured; left out, the one that the experiment has recorded.
        seeds: where stored seeds are kept, if not where the experiment keeps them.

    Raises:
        MismatchError: the client has no experiment of ours, or a trial of somebody else.
    """
    reader = ExperimentReader(objective or recorded(client), client_seeds(client, seeds))
    history = settled_record(reader.read(client._experiment))
    measured = recorded_size(client._experiment._properties.get(EXPERIMENT), "client: its experiment")
    return SearchRecord(reader.ended, history, status(client), measured)


def recorded(client: Client) -> Objective:
    """The objective that an experiment was begun with, without its score."""
    experiment = client._maybe_experiment
    record = None if experiment is None else experiment._properties.get(EXPERIMENT)
    if record is None:
        raise MismatchError(
            "client: it has no experiment of `configure_experiment`. Configure one, or load a snapshot."
        )
    return recorded_objective(record["metrics"])


def status(client: Client) -> SearchStatus:
    """How an experiment stands; what still runs was left by a process that died: a client belongs to one process.

    Args:
        client: with an experiment of `configure_experiment`.
    """
    ended = ended_trials(client._experiment)
    running = sum(trial.status.is_running for trial in client._experiment.trials.values())
    return SearchStatus(len(ended), sum(trial.status.is_abandoned for trial in ended), running, 0)


def result(ev: Evaluations, i: int, *, order: int, preview: str | None) -> dict[str, Any]:
    """What is noted of an evaluated trial.

    Args:
        ev: of its batch.
        i: its place there.
        order: its place among the ended trials.
        preview: file name of its picture.
    """
    written: dict[str, Any] = {ORDER: order} | ({} if preview is None else {PREVIEW: preview})
    return written | ({REASON: ev.reasons[i]} if ev.status[i] == "failed" else {RESULT: result_record(ev, i)})


def save_picture(trial: Trial, ev: Evaluations, i: int, folder: Path) -> str:
    """The name of a small file of item i's output, made in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return save_preview(ev.outputs[i], folder / f"trial{trial.index}", rate=ev.rate).name


def note_estimate(trial: Trial, step: int, values: Mapping[str, float]) -> None:
    """Note what a running trial was estimated at a checkpoint; it is stored with the trial's result."""
    trial.update_run_metadata({PASSED: {**trial.run_metadata.get(PASSED, {}), str(step): dict(values)}})


def end_of(trial: Trial, end: int | None) -> int | None:
    """The progression of a trial's result, which Ax takes for its value: behind every estimate, a dead process's too.

    Args:
        trial: running.
        end: the progression of results of this process, None where nothing is estimated.
    """
    passed = [int(step) + 1 for step in trial.run_metadata.get(PASSED, {})]
    return max([*passed, end or 0]) or None
