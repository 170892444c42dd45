"""What makes a pipeline this generator, by named part, as short texts that survive saving and loading.

Library versions are left out on purpose: a study may go on after an upgrade. Paths and devices are left out as well.
What acts beside weights and configurations, such as adapters, is in `pipeline_state`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers.families import Pipeline

SAMPLES = 256  # values hashed of every weight tensor
_SENTENCE = "naïve red car, 42!"  # short, so that no tokenizer complains of its length
_NOT_CONTENT = ("transformers_version", "dtype", "torch_dtype", "architectures")  # depend on versions or on saving


def component_parts(pipe: Pipeline) -> dict[str, str]:
    """The class and configuration of every component, as `component.<name>`.

    Args:
        pipe: a pipeline.

    Returns:
        "<class> <dtype> <digest>" by name; absent components are left out.
    """
    parts = {}
    for name, component in sorted(pipe.components.items()):
        if component is None:
            continue
        component = getattr(component, "_orig_mod", component)  # under torch.compile
        words = [type(component).__name__, _digest(_configuration(component))]
        if isinstance(component, nn.Module):
            words.insert(1, str(getattr(component, "dtype", "")).removeprefix("torch."))
        parts[f"component.{name}"] = " ".join(words)
    return parts


def weights_digest(pipe: Pipeline) -> str:
    """A digest over every n-th value of every weight tensor, n chosen so that at most `SAMPLES` of each are read.

    Weights that an offloaded pipeline keeps on the meta device are read from the files they came from, with the same
    digest as if they were in memory.

    Args:
        pipe: a pipeline.

    Raises:
        UnsupportedError: weights are on the meta device, and their files cannot be found.
    """
    names: list[Any] = []
    samples: list[Tensor] = []
    for component, module in sorted(pipe.components.items()):
        if not isinstance(module, nn.Module):
            continue
        module = getattr(module, "_orig_mod", module)
        state = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
        names += [[component, name, str(tensor.dtype), list(tensor.shape)] for name, tensor in state.items()]
        offloaded = {name: tensor for name, tensor in state.items() if tensor.is_meta}
        stored = _stored_samples(pipe, component, module, offloaded) if offloaded else {}
        samples += [stored[name] if name in stored else _sample(tensor, tensor.dtype) for name, tensor in state.items()]
    digest = hashlib.sha256(json.dumps(names).encode())
    for sample in _on_cpu(samples):
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def call_text(call: Mapping[str, Any]) -> str:
    """Call arguments as JSON with sorted keys; images, arrays and tensors as digests of their contents.

    Args:
        call: call arguments by name.
    """
    return json.dumps(call, sort_keys=True, default=_content)


def _stored_samples(pipe: Pipeline, component: str, module: nn.Module, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Samples of offloaded weights, from the safetensors of the folder that the pipeline was loaded from."""
    folder = Path(str(getattr(pipe, "name_or_path", None))) / component
    tied = getattr(module, "_tied_weights_keys", None)
    keys = {name: {name, tied.get(name, name) if isinstance(tied, dict) else name} for name in wanted}
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            for name in wanted.keys() - found.keys():
                for key in sorted(keys[name] & held)[:1]:
                    found[name] = _sample(file.get_tensor(key), wanted[name].dtype)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise UnsupportedError(
            f"pipe.{component}: its weights are on the meta device (offloaded), and {missing[0]!r} is in no "
            f"safetensors file under {folder}, so they cannot be fingerprinted. Give pipeline_generator(revision=...), "
            "your name for these weights."
        )
    return found


def _on_cpu(samples: list[Tensor]) -> list[Tensor]:
    """Samples in order, with one transfer a device."""
    on_cpu: dict[int, Tensor] = {}
    for device in {sample.device for sample in samples}:
        at = [i for i, sample in enumerate(samples) if sample.device == device]
        moved = torch.cat([samples[i] for i in at]).cpu()
        on_cpu |= dict(zip(at, torch.split(moved, [len(samples[i]) for i in at]), strict=True))
    return [on_cpu[i] for i in range(len(samples))]


def _sample(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes of at most `SAMPLES` evenly spaced values, the same for every memory layout."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    step = max(1, -(-tensor.numel() // SAMPLES))
    if tensor.is_contiguous():
        picked = tensor.reshape(-1)[::step]
    else:  # flattening would copy all of it
        at = torch.arange(0, tensor.numel(), step, device=tensor.device)
        picked = tensor[torch.unravel_index(at, tensor.shape)]
    return picked.to(dtype).contiguous().view(torch.uint8)


def _configuration(component: Any) -> Any:
    """The settings of a component without private, path-like or version entries."""
    config: Any = getattr(component, "config", None)
    if callable(getattr(component, "get_vocab", None)):  # a tokenizer: what it does to a sentence
        return [len(component), component.model_max_length, component.tokenize(_SENTENCE)]
    if config is None and callable(getattr(component, "to_dict", None)):
        config = component
    settings = config.to_dict() if callable(getattr(config, "to_dict", None)) else dict(config or {})
    return _content_of(settings)


def _content_of(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    kept = {name: value for name, value in settings.items() if str(name)[:1] != "_" and name not in _NOT_CONTENT}
    return {name: _content_of(value) for name, value in kept.items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_content).encode()).hexdigest()[:12]


def _content(value: Any) -> str:
    """A text for what JSON has no form for: contents where they can be read, else the type."""
    kind = type(value).__name__
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.generic):
        return str(value.item())
    if isinstance(value, np.ndarray) or hasattr(value, "__array_interface__"):
        array = np.ascontiguousarray(value)
        return f"{kind} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:12]}"
    return kind if not isinstance(value, (torch.dtype, torch.device)) else str(value)
