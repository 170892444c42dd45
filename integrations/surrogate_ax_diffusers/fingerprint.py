"""What makes a pipeline this generator, by named part, as short texts that survive saving and loading.

Library versions are left out on purpose: a study may go on after an upgrade. Paths and devices are left out as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
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

    Args:
        pipe: a pipeline.

    Raises:
        UnsupportedError: weights are on the meta device, so that there is nothing to read.
    """
    names: list[Any] = []
    samples: dict[torch.device, list[Tensor]] = {}
    for component, module in sorted(pipe.components.items()):
        if not isinstance(module, nn.Module):
            continue
        for name, tensor in getattr(module, "_orig_mod", module).state_dict().items():
            if not isinstance(tensor, Tensor):
                continue
            if tensor.is_meta:
                raise UnsupportedError(
                    f"pipe.{component}: its weights are on the meta device (offloaded), so they cannot be "
                    "fingerprinted. Give PipelineGenerator(revision=...), your name for these weights."
                )
            names.append([component, name, str(tensor.dtype), list(tensor.shape)])
            samples.setdefault(tensor.device, []).append(_sample(tensor))
    digest = hashlib.sha256(json.dumps(names).encode())
    for parts in samples.values():
        digest.update(torch.cat(parts).cpu().numpy().tobytes())  # one transfer a device
    return digest.hexdigest()[:16]


def call_text(call: Mapping[str, Any]) -> str:
    """Call arguments as JSON with sorted keys; images, arrays and tensors as digests of their contents.

    Args:
        call: call arguments by name.
    """
    return json.dumps(call, sort_keys=True, default=_content)


def _sample(tensor: Tensor) -> Tensor:
    """Bytes of at most `SAMPLES` evenly spaced values, the same for every memory layout."""
    step = max(1, -(-tensor.numel() // SAMPLES))
    if tensor.is_contiguous():
        picked = tensor.reshape(-1)[::step]
    else:  # flattening would copy all of it
        at = torch.arange(0, tensor.numel(), step, device=tensor.device)
        picked = tensor[torch.unravel_index(at, tensor.shape)]
    return picked.contiguous().view(torch.uint8)


def _configuration(component: Any) -> Any:
    """The settings of a component without private, path-like or version entries."""
    config: Any = getattr(component, "config", None)
    if callable(getattr(component, "get_vocab", None)):  # a tokenizer: what it does to a sentence
        return [len(component), component.model_max_length, component.tokenize(_SENTENCE)]
    if config is None and callable(getattr(component, "to_dict", None)):
        config = component
    settings = config.to_dict() if callable(getattr(config, "to_dict", None)) else dict(config or {})
    return {name: value for name, value in settings.items() if name[0] != "_" and name not in _NOT_CONTENT}


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
