"""What acts in a pipeline beside its weights and configurations, by name.

Adapters, step caches, hooks, quantised layers, and settings that were made after the pipeline was loaded. Each is a
part of the fingerprint, "none" where there is nothing. Layers that agree are counted together; which layers they are is
in a digest. What moves weights between devices, and what libraries install for themselves, does not act.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from surrogate_ax.generation.syntax import stored_attributes
from surrogate_ax.generation.value_text import is_setting, value_text
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.scheduler_settings import acting_settings

NONE = "none"
_LIBRARIES = ("torch", "accelerate", "transformers", "peft", "surrogate_ax_diffusers")  # whose hooks come with a module
_WITHOUT_EFFECT = ("offload", "execution_tracker", "parallel", "autocast")  # in the names of diffusers' hooks
_QUANTISERS = ("bitsandbytes", "torchao", "optimum", "gguf", "nunchaku", "quanto", "hqq")
# Attributes by which diffusers switches something on in a layer, off while they are absent, None or false.
_SWITCHES = ("s1", "s2", "b1", "b2", "use_tiling")
_TILES = "tile_"
_TENSORS = (Tensor, nn.Parameter, nn.Buffer)
_Found = list[tuple[str, str]]  # what was found, and in which layer


def state_parts(pipe: Pipeline) -> dict[str, str]:
    """The parts of a fingerprint that a pipeline's state gives.

    Args:
        pipe: a pipeline.
    """
    layers = list(_layers(pipe))
    parts = {
        "adapters": _grouped([found for name, layer in layers for found in _adapters(name, layer)]),
        "caches": _grouped(_caches(layers)),
        "hooks": _grouped([found for name, layer in layers for found in _hooks(name, layer)]),
        "quantisation": _grouped([found for name, layer in layers for found in _quantised(name, layer)]),
        "settings.layers": _grouped([found for name, layer in layers for found in _switched(name, layer)]),
        "settings.pipeline": _pipeline_settings(pipe),
    }
    schedulers = {name: c for name, c in pipe.components.items() if "scheduler" in name and c is not None}
    return parts | {f"settings.{name}": acting_settings(scheduler) for name, scheduler in schedulers.items()}


def stateful_hooks(pipe: Pipeline) -> list[str]:
    """Names of hooks that carry something from step to step, such as step caches, with the component that has them.

    Args:
        pipe: a pipeline.
    """
    found = {
        f"{_kind(hook)} in {name.split('.')[0]}"
        for name, layer in _layers(pipe)
        for hook in _diffusers_hooks(layer).values()
        if getattr(hook, "_is_stateful", False)
    }
    return sorted(found)


def _layers(pipe: Pipeline) -> Iterator[tuple[str, Any]]:
    """Every module of every component, by its path."""
    for component, module in sorted(pipe.components.items()):
        if isinstance(module, nn.Module):
            module = getattr(module, "_orig_mod", module)
            for path, layer in module.named_modules():
                yield f"{component}.{path}".rstrip("."), layer


def _adapters(name: str, layer: Any) -> Iterator[tuple[str, str]]:
    """Adapters that act in a layer of PEFT, with their scales."""
    active = getattr(layer, "active_adapters", None) if hasattr(layer, "base_layer") else None
    if active is None or callable(active):
        return
    scales = getattr(layer, "scaling", {})
    known = scales if isinstance(scales, Mapping) else {}
    off = getattr(layer, "disable_adapters", False) is True
    merged = set(getattr(layer, "merged_adapters", ()))
    component = name.split(".")[0]
    for adapter in [active] if isinstance(active, str) else active:
        if known and adapter not in known:
            continue  # active elsewhere
        scale = f" {value_text(float(known[adapter]))}" if adapter in known else ""
        how = " merged" if adapter in merged else " disabled" if off else ""
        yield f"{component} {adapter}{scale}{how}", name


def _diffusers_hooks(layer: Any) -> Mapping[str, Any]:
    registry = vars(layer).get("_diffusers_hook")
    return getattr(registry, "hooks", {})


def _is_cache(hook: Any) -> bool:
    return bool(getattr(hook, "_is_stateful", False)) or "cache" in _kind(hook).lower() or _kind(hook).startswith("FBC")


def _caches(layers: list[tuple[str, Any]]) -> _Found:
    """Step caches: their configuration, and the hooks that they put into layers."""
    found: _Found = []
    for name, layer in layers:
        config = vars(layer).get("_cache_config")
        if config is not None:
            found.append((_with_settings(config), name))
        found += [(_with_settings(hook), name) for hook in _diffusers_hooks(layer).values() if _is_cache(hook)]
    return found


def _hooks(name: str, layer: Any) -> Iterator[tuple[str, str]]:
    """Other hooks of diffusers, hooks of torch, forwards that were replaced, and attention processors of one's own."""
    hooks = _diffusers_hooks(layer)
    for kind, hook in hooks.items():
        if not _is_cache(hook) and not any(word in kind for word in _WITHOUT_EFFECT):
            yield _with_settings(hook), name
    for registered in (layer._forward_pre_hooks, layer._forward_hooks):
        for called in registered.values():
            if _package(called) not in _LIBRARIES:
                yield f"hook {_name(called)}", name
    forward = vars(layer).get("forward")
    own = getattr(forward, "__func__", None) is type(layer).forward  # put back when a hook was removed
    replaced = forward is not None and not own and not hooks and "_hf_hook" not in vars(layer)
    if replaced and _package(forward) not in _LIBRARIES:
        yield f"forward {_name(forward)}", name
    processor = getattr(layer, "processor", None)
    if processor is not None and not isinstance(processor, str):
        settings = _settings(processor)
        if settings or _package(processor) != "diffusers":
            yield f"processor {type(processor).__name__}{settings}", name


