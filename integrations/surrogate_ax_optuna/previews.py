"""Small files of outputs as artifacts of trials, which optuna-dashboard shows."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import upload_artifact

from surrogate_ax.evaluation import Evaluations
from surrogate_ax.previews import save_preview

PREVIEW_ATTR = "preview"


def upload_preview(store: Any, trial: optuna.Trial, ev: Evaluations, i: int, folder: Path) -> str:
    """The artifact id of a small file of item i's output, made in a folder and uploaded for a trial."""
    path = save_preview(ev.outputs[i], folder / f"trial{trial.number}", rate=ev.rate)
    mime = mimetypes.guess_type(path.name, strict=False)[0]  # Optuna's own guess knows no WebP before Python 3.13
    return upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, mimetype=mime)
