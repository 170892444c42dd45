"""The best few outputs of a study that differ, remade from their recipes; and a study's trials to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore

from surrogate_ax.analysis.frame import trials_frame as record_frame
from surrogate_ax.analysis.looks import Features
from surrogate_ax.analysis.picks import Portfolio, remake
from surrogate_ax.analysis.portfolio import MIN_DISTANCE
from surrogate_ax.analysis.summary import Summary
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, attributes
from surrogate_ax_optuna.record import read_record
from surrogate_ax_optuna.seeds import Seeds
from surrogate_ax_optuna.source import study_source
from surrogate_ax_optuna.trials import study_trials

if TYPE_CHECKING:
    import pandas
    from PIL.Image import Image


def portfolio(
    study: optuna.Study,
    generator: Generator,
    *,
    k: int = 6,
    max_cosine: float = 0.9,
    min_distance: float = MIN_DISTANCE,
    features: Features | None = None,
    previews: Any = None,
    objective: Objective | None = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
    **overrides: Any,
) -> Portfolio:
    """The best k trials whose latents and outputs differ pairwise, remade in one generator call.

    Args:
        study: a study of `optimize`, or of trials with `suggest_latents` and `record`.
        generator: the one that it was made with.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents, in (0, 1].
        min_distance: limit on the distance of what is seen of any two outputs, 1 being that of two plain draws; 0
            compares latents only.
        features: n outputs -> (n, F) numbers in which they are compared, such as an embedding; colours, edges and
            spectra if left out.
        previews: the artifact store that outputs were uploaded to, which are compared in place of outputs made
            again; without it, up to 4 k outputs are made to find k that differ.
        objective: ranks what was measured; left out, the one that `optimize` has recorded.
        seeds: where stored seeds are kept, if not where the study keeps them.
        device: where latents are made.
        **overrides: call arguments to change, such as `num_inference_steps=50`; recorded in the recipes.

    Returns:
        Picks, best first; fewer than k when no more differ enough.

    Raises:
        MismatchError: the study has no record of its metrics, or was made with another generator.
        ArgumentError: k or the limit out of range, or no successful trial.
        SeedError: a stored seed is not where it should be.
    """
    record = read_record(study, objective, seeds=seeds)
    trials = {trial.number: trial for trial in study_trials(study)}
    source = study_source(study, objective=record.history.objective, previews=previews, seeds=seeds)
    kept = None if previews is None else source.preview
    return remake(
        record,
        generator,
        title=study.study_name,
        k=k,
        max_cosine=max_cosine,
        min_distance=min_distance,
        features=features,
        kept=kept,
        trials=trials,
        device=device,
        **overrides,
    )


def contact_sheet(study: optuna.Study, generator: Generator, *, k: int = 12, **options: Any) -> Image:
    """The best k that differ, side by side, each with its values.

    Args:
        study: as for `portfolio`.
        generator: the one that it was made with.
        k: how many, at most.
        **options: as for `portfolio`.

    Returns:
        A picture of Pillow's, to `save`.

    Raises:
        UnsupportedError: outputs that are no pictures.
        SurrogateError: as `portfolio`.
    """
    return portfolio(study, generator, k=k, **options).contact_sheet()


def trials_frame(
    study: optuna.Study, *, previews: Any = None, objective: Objective | None = None, seeds: Seeds = None
) -> pandas.DataFrame:
    """The ended trials as a table of pandas: metrics, searched call arguments, state, round, NFE, picture.

    Args:
        study: of `optimize`, of `mirror`, or of trials with `suggest_latents` and `record`.
        previews: the artifact store, a folder, that `optimize` has uploaded pictures to.
        objective: names the metrics; left out, the one that the study has recorded.
        seeds: where stored seeds are kept, if not where the study keeps them.

    Raises:
        MismatchError: the study has no record of its metrics.
        MissingExtraError: pandas is not installed.
    """
    return record_frame(read_record(study, objective, seeds=seeds), _pictures(study, previews))


def summary(study: optuna.Study, *, previews: Any = None, objective: Objective | None = None) -> Summary:
    """What a study holds: a line, and in a notebook the pictures of its best trials.

    Args:
        study: as for `trials_frame`.
        previews: as for `trials_frame`.
        objective: as for `trials_frame`.

    Raises:
        MismatchError: the study has no record of its metrics.
    """
    return Summary(study.study_name, read_record(study, objective), _pictures(study, previews))


def _pictures(study: optuna.Study, store: Any) -> dict[int, str]:
    """Files of the pictures in a folder, by number of the trial."""
    if not isinstance(store, FileSystemArtifactStore):
        return {}
    named = ((trial.number, attributes(trial).get(PREVIEW_ATTR)) for trial in study_trials(study))
    files = {number: Path(store._base_path) / Path(str(name)).name for number, name in named if name}
    return {number: str(file) for number, file in files.items() if file.is_file()}
