"""Samplers, pruners and policies, built from a name and arguments that are checked against a class or function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from optuna import pruners, samplers
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from surrogate_ax.errors import MissingExtraError, SurrogateError
from surrogate_ax.latents.priors import Prior
from surrogate_ax.policies.basic import chain, draws, o3
from surrogate_ax.policies.evolution import evolve, reseed, trust_region
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.moving_boxes import moving_boxes
from surrogate_ax.policies.spherical_bo import spherical_bo
from surrogate_ax_cli.sweep_file import ComponentSpec
from surrogate_ax_cli.yaml_node import did_you_mean
from surrogate_ax_optuna import SurrogateSampler

T = TypeVar("T")
# Optuna's, but for those that need a grid, trials or another sampler, which no file holds.
SAMPLERS = ("Random", "TPE", "CmaEs", "GP", "NSGAII", "NSGAIII", "QMC")
PRUNERS = ("Median", "Percentile", "SuccessiveHalving", "Hyperband", "Threshold")
POLICIES: Mapping[str, Callable[..., Policy]] = {
    "draws": draws, "o3": o3, "spherical_bo": spherical_bo, "trust_region": trust_region, "reseed": reseed,
    "evolve": evolve, "moving_boxes": moving_boxes,
}  # fmt: skip
# Earlier names and their present ones. Sweep files may have either, and studies record the earlier ones.
EARLIER_POLICIES = {"sphere": "spherical_bo", "caps": "trust_region"}
EARLIER_ARGUMENTS = {"narrow": "anneal_over", "until": "max_trials"}
KEPT_PERCENTILE = 50.0  # of finished trials, which an output has to reach; `examples/benchmarks/checkpoints.py` has it
_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),),
}  # fmt: skip


def make_sampler(spec: ComponentSpec | None, seed: int, *, planned: bool) -> BaseSampler:
    """What proposes: the planned search, or a sampler of Optuna's.

    Args:
        spec: "tpe" or "TPESampler" and its arguments; None takes the planned search, and TPE, which knows every kind of
            parameter, for points that a policy leaves open.
        seed: for the sampler, unless the arguments have one.
        planned: whether the planned search proposes everything.

    Raises:
        ArgumentError: unknown names, or values that do not fit.
        MissingExtraError: the sampler's library is not installed.
    """
    if spec is None:
        return SurrogateSampler() if planned else samplers.TPESampler(seed=seed)
    botorch = _plain_name(spec.name, "sampler") == "botorch"
    make: Callable[..., BaseSampler] = _botorch() if botorch else _class_of(spec, samplers, SAMPLERS, "Sampler")
    return build(make, spec, seed=seed)


def make_pruner(spec: ComponentSpec | None) -> BasePruner:
    """A pruner of Optuna's: "percentile" or "PercentilePruner" and its arguments; None keeps the better half."""
    if spec is None:
        return pruners.PercentilePruner(KEPT_PERCENTILE)
    make: Callable[..., BasePruner] = _class_of(spec, pruners, PRUNERS, "Pruner")
    return build(make, spec)


def make_policy(steps: tuple[ComponentSpec, ...], prior: Prior, device: Any) -> Policy:
    """Policies of the core, one after the other.

    Args:
        steps: at least one.
        prior: the law of the latents.
        device: where latents are made.

    Raises:
        ArgumentError: as `make_sampler`, or steps that do not agree on `axes`, or one that never ends before another.
    """
    made: list[Policy] = []
    axes: set[int] = set()
    for i, step in enumerate(steps):
        name = _policy_name(step)
        ends = name == "draws" or any(EARLIER_ARGUMENTS.get(word, word) == "max_trials" for word in step.arguments)
        if not ends and i < len(steps) - 1:
            advice = "" if name == "o3" else f", or give it `max_trials:`, after which {steps[i + 1].name} begins"
            raise step.node.error(f"{step.name} never ends, so that nothing can follow it. Put it last{advice}.")
        made.append(build(POLICIES[name], step, renamed=EARLIER_ARGUMENTS, prior=prior, device=device))
        axes.add(axes_of(step))
    if len(axes) > 1:
        raise steps[0].node.error(f"expected the same number of axes in every step, got {sorted(axes)}.")
    return functools.reduce(chain, made)


