"""Samplers, pruners and policies by name with arguments: both are checked against what the class or function takes."""

from __future__ import annotations

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
from surrogate_ax.policies.spherical_bo import spherical_bo
from surrogate_ax_cli.places import nearest
from surrogate_ax_cli.sweep_file import ComponentSpec

T = TypeVar("T")
# Optuna's, but for those that need a grid, trials or another sampler, which no file holds.
SAMPLERS = ("Random", "TPE", "CmaEs", "GP", "NSGAII", "NSGAIII", "QMC")
PRUNERS = ("Median", "Percentile", "SuccessiveHalving", "Hyperband", "Threshold")
POLICIES: Mapping[str, Callable[..., Policy]] = {
    "draws": draws, "o3": o3, "sphere": spherical_bo, "caps": trust_region, "reseed": reseed, "evolve": evolve,
}  # fmt: skip
KEEP = 50.0  # percentile of finished trials that a row reaches to go on; `examples/benchmarks/checkpoints.py` has it
_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),),
}  # fmt: skip


def make_sampler(named: ComponentSpec | None, seed: int) -> BaseSampler:
    """A sampler of Optuna's.

    Args:
        named: "tpe" or "TPESampler" and its arguments; None takes TPE, which knows every kind of parameter.
        seed: where the arguments have none.

    Raises:
        ArgumentError: unknown names, or values that do not fit.
        MissingExtraError: the sampler's library is not installed.
    """
    if named is None:
        return samplers.TPESampler(seed=seed)
    botorch = _plain(named.name, "sampler") == "botorch"
    kind: Callable[..., BaseSampler] = _botorch() if botorch else _found(named, samplers, SAMPLERS, "Sampler")
    return build(kind, named, seed=seed)


def make_pruner(named: ComponentSpec | None) -> BasePruner:
    """A pruner of Optuna's: "percentile" or "PercentilePruner"; None keeps the better half."""
    if named is None:
        return pruners.PercentilePruner(KEEP)
    kind: Callable[..., BasePruner] = _found(named, pruners, PRUNERS, "Pruner")
    return build(kind, named)


def make_policy(steps: tuple[ComponentSpec, ...], prior: Prior, device: Any) -> Policy:
    """Policies of the core, one after the other.

    Args:
        steps: at least one.
        prior: the law of the latents.
        device: where latents are made.

    Raises:
        ArgumentError: as `make_sampler`, or steps that do not agree on `axes`, or one without an end before another.
    """
    made: list[Policy] = []
    axes: set[int] = set()
    for i, step in enumerate(steps):
        name = step.name.lower()
        if name not in POLICIES:
            raise step.place.error(f"no policy is called {step.name!r}. {nearest(name, POLICIES)}")
        if i < len(steps) - 1 and name != "draws" and "until" not in step.arguments:
            raise step.place.error(f"{name} goes on for ever, so that nothing follows it. Give it `until:` trials.")
        made.append(build(POLICIES[name], step, prior=prior, device=device))
        axes.add(axes_of(step))
    if len(axes) > 1:
        raise steps[0].place.error(f"expected the same number of axes in every step, got {sorted(axes)}.")
    policy = made[0]
    for following in made[1:]:
        policy = chain(policy, following)
    return policy


def axes_of(step: ComponentSpec) -> int:
    """K of a policy that was built."""
    return int(step.arguments["seeds" if step.name.lower() == "o3" else "axes"])


def build(make: Callable[..., T], named: ComponentSpec, **given: Any) -> T:
    """What a class or function makes of the arguments in a file.

    Args:
        make: a class or function.
        named: its arguments, and where they stand.
        **given: further arguments, of which those are passed that it takes and the file leaves out.

    Raises:
        ArgumentError: arguments that it does not take, that are missing, or that it refuses.
    """
    takes = {
        name: parameter
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    own = {name: p for name, p in takes.items() if name not in given or name == "seed"}
    writable = {name: p for name, p in own.items() if _kinds(p)}
    for name, value in named.arguments.items():
        if name not in writable:
            raise named.place.error(f"{named.name} takes no argument {name!r} here. It takes {', '.join(writable)}.")
        kinds = _kinds(writable[name])
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise named.place.error(f"{name}: expected {_annotation(writable[name])}, got {value!r}.")
    arguments = {**{name: value for name, value in given.items() if name in takes}, **named.arguments}
    missing = [name for name, p in takes.items() if p.default is p.empty and name not in arguments]
    if missing:
        raise named.place.error(f"{named.name} needs {', '.join(missing)}.")
    try:
        return make(**arguments)
    except (SurrogateError, ValueError, TypeError) as error:
        raise named.place.error(f"{named.name}: {error}") from error


def _found(named: ComponentSpec, module: Any, names: tuple[str, ...], suffix: str) -> Callable[..., Any]:
    known = {_plain(name, suffix.lower()): name for name in names}
    wanted = _plain(named.name, suffix.lower())
    if wanted not in known:
        raise named.place.error(f"no {suffix.lower()} is called {named.name!r}. {nearest(wanted, known)}")
    found: Callable[..., Any] = getattr(module, known[wanted] + suffix)
    return found


def _botorch() -> Any:
    try:
        from optuna_integration import BoTorchSampler
    except ImportError as error:
        raise MissingExtraError("sampler: BoTorchSampler needs pip install 'surrogate-ax[botorch]'.") from error
    return BoTorchSampler


def _plain(name: str, suffix: str) -> str:
    """TPESampler, tpe and cma-es without what differs between ways of writing."""
    return "".join(letter for letter in name.lower() if letter.isalnum()).removesuffix(suffix)


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _kinds(parameter: inspect.Parameter) -> tuple[type, ...]:
    """The types of values that a file can give for a parameter; none where it takes an object."""
    text = _annotation(parameter).replace("tuple[float, float]", "pair")
    names = [name.strip() for name in text.split("|")]
    if "pair" in names:
        return (list,)
    known = [kind for name in names for kind in _KINDS.get(name, ())]
    return tuple(known) if any(kind is not type(None) for kind in known) else ()
