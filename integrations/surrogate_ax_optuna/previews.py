"""Small files of outputs as artifacts of trials, which optuna-dashboard shows.

Encoders of pictures, clips and sound release the interpreter, so the files of a batch are made side by side while its
first trials are told already.
"""

from __future__ import annotations

import mimetypes
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import upload_artifact

from surrogate_ax.media.previews import save_preview
from surrogate_ax.scoring.evaluator import Evaluations


@contextmanager
def encoding(ev: Evaluations, trials: Mapping[int, optuna.Trial]) -> Iterator[dict[int, Future[Path]]]:
    """Small files of some items' outputs, being made, in a folder that is there for as long as the block.

    Args:
        ev: n evaluations.
        trials: of the items that have an output to show, by the item's number.
    """
    threads = min(len(trials), os.cpu_count() or 1) or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        stems = {i: Path(folder) / f"trial{trial.number}" for i, trial in trials.items()}
        yield {i: pool.submit(save_preview, ev.outputs[i], stem, rate=ev.rate) for i, stem in stems.items()}


def upload(store: Any, trial: optuna.Trial, path: Path) -> str:
    """The artifact id of a file that is uploaded for a trial."""
    mime = mimetypes.guess_type(path.name, strict=False)[0]  # Optuna's own guess knows no WebP before Python 3.13
    return upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, mimetype=mime)


def upload_preview(store: Any, trial: optuna.Trial, ev: Evaluations, i: int, folder: Path) -> str:
    """The artifact id of a small file of item i's output, made in a folder and uploaded for a trial."""
    return upload(store, trial, save_preview(ev.outputs[i], folder / f"trial{trial.number}", rate=ev.rate))
