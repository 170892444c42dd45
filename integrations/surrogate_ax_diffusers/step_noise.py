"""Stochastic samplers as deterministic maps: the noise that a scheduler draws at its steps is part of the latent.

Notation: n items, S draws of a scheduler in one call, each of the shape the sampler steps in. What the scheduler would
draw inside its `step` is taken from the latent instead, row by row, so that an item's output does not depend on the
batch or on a random number generator. All parts of a latent are combined with the same weights.
Source: surrogate latent spaces (arXiv 2509.23800), section 3, on products; the paper leaves these samplers open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.generation.protocols import Outputs
from surrogate_ax.latents.priors import SINGLE, Gaussian, Latents
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.pipeline import PipelineGenerator

_SCHEDULE = ("num_inference_steps", "timesteps", "sigmas", "eta", "strength", "denoising_start", "denoising_end")
# The noise in place of an empty tensor of the shape that would be drawn, by the scheduler's name and that tensor.
NoiseSource = Callable[[str, Tensor], Tensor]


class StepNoisePipelineGenerator(PipelineGenerator):
    """A `PipelineGenerator` whose latents hold the noise of every step: `pipeline_generator(..., step_noise=True)`.

    Its prior has the parts "latents" and "noises", (S, *shape) for S draws. The number of steps is part of the prior,
    so it is fixed when the generator is built.

    Raises:
        ArgumentError: the scheduler draws no noise, or not the noise of one item at a time.
    """

    _step_noise = True

    def __init__(self, pipe: Pipeline, **options: Any) -> None:
        super().__init__(pipe, **options)
        self._arguments.fixed |= set(_SCHEDULE) & self._arguments.defaults.keys()
        self._names = {name: part_name(name) for name in self._schedulers}
        drawn = self._find_draws()
        if not drawn:
            kinds = sorted(type(scheduler).__name__ for scheduler in self._schedulers.values())
            raise ArgumentError(
                f"step_noise: {kinds} draw no noise at their steps under these arguments. Leave it out."
            )
        law = self._prior
        if not isinstance(law, Gaussian):
            raise ArgumentError(f"prior: expected a Gaussian beside the noise of steps, got {type(law).__name__}.")
        shapes = {**law.shapes, **{self._names[name]: shape for name, shape in drawn.items()}}
        self._prior = Gaussian(shapes, mean=law.mean, std=law.std)

    def _find_draws(self) -> dict[str, tuple[int, ...]]:
        """The noise that schedulers draw for one item, (S, *shape) by name, seen in one call that denoises once."""
        call = dict(self._arguments.call({"prompt": "", **self._call} if self._takes_prompt else self._call, {}, [{}]))
        if "output_type" in self._arguments.defaults:
            call["output_type"] = "latent"
        z = torch.zeros(1, *self._prior.shapes[SINGLE])
        with self._driving(), recorded_draws(self._schedulers, self._denoisers) as shapes:
            super()._run(z, call)
        return step_noise_shapes(shapes)

    def _why_not_steppable(self) -> str:
        return "a pipeline whose steps take their noise from the latent cannot stop between them."

    @property
    def _takes_prompt(self) -> bool:
        return "prompt" in self._arguments.defaults and "prompt_embeds" not in self._call

    def _rows_of(self, parts: Latents) -> Tensor:
        """All parts as rows (n, entries)."""
        return torch.cat([part.flatten(1) for part in parts.values()], dim=1)

    def _run(
        self, latents: Tensor, call: Mapping[str, Any], pipe: Pipeline | None = None
    ) -> tuple[Outputs, dict[int, str]]:
        """One call of the pipeline, whose schedulers take their noise from the rows."""
        shapes = self._prior.shapes
        flats = torch.split(latents.to(self._device), [math.prod(shape) for shape in shapes.values()], dim=1)
        parts = {name: flat.reshape(-1, *shapes[name]) for name, flat in zip(shapes, flats, strict=True)}
        noises = {name: parts[part] for name, part in self._names.items() if part in parts}
        with injected_step_noise(self._schedulers, noises):
            return super()._run(parts[SINGLE], call, pipe)


def part_name(scheduler: str) -> str:
    """What the noise of a scheduler is called among the parts of a latent."""
    kind = scheduler.removesuffix("scheduler").rstrip("_")
    return f"noises_{kind}" if kind else "noises"


class _ReplacedDraws(TorchFunctionMode):
    """Replaces what is drawn from N(0, I) inside its block; no random number generator moves on."""

    def __init__(self, scheduler: str, source: NoiseSource) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._source = source

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, unless it is a normal draw, which the source stands in for."""
        kwargs = dict(kwargs or {})
        if func not in (torch.randn, torch.randn_like):
            return func(*args, **kwargs)
        kwargs.pop("generator", None)
        empty = (torch.empty if func is torch.randn else torch.empty_like)(*args, **kwargs)
        return self._source(self._scheduler, empty)


