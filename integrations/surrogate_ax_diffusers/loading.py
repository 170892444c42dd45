"""Loading a pipeline from files of this machine: safetensors only, no code of theirs, no network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers
from diffusers.loaders import single_file_utils
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
from safetensors import safe_open
from torch import nn

from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.folder_checks import PICKLES, check_folder, read_json
from surrogate_ax_diffusers.lora import Loras, add_loras, check_loras
from surrogate_ax_diffusers.sources import SAFE, check_safetensors, local_folder


def load_pipeline(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
    scheduler: Any = None,
    revision: str | None = None,
    pipeline: str | None = None,
    config: str | Path | None = None,
    lora: Loras | None = None,
    quantization: Any = None,
) -> Pipeline:
    """A pipeline from a local folder as `save_pretrained` writes it, from the Hugging Face cache, or from one file.

    Nothing is fetched, no pickle is read and no code of the files is run; they are checked before anything is loaded.

    Args:
        folder: the folder that has `model_index.json`; "owner/name" of a repository in the Hugging Face cache, where
            `hf download owner/name` puts it; or one `.safetensors` file with all weights, beside `config`.
        dtype: of the weights.
        variant: which weight files to take where the folder has several ("fp16").
        scheduler: a scheduler in place of the folder's, which may draw noise or need a package that is not installed.
        revision: a branch, tag or commit of the repository; "main" if left out.
        pipeline: the class, where `folder` is one file: a name in diffusers; that of `config` if left out.
        config: the folder, or repository in the cache, that has `model_index.json` and configurations for one file,
            and the weights of components that the file lacks.
        lora: one `.safetensors` file, several, or their scales by file; needs PEFT.
        quantization: diffusers' `PipelineQuantizationConfig`, or its arguments by name. A folder that was saved
            quantised is loaded so without it. The package that quantises has to be installed.

    Returns:
        The pipeline, its modules in evaluation mode.

    Raises:
        ArgumentError: nothing of that name on this machine, weights that are not safetensors, files that ask for code
            of their own or do not fit together, or arguments that do not.
        MissingExtraError: a package that quantisation, a LoRA or a component needs is not installed.
    """
    loras, quantized = check_loras(lora), _quantization(quantization)
    single = Path(folder).suffix in (SAFE, *PICKLES) and not Path(folder).is_dir()
    if single:
        _refuse("one file", variant=variant, revision=revision, quantization=quantization)
        pipe = _from_file(check_safetensors(folder, "folder"), pipeline, config, dtype, scheduler)
    else:
        _refuse("a folder", pipeline=pipeline, config=config)
        root = check_folder(local_folder(folder, revision))
        pipe = _from_folder(root, scheduler, dtype=dtype, variant=variant, **quantized)
    add_loras(pipe, loras)
    return pipe


def _from_folder(root: Path, scheduler: Any, **options: Any) -> Pipeline:
    """The pipeline of a folder that was checked."""
    index = read_json(root / "model_index.json")
    given = {
        name: None for name, value in index.items() if isinstance(value, list) and name[0] != "_" and not any(value)
    }
    if scheduler is not None:
        given["scheduler"] = scheduler
    options["low_cpu_mem_usage"] = find_spec("accelerate") is not None
    return _loaded(diffusers.DiffusionPipeline.from_pretrained, root, index["_class_name"], **options, **given)


def _from_file(file: Path, name: str | None, config: str | Path | None, dtype: torch.dtype, scheduler: Any) -> Pipeline:
    """The pipeline of one file that was checked. A class and configurations are named, as diffusers fetches others."""
    if config is None:
        raise ArgumentError(
            f"config: {file} holds weights only; give the folder, or the repository in the Hugging Face cache, of a "
            "pipeline of its kind, which has model_index.json and the configurations. Nothing is fetched."
        )
    root = check_folder(local_folder(config), weights=False)
    name = name or read_json(root / "model_index.json")["_class_name"]
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not hasattr(kind, "from_single_file"):
        raise ArgumentError(
            f"pipeline: expected the name of a pipeline of diffusers that single files are loaded by, as "
            f"'StableDiffusionPipeline', got {name!r}."
        )
    given = _beside(file, root, dtype) | ({} if scheduler is None else {"scheduler": scheduler})
    pipe = _loaded(kind.from_single_file, file, name, config=str(root), dtype=dtype, **given)
    for component, module in pipe.components.items():
        absent = [n for n, w in module.named_parameters() if w.is_meta] if isinstance(module, nn.Module) else []
        if absent:  # of text encoders diffusers takes what is there
            raise ArgumentError(f"folder: {file} lacks {len(absent)} weights of {component}, such as {absent[0]}.")
    return pipe


def _beside(file: Path, root: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Text encoders and VAE that one file lacks, from the folder of its configurations; diffusers wants them given."""
    with safe_open(file, framework="pt") as opened:
        keys = dict.fromkeys(opened.keys())
    found, look = dict[str, Any](), cast(Any, single_file_utils)
    for name, value in read_json(root / "model_index.json").items():
        library, kind_name = value if isinstance(value, list) and len(value) == 2 else (None, None)
        kind = getattr({"diffusers": diffusers, "transformers": transformers}.get(str(library)), str(kind_name), None)
        if library == "transformers" and isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
            there = look.is_clip_model_in_single_file(kind, keys) or look.is_t5_in_single_file(keys)
        else:
            there = name != "vae" or any(key.startswith(tuple(look.LDM_VAE_KEYS)) for key in keys)
        if not there and any((root / name).glob("*.safetensors")):
            load: Any = kind
            found[name] = _loaded(load.from_pretrained, root / name, str(kind_name), dtype=dtype)
    return found


def _loaded(load: Any, where: Path, name: str, **options: Any) -> Any:
    """What diffusers loads, with its errors as ours."""
    safe = {} if where.is_file() else {"use_safetensors": True}
    try:
        return load(str(where), local_files_only=True, **safe, **options)
    except (MemoryError, torch.OutOfMemoryError):  # the files are not to blame
        raise
    except ImportError as error:
        package = f" Install it: pip install {error.name}" if error.name else ""
        raise MissingExtraError(f"folder: {where} needs a package that is not installed: {error}.{package}") from error
    except Exception as error:  # each library has errors of its own for what is cut short, missing or altered
        raise ArgumentError(
            f"folder: {where} cannot be loaded as {name} ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:500]}). It may be cut short, altered or lack weights; "
            "download or save it again."
        ) from error


def _quantization(given: Any) -> dict[str, Any]:
    """The argument of diffusers that quantises, if any.

    Raises:
        ArgumentError: something else than a configuration or its arguments.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        try:
            given = PipelineQuantizationConfig(**given)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"quantization: {error}") from error
    if not isinstance(given, PipelineQuantizationConfig):
        raise ArgumentError(
            f"quantization: expected a PipelineQuantizationConfig of diffusers or its arguments by name, got "
            f"{type(given).__name__}."
        )
    return {"quantization_config": given}


def _refuse(what: str, **options: object) -> None:
    """Refuse arguments that a kind of files has no use for."""
    for name, value in options.items():
        if value is not None:
            raise ArgumentError(f"{name}: expected none beside {what}, got {value!r:.100}.")
