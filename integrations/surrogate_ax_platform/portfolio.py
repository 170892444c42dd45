"""The best few outputs of an experiment that differ, remade from their recipes; and its trials to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ax.api.client import Client

from surrogate_ax.analysis.frame import trials_frame as record_frame
from surrogate_ax.analysis.looks import Features
from surrogate_ax.analysis.picks import Portfolio, remake
from surrogate_ax.analysis.portfolio import MIN_DISTANCE
from surrogate_ax.analysis.summary import Summary
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform.records import PREVIEW, read_record
from surrogate_ax_platform.seeds import Seeds
from surrogate_ax_platform.source import client_source

if TYPE_CHECKING:
    import pandas
    from PIL.Image import Image


def portfolio(
    client: Client,
    generator: Generator,
    *,
    k: int = 6,
    max_cosine: float = 0.9,
    min_distance: float = MIN_DISTANCE,
    features: Features | None = None,
    previews: Path | str | None = None,
    objective: Objective | None = None,
    seeds: Seeds = None,
    device: torch.device | str = "cpu",
    **overrides: Any,
) -> Portfolio:
    """The best k trials whose latents and outputs differ pairwise, remade in one generator call.

    Args:
        client: with an experiment of `optimize`, or loaded.
        generator: the one that it was made with.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents, in (0, 1].
        min_distance: limit on the distance of what is seen of any two outputs, 1 being that of two plain draws; 0
            compares latents only.
        features: n outputs -> (n, F) numbers in which they are compared, such as an embedding; colours, edges and
            spectra if left out.
        previews: the folder that `optimize` wrote pictures to, which are compared in place of outputs made
            again; without it, up to 4 k outputs are made to find k that differ.
        objective: ranks what was measured; left out, the one that the experiment has recorded.
        seeds: where stored seeds are kept, if not where the experiment keeps them.
        device: where latents are made.
        **overrides: call arguments to change, such as `num_inference_steps=50`; recorded in the recipes.

    Returns:
        Picks, best first, each with its `trial` of Ax's; fewer than k when no more differ enough.

    Raises:
        MismatchError: the client has no experiment of ours, or was made with another generator.
        ArgumentError: k or the limit out of range, or no successful trial.
        SeedError: a stored seed is not where it should be.
    """
    record = read_record(client, objective, seeds=seeds)
    experiment = client._experiment
    return remake(
        record,
        generator,
        title=experiment.name,
        k=k,
        max_cosine=max_cosine,
        min_distance=min_distance,
        features=features,
        kept=None if previews is None else client_source(client, previews=previews, seeds=seeds).preview,
        trials=experiment.trials,
        device=device,
        **overrides,
    )


def contact_sheet(client: Client, generator: Generator, *, k: int = 12, **options: Any) -> Image:
    """The best k that differ, side by side, each with its values.

    Args:
        client: as for `portfolio`.
        generator: the one that it was made with.
        k: how many, at most.
        **options: as for `portfolio`.

    Returns:
        A picture of Pillow's, to `save`.

    Raises:
        UnsupportedError: outputs that are no pictures.
        SurrogateError: as `portfolio`.
    """
    return portfolio(client, generator, k=k, **options).contact_sheet()


def trials_frame(
    client: Client, *, previews: Path | str | None = None, objective: Objective | None = None, seeds: Seeds = None
) -> pandas.DataFrame:
    """The ended trials as a table of pandas: metrics, searched call arguments, state, round, NFE, picture.

    Args:
        client: with an experiment of `optimize`, or loaded.
        previews: the folder that `optimize` wrote pictures to.
        objective: names the metrics; left out, the one that the experiment has recorded.
        seeds: where stored seeds are kept, if not where the experiment keeps them.

    Raises:
        MismatchError: the client has no experiment of ours.
    """
    return record_frame(read_record(client, objective, seeds=seeds), _pictures(client, previews))


def summary(client: Client, *, previews: Path | str | None = None, objective: Objective | None = None) -> Summary:
    """What an experiment holds: a line, and in a notebook the pictures of its best trials.

    Args:
        client: as for `trials_frame`.
        previews: as for `trials_frame`.
        objective: as for `trials_frame`.

    Raises:
        MismatchError: the client has no experiment of ours.
    """
    return Summary(client._experiment.name, read_record(client, objective), _pictures(client, previews))


def _pictures(client: Client, folder: Path | str | None) -> dict[int, str]:
    """Files of the pictures, by number of the trial."""
    if folder is None:
        return {}
    named = ((index, trial.run_metadata.get(PREVIEW)) for index, trial in client._experiment.trials.items())
    files = {index: Path(folder) / Path(str(name)).name for index, name in named if name}
    return {index: str(file) for index, file in files.items() if file.is_file()}
