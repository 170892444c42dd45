"""From items to the latents that a pipeline's loop ends with, and back: what inversion and edits start from.

Items go through the pipeline's own image or video processor and `vae.encode`, whose mode is taken; `latent_code` has
the map from there to the loop's final latents. Decoding is the pipeline's own end, in a call whose steps are passed
over.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.generation.protocols import Outputs
from surrogate_ax.latents.priors import SINGLE, Latents, Prior, check_latents
from surrogate_ax_diffusers.arguments import blank_prompt
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.items import item_rows
from surrogate_ax_diffusers.latent_code import LatentCode, find_order
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.pipeline import PipelineGenerator
from surrogate_ax_diffusers.step_noise import run_once

Encoder = Callable[[Array], Tensor]  # items (n, H, W, C) in [0, 1] to latents of the VAE
_POOLS = {
    1: torch.nn.functional.adaptive_max_pool1d,
    2: torch.nn.functional.adaptive_max_pool2d,
    3: torch.nn.functional.adaptive_max_pool3d,
}


class PipelineCode:
    """Encoding and decoding of one pipeline's items.

    Args:
        pipe: the pipeline.
        prior: the law of its latents.
        dtype: in which it computes.
        decode: from final latents (n, *shape) to outputs, through the pipeline.
        encoder: in place of the pipeline's own processor and `vae.encode`.
    """

    def __init__(
        self,
        pipe: Pipeline,
        prior: Prior,
        dtype: torch.dtype,
        decode: Callable[[Tensor], Outputs],
        encoder: Encoder | None = None,
    ) -> None:
        self._pipe, self._prior, self._dtype = pipe, prior, dtype
        self._decode, self._encoder = decode, encoder

    def encode(self, items: Any) -> Latents:
        """Final latents {"latents": (n, *shape)} of items, float32 on the CPU; see `EncodablePipelineGenerator`."""
        code, sample = self._found
        flat = sample if len(sample) != 4 or sample[1] != 1 else (sample[0], *sample[2:])  # a picture as a clip of one
        rows = item_rows(items, flat)
        v = self._vae_latents(rows, sample) if self._encoder is None else self._given_encoder(rows)
        v = v.detach().float().cpu()
        if tuple(v.shape[1:]) != code.vae_shape:
            raise ShapeError(f"encoder: expected latents of the VAE (n, {code.vae_shape}), got {tuple(v.shape)}.")
        return {SINGLE: code.from_vae(v)}

    def decode(self, z: Latents) -> Outputs:
        """The outputs of final latents."""
        return self._decode(check_latents(z, self._prior)[SINGLE])

    def latent_mask(self, region: Array) -> Latents:
        """Which entries {"latents": (1, *shape)} of a final latent belong to a region of an item."""
        code, sample = self._found
        given = torch.as_tensor(np.asarray(region))
        wanted = tuple(sample[1:])
        if given.dtype != torch.bool:
            raise ArgumentError(f"mask: expected truth values, True where items may change, got {given.dtype}.")
        fits = given.shape == wanted or (len(wanted) == 3 and given.shape == wanted[1:])
        if not fits:
            raise ShapeError(f"mask: expected one value a place of an item, {wanted}, got {tuple(given.shape)}.")
        if given.all() or not given.any():
            raise ArgumentError(f"mask: it selects {'everything' if given.all() else 'nothing'}; there is no edge.")
        spread = given.float().expand(wanted)[None, None]
        pooled = _POOLS[len(wanted)](spread, code.vae_shape[1:])
        return {SINGLE: code.moved(pooled.expand(1, *code.vae_shape).flatten(1))}

    @cached_property
    def _found(self) -> tuple[LatentCode, tuple[int, ...]]:
        """The map to what the VAE is given, and the shape of what it makes of one latent."""
        shapes: list[tuple[int, ...]] = []

        def run(z: Tensor) -> Tensor:
            given: list[Tensor] = []
            vae_decode = self._pipe.vae.decode

            @wraps(vae_decode)
            def seen(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
                given.append(latents)
                if shapes:
                    raise _SeenError
                decoded = vae_decode(latents, *args, **kwargs)
                first = decoded[0] if isinstance(decoded, tuple) else decoded.sample
                shapes.append(tuple(first.shape[1:]))
                return decoded

            try:
                with replaced(self._pipe.vae, "decode", seen):
                    self._decode(z)
            except _SeenError:
                self._pipe.maybe_free_model_hooks()
            if len(given) != 1 or len(given[0]) != 1:
                raise UnsupportedError(f"{type(self._pipe).__name__} does not decode its latents in one call.")
            return given[0].detach().cpu()

        with torch.no_grad():
            code = find_order(dict(self._prior.shapes)[SINGLE], run, self._dtype)
        return code, shapes[0]

    @torch.no_grad()
    def _vae_latents(self, rows: Tensor, sample: tuple[int, ...]) -> Tensor:
        """What the VAE's encoder makes of items, its mode."""
        vae, pipe = self._pipe.vae, self._pipe
        if len(sample) > 2:
            frames = rows.transpose(1, 2).flatten(0, 1) if rows.ndim == 5 else rows
            processor = getattr(pipe, "image_processor", None) or pipe.video_processor
            made = processor.preprocess(frames, height=sample[-2], width=sample[-1])
            rows = made.unflatten(0, (len(rows), -1)).transpose(1, 2) if rows.ndim == 5 else made
            rows = rows.unsqueeze(2) if len(sample) == 4 and rows.ndim == 4 else rows
        encoded = vae.encode(rows.to(pipe._execution_device, vae.dtype))
        mode = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        pipe.maybe_free_model_hooks()
        return mode  # type: ignore[no-any-return]

    def _given_encoder(self, rows: Tensor) -> Tensor:
        encoder = self._encoder
        if encoder is None:
            raise UnsupportedError("encoder: none was given.")
        return encoder(np.moveaxis(rows.numpy(), 1, -1))


