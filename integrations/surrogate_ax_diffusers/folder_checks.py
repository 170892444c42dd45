"""What a pipeline's folder may hold, looked at before anything is loaded: safetensors only, and no code of its own.

A folder of the Hugging Face cache is made of links to files elsewhere in it. Links are followed, also to folders,
so that what they lead to is seen as if it stood here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import diffusers

from surrogate_ax.errors import ArgumentError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CODE_KEYS = ("auto_map", "custom_pipeline", "trust_remote_code")
_LIBRARIES = ("diffusers", "transformers")


def check_folder(folder: str | Path, *, weights: bool = True) -> Path:
    """The folder as a path, once it is known to be safe to load.

    Args:
        folder: the folder that has `model_index.json`.
        weights: whether every component has to have some; without them, pickles beside safetensors are refused too,
            as diffusers reads them where it reads the configuration for a single file.

    Raises:
        ArgumentError: as `load_pipeline`.
    """
    if "://" in str(folder):
        raise ArgumentError(
            f"folder: expected a local folder, got the URL {folder}. Download it first; nothing is fetched."
        )
    root = Path(folder)
    if not root.is_dir():
        raise ArgumentError(f"folder: {root} is not a folder. Give the local folder of a downloaded pipeline.")
    if not (root / "model_index.json").is_file():
        raise ArgumentError(f"folder: {root} has no model_index.json, so it is not a diffusers pipeline folder.")
    for file in _files(root, "model_index.json"):  # a component may be a pipeline of its own
        index = read_json(file)
        if not isinstance(index, dict):
            raise ArgumentError(f"folder: {file} is not a JSON object.")
        _check_components(file, index)
        _check_code(file.parent, index)
        for name, value in index.items():
            if not name.startswith("_") and isinstance(value, list) and all(value):
                _check_weights(file.parent / name, needed=weights)
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
    scripts = sorted(str(path.relative_to(root)) for path in _files(root, "*.py"))
    if scripts:
        raise ArgumentError(f"folder: {root} brings code of its own ({scripts[0]}), which is never run. Remove it.")
    for component, value in index.items():
        names = isinstance(value, list) and any(isinstance(each, str) for each in value)  # settings may be numbers
        library = value[0] if names and not component.startswith("_") else None
        if library not in (None, *_LIBRARIES) and not hasattr(diffusers.pipelines, str(library)):
            raise ArgumentError(
                f"folder: {root}: {component!r} comes from {library!r}, not from diffusers or transformers."
            )
    for path in (root / "model_index.json", *_files(root, "*config.json")):
        settings = read_json(path)
        keys = [key for key in _CODE_KEYS if isinstance(settings, dict) and settings.get(key)]
        if keys:
            raise ArgumentError(
                f"folder: {path.relative_to(root)} asks for custom code ({keys[0]}), which is never run."
            )


def _check_weights(component: Path, *, needed: bool) -> None:
    """Refuse a component with weights that are not safetensors."""
    if not component.is_dir():
        return
    gone = sorted(path.name for path in component.iterdir() if not path.exists())
    if gone:
        raise ArgumentError(f"folder: {component / gone[0]} is a link to a file that is gone. Download it again.")
    pickles = sorted(path.name for path in component.iterdir() if path.suffix in PICKLES)
    safe = any(component.glob("*.safetensors"))
    if safe and (needed or not pickles):
        return
    if pickles or (needed and (component / "config.json").is_file()):  # schedulers and tokenizers name theirs otherwise
        found = f"{'' if safe else 'only '}{pickles[0]}" if pickles else "no weights"
        advice = "Convert it where you trust it, with save_pretrained(..., safe_serialization=True)"
        raise ArgumentError(
            f"folder: {component} has {found}; only safetensors are loaded. "
            f"{advice if pickles and not safe else 'Remove it' if safe else 'Download them, or save it again'}."
        )


def _files(root: Path, pattern: str) -> Iterator[Path]:
    """Files under a folder whose names match, in order, behind links to folders too; each folder once."""
    seen = set[str]()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names) if fnmatchcase(name, pattern))


def read_json(path: Path) -> Any:
    """A file of a folder as JSON.

    Args:
        path: the file.

    Raises:
        ArgumentError: something else is in it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArgumentError(f"folder: {path} is not readable JSON: {error}") from error
