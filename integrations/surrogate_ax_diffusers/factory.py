"""The generator of a diffusers pipeline, with the abilities that this pipeline has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline

from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.priors import Prior
from surrogate_ax_diffusers.editable import EditablePipelineGenerator
from surrogate_ax_diffusers.encode_support import why_not_encodable
from surrogate_ax_diffusers.encoding import EncodablePipelineGenerator, Encoder
from surrogate_ax_diffusers.families import Family, Pipeline
from surrogate_ax_diffusers.pipeline import PipelineGenerator
from surrogate_ax_diffusers.step_noise import StepNoisePipelineGenerator
from surrogate_ax_diffusers.step_support import why_not_steppable
from surrogate_ax_diffusers.stepping import SteppablePipelineGenerator

_PIPELINE: Any = DiffusionPipeline  # annotated, it would hide most of a pipeline's attributes


def pipeline_generator(
    pipe: Pipeline,
    *,
    device: str | torch.device | None = None,
    revision: str | None = None,
    check_determinism: bool = True,
    prior: Prior | None = None,
    family: Family | None = None,
    step_noise: bool = False,
    encoder: Encoder | None = None,
    **call: Any,
) -> PipelineGenerator:
    """A diffusers pipeline as a generator.

    The shape of a latent is found by watching the pipeline draw one; the denoiser does not run for that. The pipeline
    is used as it is and must not be changed afterwards: weights, scheduler and adapters are part of the fingerprint.

    Args:
        pipe: a `DiffusionPipeline` that takes `latents`, or mixes its noise with an `image`; its scheduler adds no
            noise of its own, but for `step_noise`.
        device: where to move the pipeline; None leaves it where it is.
        revision: your name for these weights, in place of a digest over them.
        check_determinism: before the first batch, see in short runs of your own call that the first latent gives the
            same output twice, and beside a second one, and with stops between its steps.
        prior: the law of the latents, where it cannot be found.
        family: how to drive the pipeline; None looks it up in `FAMILIES`.
        step_noise: take the noise of a stochastic scheduler's steps into the latent, as a further part "noises".
        encoder: from items (n, H, W, C) in [0, 1] to what `vae.decode` is given, in place of the pipeline's own
            processor and `vae.encode`.
        **call: the pipeline's own call arguments for every item (`prompt="..."`, `num_inference_steps=12`,
            `output_type="np"`); conditions override them item by item.

    Returns:
        A `SteppablePipelineGenerator` where the pipeline can stop between its steps, with `step_noise` a generator
        whose latents hold the noise of every step, else a plain `PipelineGenerator`. Where items can be encoded, one
        that does that as well (`EditablePipelineGenerator`, `EncodablePipelineGenerator`).

    Raises:
        ArgumentError: not a pipeline, a part or a device that is missing, or call arguments that it does not take or
            refuses.
        UnsupportedError: no `latents`, a stochastic scheduler, or latents that cannot be found.
    """
    kind = _kind(pipe, step_noise, call)
    options: dict[str, Any] = {}
    if kind in (EncodablePipelineGenerator, EditablePipelineGenerator):
        options["encoder"] = encoder
    elif encoder is not None:
        reason = "with step_noise, items are not encoded" if step_noise else why_not_encodable(pipe, call)
        raise ArgumentError(f"encoder: {reason}")
    return kind(
        pipe,
        device=device,
        revision=revision,
        check_determinism=check_determinism,
        prior=prior,
        family=family,
        **options,
        **call,
    )


def _kind(pipe: Pipeline, step_noise: bool, call: Mapping[str, Any]) -> type[PipelineGenerator]:
    """The class with the abilities that the pipeline has under these call arguments."""
    if step_noise:
        return StepNoisePipelineGenerator
    if not isinstance(pipe, _PIPELINE):
        return PipelineGenerator  # which refuses it
    steps, encodes = why_not_steppable(pipe) is None, why_not_encodable(pipe, call) is None
    if steps:
        return EditablePipelineGenerator if encodes else SteppablePipelineGenerator
    return EncodablePipelineGenerator if encodes else PipelineGenerator