def axes_of(step: ComponentSpec) -> int:
    """K of a policy, by arguments that `make_policy` has accepted."""
    return int(step.arguments["seeds" if step.name.lower() == "o3" else "axes"])


def recorded_text(step: ComponentSpec) -> str:
    """A policy as studies record it: on one line, with the earlier names."""
    policies = {present: earlier for earlier, present in EARLIER_POLICIES.items()}
    names = {present: earlier for earlier, present in EARLIER_ARGUMENTS.items()}
    arguments = {names.get(name, name): value for name, value in step.arguments.items()}
    return str(ComponentSpec(policies.get(step.name.lower(), step.name), arguments, step.node))


def build(make: Callable[..., T], spec: ComponentSpec, *, renamed: Mapping[str, str] | None = None, **given: Any) -> T:
    """Call a class or function with the arguments in a file.

    Args:
        make: a class or function.
        spec: its arguments, as the file has them.
        renamed: earlier names of arguments, which the file may have, with the present ones.
        **given: further arguments. Those that `make` does not take are left out; of `seed`, the file's own wins.

    Raises:
        ArgumentError: arguments that it does not take, that are missing, or that it refuses.
    """
    takes = {
        name: parameter
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    own = {name: p for name, p in takes.items() if name not in given or name == "seed"}
    writable = {name: types for name, p in own.items() if (types := _types(p))}
    arguments = {name: value for name, value in given.items() if name in takes}
    written: dict[str, str] = {}
    for word, value in spec.arguments.items():
        name = (renamed or {}).get(word, word)
        if name not in writable:
            raise spec.node.error(f"{spec.name} takes no argument {word!r} here. It takes {', '.join(writable)}.")
        if name in written:
            raise spec.node.error(f"{written[name]} and {word} are one argument. Keep {name}.")
        types = writable[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise spec.node.error(f"{word}: expected {_annotation(takes[name])}, got {value!r}.")
        arguments[name], written[name] = value, word
    missing = [name for name, p in takes.items() if p.default is p.empty and name not in arguments]
    if missing:
        raise spec.node.error(f"{spec.name} needs {', '.join(missing)}.")
    try:
        return make(**arguments)
    except (SurrogateError, ValueError, TypeError) as error:
        raise spec.node.error(f"{spec.name}: {error}") from error


def _policy_name(step: ComponentSpec) -> str:
    """The present name of a policy."""
    name = EARLIER_POLICIES.get(step.name.lower(), step.name.lower())
    if name not in POLICIES:
        raise step.node.error(f"no policy is called {step.name!r}. {did_you_mean(name, POLICIES, EARLIER_POLICIES)}")
    return name


def _class_of(spec: ComponentSpec, module: Any, names: tuple[str, ...], suffix: str) -> Callable[..., Any]:
    """The class of a module that a file names in one of several ways."""
    known = {_plain_name(name, suffix.lower()): name for name in names}
    wanted = _plain_name(spec.name, suffix.lower())
    if wanted not in known:
        raise spec.node.error(f"no {suffix.lower()} is called {spec.name!r}. {did_you_mean(wanted, known)}")
    found: Callable[..., Any] = getattr(module, known[wanted] + suffix)
    return found


def _botorch() -> Any:
    try:
        from optuna_integration import BoTorchSampler
    except ImportError as error:
        raise MissingExtraError("sampler: BoTorchSampler needs pip install 'surrogate-ax[botorch]'.") from error
    return BoTorchSampler


def _plain_name(name: str, suffix: str) -> str:
    """One spelling of a class: "tpe" for TPESampler, "cmaes" for CMA-ES."""
    return "".join(letter for letter in name.lower() if letter.isalnum()).removesuffix(suffix)


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _types(parameter: inspect.Parameter) -> tuple[type, ...]:
    """The types of values that a file can give for a parameter; empty where it takes an object."""
    text = _annotation(parameter).replace("tuple[float, float]", "pair")
    names = [name.strip() for name in text.split("|")]
    if "pair" in names:
        return (list,)
    known = [each for name in names for each in _TYPES.get(name, ())]
    return tuple(known) if any(each is not type(None) for each in known) else ()