def _quantised(name: str, layer: Any) -> Iterator[tuple[str, str]]:
    """Layers and weights of kinds that hold fewer bits than they compute in."""
    module = type(layer).__module__
    if module.split(".")[0] in _QUANTISERS or ".quantized" in module or ".gguf" in module:
        yield type(layer).__name__, name
    for weight, tensor in layer.named_parameters(recurse=False):
        kind = type(tensor.data)
        if kind not in _TENSORS and (hasattr(tensor, "dequantize") or kind.__module__.split(".")[0] in _QUANTISERS):
            yield kind.__name__, f"{name}.{weight}"


def _switched(name: str, layer: Any) -> Iterator[tuple[str, str]]:
    own = vars(layer)
    switched = {switch: own[switch] for switch in _SWITCHES if is_setting(own.get(switch)) and own.get(switch)}
    if "use_tiling" in switched:
        switched |= {key: own[key] for key in sorted(own) if key.startswith(_TILES) and is_setting(own[key])}
    if switched:
        text = " ".join(f"{key}={value_text(value)}" for key, value in switched.items())
        yield f"{name.split('.')[0]} {text}", name


def _pipeline_settings(pipe: Pipeline) -> str:
    """The pipeline's own settings, which its components do not hold, as JSON."""
    passed_over = {*pipe.components, "requires_safety_checker"}
    own = {name: value for name, value in dict(pipe.config).items() if name[:1] != "_" and name not in passed_over}
    return json.dumps(own, sort_keys=True, default=value_text) if own else NONE


def _with_settings(holder: Any) -> str:
    return f"{_kind(holder)}{_settings(holder)}"


def _settings(holder: Any) -> str:
    """Plain attributes that the holder's own methods do not change."""
    state = stored_attributes(type(holder))
    plain = {
        name: value
        for name, value in sorted(vars(holder).items())
        if name[0] != "_"
        and name != "training"
        and name not in state
        and value is not None
        and not isinstance(value, nn.Module | Tensor)
    }
    return "".join(f" {name}={value_text(value)}" for name, value in plain.items() if is_setting(value))


def _kind(hook: Any) -> str:
    return type(hook).__name__.removesuffix("Hook").removesuffix("Config")


def _package(called: Any) -> str:
    while isinstance(called, functools.partial):
        called = called.func
    called = getattr(called, "__self__", called)
    module = getattr(called, "__module__", None) or type(called).__module__
    return str(module).split(".")[0]


def _name(called: Any) -> str:
    while isinstance(called, functools.partial):
        called = called.func
    return str(getattr(called, "__qualname__", type(called).__name__))


def _grouped(found: _Found) -> str:
    """What was found, with the layer, or how many layers it was found in and a digest of their names."""
    where: dict[str, list[str]] = {}
    for text, name in found:
        where.setdefault(text, []).append(name)
    return "; ".join(f"{text} ({_places(names)})" for text, names in sorted(where.items())) or NONE


def _places(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{len(names)} layers {hashlib.sha256(' '.join(sorted(names)).encode()).hexdigest()[:6]}"
