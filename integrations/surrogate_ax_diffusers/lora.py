"""LoRAs from local files: small changes of a pipeline's weights, each with a scale."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from surrogate_ax.checks import number
from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.sources import check_safetensors

Loras = str | Path | Iterable[str | Path] | Mapping[str | Path, float]


def check_loras(lora: Loras | None) -> dict[Path, float]:
    """Files of LoRAs with their scales, once they are known to be safe to load.

    Args:
        lora: one file, several, or their scales by file; None for none.

    Raises:
        ArgumentError: a file that is not there or no safetensors, or a scale that is no number.
        MissingExtraError: PEFT is not installed.
    """
    if lora is None:
        return {}
    files: Iterable[str | Path] = [lora] if isinstance(lora, str | os.PathLike) else lora
    scales = lora if isinstance(lora, Mapping) else {}
    checked = {
        check_safetensors(file, "lora"): number(scales.get(file, 1.0), f"lora: the scale of {file}") for file in files
    }
    if checked and find_spec("peft") is None:
        raise MissingExtraError("lora: it takes PEFT, which is not installed: pip install peft")
    return checked


def add_loras(pipe: Pipeline, loras: Mapping[Path, float]) -> None:
    """Put LoRAs into a pipeline. They are called lora0, lora1, ..., so that names of files say nothing.

    Args:
        pipe: the pipeline.
        loras: scales by file, as `check_loras` gives them.

    Raises:
        ArgumentError: a pipeline that takes none, or a file that is of another model.
    """
    if loras and not hasattr(pipe, "load_lora_weights"):
        raise ArgumentError(f"lora: {type(pipe).__name__} takes none. Leave it out.")
    names = [f"lora{i}" for i in range(len(loras))]
    for name, file in zip(names, loras, strict=True):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Already found a `peft_config`"
                )  # of the LoRA before this one
                pipe.load_lora_weights(
                    str(file.parent),
                    weight_name=file.name,
                    adapter_name=name,
                    local_files_only=True,
                    use_safetensors=True,
                )
        except Exception as error:  # diffusers and PEFT have errors of their own for weights that do not fit
            raise ArgumentError(
                f"lora: {file} does not fit {type(pipe).__name__} ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]})."
            ) from error
        if not any(name in adapters for adapters in pipe.get_list_adapters().values()):
            raise ArgumentError(f"lora: {file} has nothing for {type(pipe).__name__}; it is of another model.")
    if loras:
        pipe.set_adapters(names, adapter_weights=list(loras.values()))
