"""Where a pipeline's files are on this machine: a folder, a repository in the Hugging Face cache, or a single file."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers.folder_checks import PICKLES

SAFE = ".safetensors"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def local_folder(given: str | Path, revision: str | None = None) -> str | Path:
    """The folder of a repository in the cache; anything else as it was given.

    Args:
        given: a folder, or a repository's id, "owner/name", which a folder of that name goes before.
        revision: a branch, tag or commit of the repository; "main" if left out.

    Raises:
        ArgumentError: it is not in the cache, or a revision beside something else than a repository's id.
    """
    if Path(given).exists() or not _REPOSITORY.fullmatch(str(given)):
        if revision is not None:
            raise ArgumentError(f"revision: only a repository in the Hugging Face cache has one, and {given} is none.")
        return given
    try:
        return Path(snapshot_download(str(given), revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        partial = getattr(error, "snapshot_path", None)  # not all of its files are there; those that matter may be
        if partial is not None:
            return Path(partial)
        at = "" if revision is None else f" --revision {revision}"
        what = "no repository" if revision is None else f"no revision {revision!r} of a repository"
        raise ArgumentError(
            f"folder: {given} is not a folder, and {what} of that name is in the Hugging Face cache, "
            f"{constants.HF_HUB_CACHE}. Nothing is fetched from here; fetch it with: hf download {given}{at}"
        ) from error
    except HFValidationError as error:
        raise ArgumentError(f"folder: {given} is neither a folder nor a repository's id: {error}") from error


def check_safetensors(file: str | Path, argument: str) -> Path:
    """A local file of safetensors as a path.

    Args:
        file: given.
        argument: what it was given as, for messages.

    Raises:
        ArgumentError: no such file, or one of another kind.
    """
    path = Path(file)
    if path.suffix in PICKLES:
        raise ArgumentError(
            f"{argument}: {path} may be a pickle, which can run code of its own; only safetensors are loaded. "
            "Convert it where you trust it."
        )
    if not path.is_file() or path.suffix != SAFE:
        raise ArgumentError(f"{argument}: expected a local {SAFE} file, got {file}. Nothing is fetched.")
    try:
        with safe_open(path, framework="pt") as opened:
            opened.keys()
    except (SafetensorError, OSError) as error:
        raise ArgumentError(f"{argument}: {path} is no {SAFE} file ({error}). It may be cut short.") from error
    return path
