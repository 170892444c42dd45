"""Schedulers whose steps draw fresh noise, as a table.

Under such a scheduler a latent does not determine its output, so a search over latents would chase noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from surrogate_ax.errors import UnsupportedError


@dataclass(frozen=True)
class Stochastic:
    """A kind of scheduler that draws noise.

    Args:
        classes: pattern (`fnmatch`) of the names of scheduler classes and their bases.
        instead: what to use: a scheduler class, or a phrase.
        options: settings the replacement needs, as they are written in Python.
        setting: only when this entry of the scheduler's config, or this call argument of the pipeline, is switched
            on: true, a number other than 0, or a text that starts with "sde"; empty for always.
        default: the entry's value where it is not given.
        step_noise: whether its steps draw from N(0, I), so that the draws can be part of the latent.
    """

    classes: str
    instead: str
    options: str = ""
    setting: str = ""
    default: Any = None
    step_noise: bool = True


_EULER, _DDIM, _FLOW = "EulerDiscreteScheduler", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler"
_DPM, _ODE = "DPMSolverMultistepScheduler", "algorithm_type='dpmsolver++'"

STOCHASTIC: tuple[Stochastic, ...] = (
    Stochastic("LTXEulerAncestralRF*", _FLOW, setting="eta", default=1.0),
    Stochastic("KDPM2Ancestral*", "KDPM2DiscreteScheduler"),
    Stochastic("EulerAncestral*", _EULER),
    Stochastic("DDPM*", _DDIM),
    Stochastic("UnCLIP*", _DDIM),
    Stochastic("RePaint*", _DDIM, step_noise=False),
    Stochastic("FlowMatchLCM*", _FLOW),
    Stochastic("*LCM*", _DPM, _ODE),
    Stochastic("TCD*", _DPM, _ODE),
    Stochastic("SCM*", _FLOW),
    Stochastic("CMStochastic*", _EULER),
    Stochastic("ConsistencyDecoder*", _EULER, step_noise=False),
    Stochastic("SASolver*", _DPM, _ODE),
    Stochastic("CosineDPMSolver*", "EDMDPMSolverMultistepScheduler", step_noise=False),
    Stochastic("CogVideoXDPM*", "CogVideoXDDIMScheduler"),
    Stochastic("*SDE*", _DPM, _ODE, step_noise=False),
    Stochastic("*Sde*", _DPM, _ODE, step_noise=False),
    Stochastic("KarrasVe*", _EULER, step_noise=False),
    Stochastic("RFD4Proteina*", "a scheduler without a noise window"),
    *(
        Stochastic(name, "a scheduler over continuous latents", step_noise=False)
        for name in ("VQDiffusion*", "Amused*", "BlockRefinement*", "EntropyBound*", "DiscreteDDIM*")
    ),
    Stochastic("EDMDPM*", "EDMDPMSolverMultistepScheduler", _ODE, setting="algorithm_type"),
    Stochastic("*", _DPM, _ODE, setting="algorithm_type"),
    Stochastic("*", _FLOW, "stochastic_sampling=False", setting="stochastic_sampling"),
    Stochastic("*", "s_churn=0", setting="s_churn"),
    Stochastic("*DDIM*", "eta=0", setting="eta"),
)


def check_scheduler(scheduler: Any, call: dict[str, Any], *, name: str = "scheduler", step_noise: bool = False) -> None:
    """Refuse a scheduler that draws noise while it steps.

    Args:
        scheduler: a component of a pipeline.
        call: the pipeline's call arguments, one of which (`eta`) can switch noise on.
        name: the component's name, for the message.
        step_noise: whether its draws come from the latent, so that it may be stochastic where this can be done.

    Raises:
        UnsupportedError: it is stochastic; the message names it and what to use instead.
    """
    names = [base.__name__ for base in type(scheduler).__mro__]
    config = getattr(scheduler, "config", {})
    for rule in STOCHASTIC:
        if not any(fnmatchcase(each, rule.classes) for each in names):
            continue
        value = call.get(rule.setting, config.get(rule.setting, rule.default))
        if (rule.setting and not _on(value)) or (step_noise and rule.step_noise):
            continue
        setting = f" with {rule.setting}={value!r}" if rule.setting else ""
        options = f", {rule.options}" if rule.options else ""
        how = f": pipe.{name} = {rule.instead}.from_config(pipe.{name}.config{options})"
        also = (
            " Or search its noise as well: pipeline_generator(pipe, step_noise=True, ...)." if rule.step_noise else ""
        )
        raise UnsupportedError(
            f"pipe.{name}: {type(scheduler).__name__}{setting} draws fresh noise at its steps, so a latent does not "
            f"determine its output. Use {rule.instead}{how if rule.instead.endswith('Scheduler') else ''}.{also}"
        )


def _on(value: Any) -> bool:
    """Whether a setting switches noise on."""
    return value.startswith("sde") if isinstance(value, str) else bool(value)
