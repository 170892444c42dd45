"""Finding the law of a pipeline's latents by watching the pipeline draw one.

The pipeline is called once and stopped as soon as its `prepare_latents` has run, before the denoiser does. Inside,
`prepare_latents` is run without latents (what is drawn, and what becomes of it), then with latents of each candidate
shape; the shape it turns into the same thing is what the pipeline takes. Thus Flux gives its packed shape, Flux 2,
which packs by itself, the unpacked one. The scale follows from comparing the two runs. Where noise is mixed with an
image, it is the noise that is searched (`image_noise`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surrogate_ax.errors import ArgumentError, SurrogateError, UnsupportedError
from surrogate_ax.latents.priors import Gaussian
from surrogate_ax_diffusers.arguments import Arguments
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.image_noise import RecordedNormals, inject_noise
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.validation import missing_encoder

_GIVE = "Give the law yourself: pipeline_generator(pipe, prior=Gaussian(shape), ...)."


@dataclass(frozen=True)
class LatentLaw:
    """The law of a pipeline's latents, and how the pipeline takes them.

    Args:
        prior: the law.
        dtype: in which the pipeline draws.
        draw: which of the normal draws of `prepare_latents` is the latent, for a pipeline that mixes it with an image;
            None where latents are given to the call.
    """

    prior: Gaussian
    dtype: torch.dtype
    draw: int | None = None


class _StoppedError(Exception):
    """Ends the pipeline's call once its latents were prepared, and carries their law."""

    def __init__(self, law: LatentLaw) -> None:
        super().__init__()
        self.law = law


class _DenoisedError(Exception):
    """The denoiser ran before any latents were prepared."""


def discover(pipe: Pipeline, arguments: Arguments, call: Mapping[str, Any], denoisers: list[nn.Module]) -> LatentLaw:
    """The law of a pipeline's latents under given call arguments.

    Args:
        pipe: the pipeline; left as it was.
        arguments: its call arguments.
        call: those of this generator.
        denoisers: modules before whose first evaluation the call must have been stopped.

    Returns:
        The law, the dtype in which the pipeline draws, and how it takes latents.

    Raises:
        ArgumentError: the pipeline refuses the call arguments.
        UnsupportedError: the latents cannot be found, or are not pure noise.
    """
    probe = dict(call)
    if "generator" in arguments.defaults:
        probe["generator"] = torch.Generator().manual_seed(0)  # spares the global one
    if "prompt" in arguments.defaults and "prompt_embeds" not in call:
        probe.setdefault("prompt", "")  # may come as a condition later; no latent's shape depends on it
    original = getattr(pipe, "prepare_latents", None)
    if not callable(original):
        raise UnsupportedError(f"pipe: {arguments.pipeline} has no prepare_latents to watch. {_GIVE}")

    def stop(*args: Any, **kwargs: Any) -> None:
        raise _StoppedError(_law(original, args, kwargs, arguments.pipeline))

    def denoised(*_: Any) -> None:
        raise _DenoisedError

    hooks = [module.register_forward_pre_hook(denoised) for module in denoisers]
    try:
        with replaced(pipe, "prepare_latents", stop):
            pipe(**probe)
    except _StoppedError as stopped:
        return stopped.law
    except _DenoisedError:
        pass
    except SurrogateError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        missing = missing_encoder(pipe)
        if missing is not None and call.get("prompt_embeds") is None and not isinstance(error, ValueError):
            raise ArgumentError(
                f"pipe.{missing}: it is missing, so {arguments.pipeline} cannot read a prompt. Load the pipeline with "
                "it, or give the embeddings: pipeline_generator(pipe, prompt_embeds=...)."
            ) from error
        raise ArgumentError(
            f"{arguments.pipeline} refused its call arguments {sorted(call)}: {type(error).__name__}: {error}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        pipe.maybe_free_model_hooks()
    raise UnsupportedError(f"pipe: {arguments.pipeline} did not prepare latents before it denoised. {_GIVE}")


def _law(prepare: Callable[..., Any], args: Any, kwargs: Any, pipeline: str) -> LatentLaw:
    """The law of the latents that `prepare` takes, from runs with and without them."""
    with RecordedNormals() as normals:
        drawn = _tensor(prepare(*args, **kwargs))
    noise = next((draw for draw in reversed(normals.draws) if draw.numel() == drawn.numel()), None)
    if drawn.shape[0] != 1 or noise is None:
        raise UnsupportedError(f"pipe: {pipeline} draws its latents {tuple(drawn.shape)} in a way of its own. {_GIVE}")
    scale = _ratio(drawn, noise)
    if not torch.allclose(_sorted(drawn), scale * _sorted(noise), rtol=0.02, atol=1e-3 * scale):
        number = next(i for i, draw in enumerate(normals.draws) if draw is noise)
        return _mixed_law(prepare, args, kwargs, noise, number, pipeline)
    for shape in dict.fromkeys((tuple(noise.shape), tuple(drawn.shape))):
        given = noise.reshape(shape).to(drawn)
        try:
            taken = _tensor(_with_latents(prepare, args, kwargs, given))
        except (RuntimeError, ValueError, IndexError):  # not a shape that it can handle
            continue
        if taken.shape == drawn.shape:
            std = scale / _ratio(taken, given)
            return LatentLaw(Gaussian(shape[1:], std=1.0 if abs(std - 1) < 1e-3 else std), noise.dtype)
    raise UnsupportedError(f"pipe: {pipeline} takes latents in no shape that it draws itself. {_GIVE}")


def _mixed_law(
    prepare: Callable[..., Any], args: Any, kwargs: Any, noise: Tensor, number: int, pipeline: str
) -> LatentLaw:
    """The law of noise that is mixed with something else: the difference it makes must be that noise, scaled."""
    mixed = _tensor(inject_noise(prepare, number, noise)(*args, **kwargs))
    change = mixed - _tensor(inject_noise(prepare, number, torch.zeros_like(noise))(*args, **kwargs))
    scale = _ratio(change, noise)
    if scale == 0 or not torch.allclose(_sorted(change), scale * _sorted(noise), rtol=0.02, atol=1e-2 * scale):
        raise UnsupportedError(
            f"pipe: {pipeline} starts from latents that are not noise, nor noise mixed with an image in one way for "
            f"every entry. {_GIVE}"
        )
    return LatentLaw(Gaussian(tuple(noise.shape[1:])), noise.dtype, number)


def _with_latents(prepare: Callable[..., Any], args: Any, kwargs: Any, latents: Tensor) -> Any:
    """The same call of `prepare`, with latents given."""
    bound = inspect.signature(prepare).bind(*args, **kwargs)
    if "latents" not in bound.signature.parameters:
        raise ValueError("prepare_latents takes no latents")
    bound.arguments["latents"] = latents
    return prepare(*bound.args, **bound.kwargs)


def _tensor(prepared: Any) -> Tensor:
    """The latents among what `prepare_latents` returns: they come first."""
    first = prepared[0] if isinstance(prepared, (tuple, list)) else prepared
    return first if isinstance(first, Tensor) else torch.empty(0)


def _ratio(a: Tensor, b: Tensor) -> float:
    return float(a.cpu().double().norm() / b.cpu().double().norm())


def _sorted(a: Tensor) -> Tensor:
    # On the CPU: a pipeline draws there and moves what it drew, and not every device has float64.
    return a.flatten().cpu().double().sort().values
