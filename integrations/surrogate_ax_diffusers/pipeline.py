"""A diffusers pipeline as a generator: latents and call arguments in, outputs and their cost out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from surrogate_ax.arrays import Array
from surrogate_ax.checks import show
from surrogate_ax.errors import ArgumentError, MismatchError, ShapeError, UnsupportedError
from surrogate_ax.generation.comparison import numbers_of
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.described import described
from surrogate_ax.generation.finite import NOT_FINITE, not_finite
from surrogate_ax.generation.probe import probe_text
from surrogate_ax.generation.protocols import Generated, Outputs
from surrogate_ax.latents.priors import SINGLE, Latents, Prior, check_latents
from surrogate_ax.markup import one_line
from surrogate_ax_diffusers.arguments import Arguments
from surrogate_ax_diffusers.cut_prompts import CutWarnings
from surrogate_ax_diffusers.discovery import discover
from surrogate_ax_diffusers.embedded import check_prompts
from surrogate_ax_diffusers.embedding_cache import EmbeddingCache
from surrogate_ax_diffusers.encode_support import CODE_METHODS, CannotEncodeError, why_not_encodable
from surrogate_ax_diffusers.families import Family, Pipeline, find_family
from surrogate_ax_diffusers.fingerprint import call_text, component_parts, weights_digest
from surrogate_ax_diffusers.finite_rows import watched
from surrogate_ax_diffusers.image_noise import inject_noise
from surrogate_ax_diffusers.output_rate import output_rate
from surrogate_ax_diffusers.outputs import DenoiserRows, drop_failed, join_groups
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.pipeline_state import state_parts
from surrogate_ax_diffusers.schedulers import check_scheduler
from surrogate_ax_diffusers.short_run import shortened
from surrogate_ax_diffusers.start_checks import check_repeats, check_rows, device_index, fixed_rows
from surrogate_ax_diffusers.step_support import STEP_METHODS, CannotStepError, why_not_steppable
from surrogate_ax_diffusers.validation import check_decoder, check_size, move_pipeline

_CLASS: Any = DiffusionPipeline  # annotated, it would hide most of a pipeline's attributes


class PipelineGenerator:
    """A diffusers pipeline as a generator of whole outputs, and the base of those with further abilities.

    `pipeline_generator` makes the one that fits a pipeline; arguments as for `pipeline_generator`.
    """

    check_rows = False  # by a search: it looks itself, in short runs
    _step_noise = False  # whether the noise of stochastic steps is part of the latent

    def __init__(
        self,
        pipe: Pipeline,
        *,
        device: str | torch.device | None = None,
        revision: str | None = None,
        check_determinism: bool = True,
        prior: Prior | None = None,
        family: Family | None = None,
        **call: Any,
    ) -> None:
        if not isinstance(pipe, _CLASS):
            raise ArgumentError(
                f"pipe: expected a diffusers DiffusionPipeline, got {type(pipe).__name__}. Load one with "
                "surrogate_ax_diffusers.load_pipeline(folder), or wrap a function in a FunctionGenerator."
            )
        self._family = find_family(type(pipe)) if family is None else family
        self._arguments = Arguments(type(pipe), self._family)
        self._arguments.check_call(call)
        check_prompts(pipe, [call])
        self._warn_of_cuts = CutWarnings(pipe)
        self._warn_of_cuts([call])
        check_size(pipe, self._family, call, self._arguments.defaults)
        check_decoder(pipe, call)
        self._pipe = pipe
        self._call = call
        self._schedulers = {name: c for name, c in pipe.components.items() if "scheduler" in name and c is not None}
        for name, scheduler in self._schedulers.items():
            check_scheduler(scheduler, call, name=name, step_noise=self._step_noise)
        self._denoisers = self._find_denoisers()
        components = pipe.components.values()
        self._decoders = [c for c in components if isinstance(c, nn.Module) and callable(getattr(c, "decode", None))]
        move_pipeline(pipe, device)
        self._prior: Prior
        self._draw: int | None = None  # which draw of `prepare_latents` a latent replaces
        if prior is None:
            law = discover(pipe, self._arguments, call, self._denoisers)
            self._prior, self._dtype, self._draw = law.prior, law.dtype, law.draw
        else:
            self._prior, self._dtype = prior, next(self._denoisers[0].parameters()).dtype
        if list(self._prior.shapes) != [SINGLE]:
            raise ArgumentError(f"prior: expected the single part {SINGLE!r}, got {sorted(self._prior.shapes)}.")
        self._device = self.device  # looking it up walks over every module, too slow for each batch
        self._revision = revision
        self._unchecked = dict.fromkeys(("repeats", "rows", "stepping"), check_determinism)
        self._encode_prompt = (
            EmbeddingCache(pipe.encode_prompt, self._arguments.rows) if hasattr(pipe, "encode_prompt") else None
        )

    def __repr__(self) -> str:
        call = (f"{name}={show(value)}" for name, value in self._call.items())
        return one_line(type(self).__name__, type(self._pipe).__name__, *call)

    def _repr_html_(self) -> str:
        return described(self)

    @property
    def prior(self) -> Prior:
        """The law of its latents."""
        return self._prior

    @cached_property
    def rate(self) -> float | None:
        """Samples or frames a second of outputs that are sound or clips, as far as it is known."""
        return output_rate(self._pipe, self._call, self._arguments.defaults)

    @property
    def device(self) -> torch.device:
        """Where the pipeline computes; latents given elsewhere are moved there."""
        return torch.device(self._pipe._execution_device)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Class, configurations and state of the pipeline, call arguments, prior, weights or revision, and a probe.

        State is read anew each time; the rest, once.
        """
        return {**self._fingerprint, **state_parts(self._pipe)}

    @cached_property
    def _fingerprint(self) -> dict[str, str]:
        revision = self._revision
        return {
            "pipeline": type(self._pipe).__name__,
            **component_parts(self._pipe),
            "call": call_text(self._call),
            "prior": self._prior.fingerprint,
            **({"weights": weights_digest(self._pipe)} if revision is None else {"revision": revision}),
            "probe": self._probe(),
        }

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Outputs of n latents, one call of the pipeline for each group of conditions that cannot share one.

        Args:
            z: {"latents": (n, *shape)}, in any floating dtype and on any device; not modified.
            conditions: n mappings of call arguments, which override those of the generator.

        Returns:
            Outputs in order, without items that a safety checker withheld or whose final latents or decoded values are
            not finite; those are in `failed`.

        Raises:
            ShapeError: wrong latents, not n conditions, or a pipeline that does not return one output a latent.
            ArgumentError: conditions that the pipeline does not take or that cannot vary.
            UnsupportedError: the pipeline does not give the same output for the same latent, twice or beside others.
            MismatchError: the pipeline's scheduler was replaced.
        """
        latents = self._checked(z, conditions)
        n = len(latents)
        clock = time.perf_counter()
        nfe, failed, groups = np.zeros(n), dict[int, str](), []
        with self._driving() as rows:
            for shared, items in self._arguments.group(self._call, conditions):
                call = self._arguments.call(self._call, shared, [conditions[i] for i in items])
                outputs, withheld = self._run(latents if len(items) == n else latents[items], call)
                nfe[items] = rows.take() / len(items)
                groups.append((outputs, items))
                failed |= {items[k]: reason for k, reason in withheld.items()}
        outputs = drop_failed(join_groups(groups), failed)
        return Generated(outputs, nfe, time.perf_counter() - clock, dict(sorted(failed.items())))

    def __getattr__(self, name: str) -> Any:
        """Say why an ability is missing."""
        if name in STEP_METHODS and "_pipe" in vars(self):
            raise CannotStepError(f"{name}: {self._why_not_steppable()}")
        if name in CODE_METHODS and "_pipe" in vars(self):
            raise CannotEncodeError(f"{name}: {self._why_not_encodable()}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _why_not_steppable(self) -> str:
        return why_not_steppable(self._pipe) or (
            f"a {type(self).__name__} generates whole outputs only. Make the generator with pipeline_generator, which "
            "returns one that can stop between steps."
        )

    def _why_not_encodable(self) -> str:
        return why_not_encodable(self._pipe, self._call) or (
            f"a {type(self).__name__} does not encode items. Make the generator with pipeline_generator."
        )

    def _checked(self, z: Latents, conditions: Sequence[Condition]) -> Tensor:
        """The rows of a request that can be served: its latents (n, *shape)."""
        try:
            latents = self._rows_of(check_latents(z, self._prior))
        except ShapeError as error:
            axes = f" One latent has the axes ({', '.join(self._family.axes)})." if self._family.axes else ""
            raise ShapeError(f"{error}{axes}") from None
        n = check_conditions({"": latents}, conditions)
        self._arguments.check_conditions(conditions)
        check_prompts(self._pipe, conditions)
        self._warn_of_cuts(conditions)
        self._check_schedulers(conditions)
        if n:
            self._check_start(latents, conditions[0])
        return latents

    def _run(
        self, latents: Tensor, call: Mapping[str, Any], pipe: Pipeline | None = None
    ) -> tuple[Outputs, dict[int, str]]:
        """One call of the pipeline, or of a view of it: its outputs, and why items were withheld or are not finite."""
        given = latents.to(self._device, self._dtype, copy=True)
        pipe = self._pipe if pipe is None else pipe
        with ExitStack() as stack:
            final = stack.enter_context(watched([*self._schedulers.values()], self._decoders))
            stack.enter_context(np.errstate(invalid="ignore"))  # NaN turned to bytes, which `final` tells of
            if self._draw is None:
                result = pipe(**call, latents=given)
            else:
                mixed = inject_noise(self._pipe.prepare_latents, self._draw, given)
                stack.enter_context(replaced(self._pipe, "prepare_latents", mixed))
                result = pipe(**call)
        outputs = result[0]
        if len(outputs) != len(latents):
            raise ShapeError(
                f"{type(self._pipe).__name__} returned {len(outputs)} outputs for n = {len(latents)} latents. "
                "Pass pipeline_generator(family=...) with the argument that repeats a prompt."
            )
        flags = [flags for name in self._family.rejected if (flags := getattr(result, name, None)) is not None]
        reason = "withheld by the pipeline's safety checker"
        failed = dict.fromkeys(not_finite(outputs), NOT_FINITE) | final.not_finite(len(latents))
        return outputs, {k: reason for each in flags for k, flag in enumerate(each) if flag} | failed

    @contextmanager
    def _driving(self) -> Iterator[DenoiserRows]:
        """The pipeline without its progress bar, with cached embeddings and counted denoiser rows."""
        rows = DenoiserRows()
        with ExitStack() as stack:
            quiet = {**getattr(self._pipe, "_progress_bar_config", {}), "disable": True}
            stack.enter_context(replaced(self._pipe, "_progress_bar_config", quiet))
            if self._encode_prompt is not None:
                stack.enter_context(replaced(self._pipe, "encode_prompt", self._encode_prompt))
            for module in self._denoisers:
                stack.callback(module.register_forward_pre_hook(rows, with_kwargs=True).remove)
            yield rows

    def _check_start(self, rows: Tensor, condition: Condition) -> None:
        """Check, once each, that outputs repeat, and that rows of a batch do not depend on each other."""
        first, pair = self._unchecked["repeats"], self._unchecked["rows"] and len(rows) > 1
        if not (first or pair):
            return
        half, alone = self._half, self._short_outputs(rows[:1], condition)[0]
        if first:
            check_repeats(self._pipe, alone, self._short_outputs(rows[:1], condition)[0], half=half)
            self._unchecked["repeats"] = False
        if pair:  # not before there are two: room for a second row may be lacking
            rough = half or self._device.type != "cpu"
            check_rows(self._pipe, alone, self._short_outputs(rows[:2], condition)[0], rough=rough)
            self._unchecked["rows"] = False

    def _short_outputs(self, rows: Tensor, condition: Condition) -> list[Array]:
        """What short runs make of rows under one condition, as numbers."""
        call = self._arguments.call(self._call, condition, [condition] * len(rows))
        with self._driving(), shortened(self._schedulers, self._denoisers):
            outputs = self._run(rows, call)[0]
        return [numbers_of(outputs, i) for i in range(len(outputs))]

    def _probe(self) -> str:
        """The probe of one fixed latent, by a short run in which what is drawn is drawn from a fixed seed."""
        has_prompt = bool({"prompt", "prompt_embeds"} & self._call.keys()) or "prompt" not in self._arguments.defaults
        rows = self._rows_of(self._prior.from_inner(fixed_rows(self._prior.dim)))
        decoders, device = self._decoders, self._device
        try:
            with (
                torch.random.fork_rng(
                    device_index(device), device_type=device.type if device.type != "cpu" else "cuda"
                ),
                watched([*self._schedulers.values()], decoders) as final,
            ):
                torch.manual_seed(0)
                outputs = self._short_outputs(rows, {} if has_prompt else {"prompt": ""})
        except Exception as error:  # noqa: BLE001  the user's own call says it better, if it fails as well
            return f"failed: {type(error).__name__}"
        latents = [] if final.latents is None else [final.latents[0].detach().cpu().double().numpy()]
        return probe_text([*latents, outputs[0]], device=device.type, dtype=str(self._dtype).removeprefix("torch."))

    @property
    def _half(self) -> bool:
        return next(self._denoisers[0].parameters()).dtype not in (torch.float32, torch.float64)

    def _rows_of(self, parts: Latents) -> Tensor:
        """The rows that a run takes, from named parts."""
        return parts[SINGLE]

    def _check_schedulers(self, conditions: Sequence[Condition]) -> None:
        """Refuse schedulers other than those the generator was built with, and noise switched on by a condition."""
        for name, scheduler in self._schedulers.items():
            if getattr(self._pipe, name) is not scheduler:
                raise MismatchError(f"pipe.{name} was replaced after the generator was built. Build a new one.")
            for eta in {condition["eta"] for condition in conditions if "eta" in condition}:
                check_scheduler(scheduler, {"eta": eta}, name=name)

    def _find_denoisers(self) -> list[nn.Module]:
        names = self._family.denoisers
        found = [module for name in names if isinstance(module := getattr(self._pipe, name, None), nn.Module)]
        if not found:
            modules = sorted(name for name, c in self._pipe.components.items() if isinstance(c, nn.Module))
            raise UnsupportedError(
                f"pipe: {type(self._pipe).__name__} has none of the denoisers {list(names)}, so its cost cannot be "
                f"counted. Pass pipeline_generator(family=Family(..., denoisers=...)) with one of {modules}."
            )
        return found
