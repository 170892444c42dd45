"""What made a study: its generator, and where a sweep file is known, its score.

| `--generator` | the generator |
|---|---|
| left out | that of the sweep file; without one, the embedded model that made the study |
| portraits, avatars | an embedded model, under the call that the study records |
| a folder, or a repository in the Hugging Face cache | a diffusers pipeline, under the call that the study records |
| package.module:factory | what a function without arguments returns |
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.generation.protocols import Generator, Timed
from surrogate_ax.generation.recipe import check_fingerprint
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_cli import embedded
from surrogate_ax_cli.generator_source import is_repository
from surrogate_ax_cli.targets import Searched


@dataclass(frozen=True)
class Maker:
    """What made the outputs of a study.

    Args:
        generator: made them.
        objective: scores them; None where its score is not known.
        device: where latents are made.
    """

    generator: Generator
    objective: Objective | None
    device: str

    @property
    def rate(self) -> float | None:
        """Samples or frames a second, of outputs that last."""
        return self.generator.rate if isinstance(self.generator, Timed) else None


def maker_of(searched: Searched, spec: str | None) -> Maker:
    """What made a study.

    Args:
        searched: the study.
        spec: an embedded model, a folder or "package.module:factory"; None takes what the study's sweep file names.

    Raises:
        ArgumentError: nothing of that name, not a generator, or no trial yet.
        MismatchError: the study was made with another one.
    """
    if spec is None and searched.sweep is not None:
        from surrogate_ax_cli.assembly import assemble

        parts = assemble(searched.sweep)
        return Maker(parts.generator, parts.objective, parts.device)
    trials = searched.record().trials
    if not trials:
        raise ArgumentError(f"STUDY: no trial of {searched.name!r} has ended yet.")
    recorded = trials[0].recipe.generator
    generator = _make(spec, recorded)
    if not isinstance(generator, Generator):
        raise ArgumentError(f"--generator: expected {spec!r} to return a Generator, got {type(generator).__name__}.")
    check_fingerprint(recorded, generator, what="study")
    return Maker(generator, None, str(getattr(generator, "device", "cpu")))


def call_factory(spec: str) -> Any:
    """What a function without arguments returns, given as "package.module:function"."""
    module, _, factory = spec.partition(":")
    if not (module and factory):
        names = f"{embedded.LISTED}, a folder or package.module:factory"
        raise ArgumentError(f"--generator: expected {names}, got {spec!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does, so that a factory beside the study is found
    try:
        return getattr(import_module(module), factory)()
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in (module, module.split(".")[0]):
            raise
        raise ArgumentError(f"--generator: found no {spec!r} ({error}). Run it where the module is.") from error


def _make(spec: str | None, recorded: Mapping[str, str]) -> Any:
    ours = spec is None or spec in embedded.NAMES
    folder = None if ours or ":" in str(spec) else Path(str(spec))
    if not ours and (folder is None or not (folder.is_dir() or is_repository(str(folder)))):
        return call_factory(str(spec))
    if "call" not in recorded:
        raise MismatchError(
            f"--generator: no pipeline made this study, its generator is {dict(recorded)}. Name the function that "
            "returns it, as --generator package.module:factory."
        )
    call = json.loads(recorded["call"])
    if folder is None:
        return embedded.generator(spec or embedded.recorded(recorded), call)
    import_module("surrogate_ax_diffusers")  # names the extra to install where it is missing
    from surrogate_ax_diffusers import load_pipeline, pipeline_generator

    return pipeline_generator(load_pipeline(folder), **call)
