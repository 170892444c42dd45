"""Loading a pipeline from a local folder: safetensors only, no code from the folder, no network."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax_diffusers.families import Pipeline

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CODE_KEYS = ("auto_map", "custom_pipeline", "trust_remote_code")
_LIBRARIES = ("diffusers", "transformers")


def load_pipeline(
    folder: str | Path, *, dtype: torch.dtype = torch.float32, variant: str | None = None, scheduler: Any = None
) -> Pipeline:
    """A pipeline from a local folder as `save_pretrained` writes it.

    Nothing is fetched, no pickle is read and no code of the folder is run; the folder is checked before anything is
    loaded.

    Args:
        folder: the folder that has `model_index.json`.
        dtype: of the weights.
        variant: which weight files to take where the folder has several ("fp16").
        scheduler: a scheduler in place of the folder's, which may draw noise or need a package that is not installed.

    Returns:
        The pipeline, its modules in evaluation mode.

    Raises:
        ArgumentError: not a local pipeline folder, weights that are not safetensors, or one that asks for its own code.
    """
    root = check_folder(folder)
    index = _read(root / "model_index.json")
    given = {
        name: None for name, value in index.items() if isinstance(value, list) and name[0] != "_" and not any(value)
    }
    if scheduler is not None:
        given["scheduler"] = scheduler
    load: Any = diffusers.DiffusionPipeline.from_pretrained
    try:
        return load(
            root,
            dtype=dtype,
            variant=variant,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=find_spec("accelerate") is not None,
            **given,
        )
    except (ImportError, MemoryError, torch.OutOfMemoryError):  # they say what to do, and the folder is not to blame
        raise
    except Exception as error:  # each library has errors of its own for what is cut short, missing or altered
        raise ArgumentError(
            f"folder: {root} cannot be loaded as {index['_class_name']} ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:500]}). It may be cut short or altered; download or save it again."
        ) from error


def check_folder(folder: str | Path) -> Path:
    """The folder as a path, once it is known to be safe to load.

    Args:
        folder: the folder that has `model_index.json`.

    Raises:
        ArgumentError: as `load_pipeline`.
    """
    if "://" in str(folder):
        raise ArgumentError(
            f"folder: expected a local folder, got the URL {folder}. Download it first; nothing is fetched."
        )
    root = Path(folder)
    if not root.is_dir():
        raise ArgumentError(
            f"folder: {root} is not a folder. Give the local folder of a downloaded pipeline, not a name."
        )
    if not (root / "model_index.json").is_file():
        raise ArgumentError(f"folder: {root} has no model_index.json, so it is not a diffusers pipeline folder.")
    for file in sorted(root.rglob("model_index.json")):  # a component may be a pipeline of its own
        index = _read(file)
        if not isinstance(index, dict):
            raise ArgumentError(f"folder: {file} is not a JSON object.")
        _check_components(file, index)
        _check_code(file.parent, index)
        for name, value in index.items():
            if not name.startswith("_") and isinstance(value, list) and all(value):
                _check_weights(file.parent / name)
    return root


def _check_components(file: Path, index: dict[str, Any]) -> None:
    """Refuse components whose names lead elsewhere, or that are not described as two names."""
    for name, value in index.items():
        if not name.isidentifier():
            raise ArgumentError(f"folder: {file} names a component {name!r}; expected a word, which is its folder.")
        several = isinstance(value, list) and not name.startswith("_") and any(isinstance(each, str) for each in value)
        if several and not (len(value) == 2 and all(isinstance(each, str) for each in value)):
            raise ArgumentError(f"folder: {file}: expected {name!r} as [library, class], got {value!r:.100}.")


def _check_code(root: Path, index: dict[str, Any]) -> None:
    """Refuse a folder that would run code other than that of the libraries."""
    name = index.get("_class_name")
    if not isinstance(name, str) or not hasattr(diffusers, name):
        raise ArgumentError(f"folder: {root} asks for the custom pipeline {name!r}; only diffusers' own are loaded.")
    scripts = sorted(str(path.relative_to(root)) for path in root.rglob("*.py"))
    if scripts:
        raise ArgumentError(f"folder: {root} brings code of its own ({scripts[0]}), which is never run. Remove it.")
    for component, value in index.items():
        names = isinstance(value, list) and any(isinstance(each, str) for each in value)  # settings may be numbers
        library = value[0] if names and not component.startswith("_") else None
        if library not in (None, *_LIBRARIES) and not hasattr(diffusers.pipelines, str(library)):
            raise ArgumentError(
                f"folder: {root}: {component!r} comes from {library!r}, not from diffusers or transformers."
            )
    for path in (root / "model_index.json", *sorted(root.rglob("*config.json"))):
        settings = _read(path)
        keys = [key for key in _CODE_KEYS if isinstance(settings, dict) and settings.get(key)]
        if keys:
            raise ArgumentError(
                f"folder: {path.relative_to(root)} asks for custom code ({keys[0]}), which is never run."
            )


def _check_weights(component: Path) -> None:
    """Refuse a component with weights that are not safetensors."""
    if not component.is_dir() or any(component.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in component.iterdir() if path.suffix in _PICKLES)
    if pickles or (component / "config.json").is_file():  # schedulers, tokenizers and processors name theirs otherwise
        found = f"only {pickles[0]}" if pickles else "no weights"
        raise ArgumentError(
            f"folder: {component} has {found}; only safetensors are loaded. Convert it where you trust it, with "
            "save_pretrained(..., safe_serialization=True)."
        )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArgumentError(f"folder: {path} is not readable JSON: {error}") from error
