"""A sweep's generator on Ray's actors, each of which makes it from a name and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surrogate_ax.generation.conditions import Choice
from surrogate_ax.generation.protocols import Generator
from surrogate_ax_cli.generator_source import beside, load_options
from surrogate_ax_cli.sweep_file import SweepFile


def pooled(sweep: SweepFile) -> Generator:
    """The actors that a file asks for.

    Args:
        sweep: the file, whose `generator:` has `ray:`.

    Raises:
        SurrogateError: as `RayGenerator`.
    """
    from surrogate_ax_ray import RayGenerator

    source, asked = sweep.generator, dict(sweep.generator.ray or {})
    there = asked.pop("score", False)
    factory, arguments = _factory(sweep)
    return RayGenerator(
        factory,
        arguments=arguments,
        num_actors=asked.get("actors", 1),
        resources={"num_cpus": asked.get("cpus", 1), "num_gpus": asked.get("gpus", 0)},
        score=sweep.score if there else None,
        metrics=sweep.metrics if there else (),
        outputs=asked.get("outputs", "whole"),
        address=asked.get("address"),
        folder=sweep.path.parent if source.kind == "function" or there else None,
    )


def _factory(sweep: SweepFile) -> tuple[str, dict[str, Any]]:
    """What an actor calls, and with what."""
    source = sweep.generator
    if source.kind == "function":
        return source.where, dict(sweep.call)
    if source.kind == "embedded":
        texts = [dict(text) for text in searched_texts(sweep)]
        return "surrogate_ax_cli.embedded:generator", {"name": source.where, "call": dict(sweep.call), "texts": texts}
    folder = sweep.path.parent.resolve()
    options = load_options(source, folder)
    arguments = {"folder": beside(folder, source.where), "options": options, "call": dict(sweep.call)}
    return "surrogate_ax_cli.pooled:pipeline", arguments


def searched_texts(sweep: SweepFile) -> list[Mapping[str, Any]]:
    """Values that are searched, as call arguments: an embedded model looks for words that it does not know.

    Args:
        sweep: the file.
    """
    return [
        {key: value}
        for key, condition in sweep.conditions.items()
        for value in (condition.values if isinstance(condition, Choice) else ())
    ]


def pipeline(folder: str, options: Mapping[str, Any], call: Mapping[str, Any]) -> Generator:
    """A pipeline as a generator.

    Args:
        folder: of the pipeline, or what else `load_pipeline` takes.
        options: how it is loaded: device, offload, step_noise, and arguments of `load_pipeline`.
        call: its fixed call arguments.
    """
    import torch

    from surrogate_ax_diffusers import load_pipeline, pipeline_generator

    given = dict(options)
    device, offload = given.pop("device", None), given.pop("offload", False)
    noise = {"step_noise": given.pop("step_noise")} if "step_noise" in given else {}
    pipe = load_pipeline(folder, dtype=getattr(torch, given.pop("dtype", "float32")), **given)
    if offload:
        pipe.enable_model_cpu_offload(device=device)
    return pipeline_generator(pipe, device=None if offload else device, **noise, **call)
