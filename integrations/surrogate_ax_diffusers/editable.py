"""Pipelines with every ability that edits need: they stop between steps, encode items, and know the noise of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.protocols import Outputs
from surrogate_ax.latents.priors import SINGLE, Latents, check_latents
from surrogate_ax_diffusers.encoding import Encoder, PipelineCode
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.stepping import SteppablePipelineGenerator
from surrogate_ax_diffusers.trajectory_state import TrajectoryState


class EditablePipelineGenerator(SteppablePipelineGenerator):
    """A steppable pipeline that encodes and decodes items, and noises latents through its scheduler.

    `pipeline_generator` makes one where the pipeline can; arguments as for `pipeline_generator`.
    """

    def __init__(self, pipe: Pipeline, *, encoder: Encoder | None = None, **options: Any) -> None:
        super().__init__(pipe, **options)
        self._code = PipelineCode(pipe, self._prior, self._dtype, self._decode_final, encoder)

    def encode(self, items: Any) -> Latents:
        """The final latents of given items; see `EncodablePipelineGenerator.encode`."""
        return self._code.encode(items)

    def decode(self, z: Latents) -> Outputs:
        """The outputs of final latents {"latents": (n, *shape)}."""
        return self._code.decode(z)

    def latent_mask(self, region: Array) -> Latents:
        """The entries that belong to a region of an item; see `EncodablePipelineGenerator.latent_mask`."""
        return self._code.latent_mask(region)

    def noised(self, x: Latents, eps: Latents, step: int) -> Latents:
        """Final latents at the noise level of a step, as `start` takes them there; the scheduler's own formula.

        Args:
            x: {"latents": (n, *shape)} final latents.
            eps: n draws of the prior, the noise.
            step: 0 to T.

        Raises:
            ShapeError: wrong latents.
            ArgumentError: a step out of range.
        """
        final = check_latents(x, self._prior, name="x")[SINGLE]
        if not 0 <= step <= self.steps:
            raise ArgumentError(f"step: expected 0 to {self.steps}, got {step}.")
        if step == self.steps:
            return {SINGLE: final.clone()}
        noise = self._prior.to_inner(check_latents(eps, self._prior, name="eps"), rng=0).reshape(final.shape)
        schedule = self._schedule
        for counter in ("_begin_index", "_step_index"):
            if hasattr(schedule, counter):
                setattr(schedule, counter, None)  # it looks the step up by its time then
        times = schedule.timesteps[step].reshape(1).expand(len(final))
        mix = getattr(schedule, "scale_noise", None)
        noise = noise.to(final)
        mixed: Tensor = schedule.add_noise(final, noise, times) if mix is None else mix(final, times, noise)
        return {SINGLE: mixed / float(getattr(schedule, "init_noise_sigma", 1.0)) if step == 0 else mixed}

    def _decode_final(self, z: Tensor) -> Outputs:
        latents = z.to(self._device, self._dtype)
        end = TrajectoryState(self.steps, latents, self._blank(len(z)), np.zeros(len(z)))
        return self._run_to(end, self.steps)[1]