@contextmanager
def injected_step_noise(schedulers: Mapping[str, Any], noises: Mapping[str, Tensor]) -> Iterator[None]:
    """Schedulers whose steps take their noise from given tensors inside the block.

    Args:
        schedulers: components of a pipeline by name.
        noises: (n, S, *shape) by scheduler; schedulers left out draw nothing.

    Raises:
        ShapeError: a scheduler draws another shape, or not S times.
    """
    used = dict.fromkeys(schedulers, 0)

    def next_noise(name: str, empty: Tensor) -> Tensor:
        given, k = noises.get(name), used[name]
        if given is None or k >= given.shape[1] or empty.shape != given[:, 0].shape:
            had = None if given is None else tuple(given.shape)
            raise ShapeError(
                f"pipe.{name}: draw {k + 1} of this call has shape {tuple(empty.shape)}, but the latents hold noise "
                f"(n, S, ...) = {had}. Steps and their noise are fixed when the generator is built."
            )
        used[name] += 1
        return given[:, k].to(empty.device, empty.dtype, copy=True)

    with _drawing_from(next_noise, schedulers):
        yield
    left = {name: given.shape[1] - used[name] for name, given in noises.items() if used[name] != given.shape[1]}
    if left:
        raise ShapeError(f"noises: draws {left} were not used; the pipeline took fewer steps than when it was built.")


@contextmanager
def recorded_draws(
    schedulers: Mapping[str, Any], denoisers: Sequence[nn.Module]
) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """The shapes that schedulers draw inside the block, by name; denoisers run once there and repeat their answer.

    Args:
        schedulers: components of a pipeline by name.
        denoisers: its denoisers.
    """
    shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in schedulers}

    def record(name: str, empty: Tensor) -> Tensor:
        shapes[name].append(tuple(empty.shape))
        return empty.zero_()

    with ExitStack() as stack:
        for module in denoisers:
            stack.enter_context(replaced(module, "forward", run_once(module.forward)))
        stack.enter_context(_drawing_from(record, schedulers))
        yield shapes


def step_noise_shapes(draws: Mapping[str, Sequence[tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """(S, *shape) by scheduler; schedulers that draw nothing are left out.

    Args:
        draws: the shapes of each scheduler's draws for one item.

    Raises:
        UnsupportedError: draws of several shapes, or not of one item.
    """
    found = {}
    for name, shapes in draws.items():
        if len(set(shapes)) > 1 or any(shape[0] != 1 for shape in shapes):
            raise UnsupportedError(
                f"pipe.{name}: its steps draw noise of the shapes {sorted(set(shapes))}, expected one, for one item."
            )
        if shapes:
            found[name] = (len(shapes), *shapes[0][1:])
    return found


@contextmanager
def _drawing_from(source: NoiseSource, schedulers: Mapping[str, Any]) -> Iterator[None]:
    """Schedulers whose steps take what they draw from a source."""
    with ExitStack() as stack:
        for name, scheduler in schedulers.items():
            stack.enter_context(replaced(scheduler, "step", _step_with(source, scheduler.step, name)))
        yield


def _step_with(source: NoiseSource, step: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(step)  # pipelines look at its signature
    def stepped(*args: Any, **kwargs: Any) -> Any:
        with _ReplacedDraws(name, source):
            return step(*args, **kwargs)

    return stepped


def run_once(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A denoiser's forward that is evaluated once and then repeats its answer."""
    answers: list[Any] = []

    @wraps(forward)
    def repeated(*args: Any, **kwargs: Any) -> Any:
        if not answers:
            answers.append(forward(*args, **kwargs))
        return answers[0]

    return repeated