class EncodablePipelineGenerator(PipelineGenerator):
    """A `PipelineGenerator` that encodes and decodes items.

    `pipeline_generator` makes one where the pipeline can; arguments as for `pipeline_generator`.
    """

    def __init__(self, pipe: Pipeline, *, encoder: Encoder | None = None, **options: Any) -> None:
        super().__init__(pipe, **options)
        self._code = PipelineCode(pipe, self._prior, self._dtype, self._decode_final, encoder)

    def encode(self, items: Any) -> Latents:
        """The final latents of given items.

        Args:
            items: n pictures, clips or sounds, of the size that the pipeline makes; `items` says in which forms.

        Returns:
            {"latents": (n, *shape)}, float32, such that `decode` gives the items as well as the VAE can.

        Raises:
            ShapeError: items of another size.
            ArgumentError: pictures of another mode, or values outside [0, 1].
            UnsupportedError: the VAE is given something else than the final latents, scaled and shifted.
        """
        return self._code.encode(items)

    def decode(self, z: Latents) -> Outputs:
        """The outputs of final latents {"latents": (n, *shape)}."""
        return self._code.decode(z)

    def latent_mask(self, region: Array) -> Latents:
        """1 for the entries {"latents": (1, *shape)} that belong to a region of an item, 0 elsewhere.

        Args:
            region: (H, W) truth values, for clips (F, H, W) too, for sound (S,).

        Raises:
            ShapeError: another shape than an item's.
            ArgumentError: it selects everything or nothing.
        """
        return self._code.latent_mask(region)

    def _decode_final(self, z: Tensor) -> Outputs:
        """One call whose denoiser runs once, and whose last step returns given latents."""
        prepared: list[Tensor] = []
        own, step = self._pipe.prepare_latents, self._pipe.scheduler.step
        sigma = float(getattr(self._pipe.scheduler, "init_noise_sigma", 1.0))

        @wraps(own)
        def prepare(*args: Any, **kwargs: Any) -> Any:
            made = own(*args, **kwargs)
            prepared.append((made[0] if isinstance(made, (tuple, list)) else made) / sigma)
            return made

        @wraps(step)
        def last(*args: Any, **kwargs: Any) -> Any:
            stepped = step(*args, **kwargs)
            if isinstance(stepped, tuple):
                return (prepared[0], *stepped[1:])
            stepped["prev_sample"] = prepared[0]
            return stepped

        conditions = [blank_prompt(self._arguments.defaults, self._call)] * len(z)
        call = self._arguments.call(self._call, {}, conditions)
        with self._driving(), ExitStack() as stack:
            for module in self._denoisers:
                stack.enter_context(replaced(module, "forward", run_once(module.forward)))
            stack.enter_context(replaced(self._pipe, "prepare_latents", prepare))
            stack.enter_context(replaced(self._pipe.scheduler, "step", last))
            return self._run(z, call)[0]


class _SeenError(Exception):
    """Ends the pipeline's call once the VAE was given its latents."""
