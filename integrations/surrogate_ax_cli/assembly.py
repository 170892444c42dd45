"""Build what a sweep file names: generator, objective and policy. Nothing is written, and the model does not run."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from surrogate_ax.errors import GenerationError, SurrogateError
from surrogate_ax.execution.budget import check_overlap, stoppable_steps
from surrogate_ax.execution.early_stopping import check_checkpoints
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.plan import Plan, plan
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Objective, Score
from surrogate_ax.scoring.process import SubprocessScore
from surrogate_ax_cli import embedded
from surrogate_ax_cli.clip_call import is_clip_call, read_clip_call
from surrogate_ax_cli.components import axes_of, make_policy
from surrogate_ax_cli.generator_source import Source, beside, load_options
from surrogate_ax_cli.pooled import pipeline, pooled, searched_texts
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_cli.yaml_node import did_you_mean


@dataclass(frozen=True)
class SweepComponents:
    """What a sweep is made of.

    Args:
        generator: makes the outputs.
        objective: scores them.
        policy: where to search; None follows the plan.
        plan: how a new study spends its budget where the file names no policy.
        trials: wanted in all.
        axes: K; the box has K - 1 parameters.
        device: where latents are made.
    """

    generator: Generator
    objective: Objective
    policy: Policy | None
    plan: Plan
    trials: int
    axes: int
    device: str

    @property
    def planned(self) -> bool:
        """Whether the plan proposes every trial of a new study."""
        return self.policy is None and self.plan.kind == "sphere"

    @property
    def evaluator(self) -> Evaluator:
        """Evaluates batches; an item that fails does not fail the batch."""
        return Evaluator(self.generator, self.objective)


def assemble(sweep: SweepFile) -> SweepComponents:
    """Build what a file names.

    Raises:
        ArgumentError: something that is not found or does not fit, with its line.
        UnsupportedError: a pipeline that cannot be driven, or checkpoints for a generator that cannot stop.
        GenerationError: the user's factory raises.
    """
    score = load_score(sweep)
    with error_context(sweep, "score"):
        objective = Objective(*sweep.metrics, score=score)
    generator = make_generator(sweep)
    objective = generator.objective if sweep.generator.scores_there else objective  # type: ignore[attr-defined]
    if sweep.overlap:
        with error_context(sweep, "overlap"):
            check_overlap(sweep.checkpoints or ())
    if sweep.checkpoints:
        with error_context(sweep, "checkpoints"):
            check_checkpoints(generator, sweep.checkpoints, conditions=sweep.conditions)
    device = str(getattr(generator, "device", "cpu"))
    policy = make_policy(sweep.policy, generator.prior, device) if sweep.policy else None
    whole = sweep.checkpoints is not None or sweep.overlap
    steps = None if whole else stoppable_steps(generator, objective, sweep.conditions)
    noisy = any(metric.noise is not None for metric in sweep.metrics)
    planned = plan(sweep.budget, dim=generator.prior.dim, proposes=sweep.sampler is not None, steps=steps, noisy=noisy)
    axes = axes_of(sweep.policy[0]) if policy else planned.axes
    return SweepComponents(generator, objective, policy, planned, planned.trials(sweep.budget), axes, device)


def load_function(sweep: SweepFile, key: str, name: str) -> Any:
    """A function of a module in the file's folder, or of an installed one.

    Args:
        sweep: the file.
        key: that names it, for messages.
        name: "package.module:function".

    Raises:
        ArgumentError: no such module or function, or a module that raises when it is imported.
    """
    folder = str(sweep.path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module, _, attribute = name.partition(":")
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a sweep leaves no __pycache__ beside its file
    try:
        function = getattr(import_module(module), attribute, None)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            searched = ", ".join(entry or "." for entry in sys.path)
            raise sweep.error(key, f"found no module {error.name!r}; searched {searched}.") from error
        raise sweep.error(key, f"importing {module!r} failed: {describe(error)}") from error
    finally:
        sys.dont_write_bytecode = before
    if not callable(function):
        present = [name for name, value in vars(sys.modules[module]).items() if callable(value) and name[0] != "_"]
        raise sweep.error(
            key, f"{sys.modules[module].__file__} has no function {attribute!r}. {did_you_mean(attribute, present)}"
        )
    return function


def load_score(sweep: SweepFile) -> Score:
    """The score that a file names, in a process of its own where it has a timeout.

    Raises:
        ArgumentError: as `load_function`.
    """
    if is_clip_call(sweep.score):
        import_module("surrogate_ax_diffusers")  # names the extra to install where it is missing
        from surrogate_ax_diffusers import ClipScore

        asked = read_clip_call(sweep.score)
        with error_context(sweep, "score"):
            return ClipScore(*asked.texts, weights=sweep.path.parent / asked.weights, device=asked.device)
    if sweep.timeout is None:
        function: Score = load_function(sweep, "score", sweep.score)
        return function
    with error_context(sweep, "score"):
        return SubprocessScore(sweep.score, timeout=sweep.timeout, folder=sweep.path.parent)


def make_generator(sweep: SweepFile) -> Generator:
    """The generator that a file names."""
    source = sweep.generator
    if source.ray is not None:
        import_module("surrogate_ax_ray")  # names the extra to install where it is missing
        with error_context(sweep, "generator"):
            return pooled(sweep)
    if source.kind == "function":
        return _call_factory(sweep, source)
    import_module("surrogate_ax_diffusers")  # names the extra to install where it is missing
    with error_context(sweep, "generator"):
        if source.kind == "embedded":
            return embedded.generator(source.where, sweep.call, searched_texts(sweep))
        folder = sweep.path.parent
        return pipeline(beside(folder, source.where), load_options(source, folder), sweep.call)


def _call_factory(sweep: SweepFile, source: Source) -> Generator:
    factory = load_function(sweep, "generator", source.where)
    try:
        takes = inspect.signature(factory)
    except ValueError:  # one written in C may not say; then the call does
        takes = inspect.signature(lambda **_: None)
    try:
        takes.bind(**sweep.call)
    except TypeError as error:
        raise sweep.error("call", f"{source.where}: {error}.") from error
    try:
        with error_context(sweep, "generator"):
            made = factory(**sweep.call)
    except SurrogateError:
        raise
    except (Exception, SystemExit) as error:
        raise GenerationError(sweep.at("generator", f"{source.where} raised {describe(error)}.")) from error
    if not isinstance(made, Generator):
        raise sweep.error("generator", f"expected {source.where} to return a Generator, got {type(made).__name__}.")
    return made


@contextmanager
def error_context(sweep: SweepFile, key: str) -> Iterator[None]:
    """Add file and line to errors, whose messages begin with the name of an argument.

    Args:
        sweep: the file, with the lines of its keys.
        key: what the error is about, unless its message begins with another key or a name in `call` or `conditions`.
    """
    try:
        yield
    except SurrogateError as error:
        name = str(error).partition(":")[0]
        keys = [each for each in ("call", "conditions") if name in getattr(sweep, each)]
        keys += [name] if name in sweep.nodes else []
        raise type(error)(sweep.at([*keys, key][0], str(error))) from error


def describe(error: BaseException) -> str:
    """An exception of the user's code on one line, with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "nowhere"
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({where})"
