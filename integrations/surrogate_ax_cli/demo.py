"""The demo: search the embedded portrait model for given colours, and compare with plain draws at the same cost.

Search and plain draws are two Optuna studies in one SQLite file. The prompt says what the portraits show, the palette
in which colours. Every portrait costs equally many network evaluations, so that both studies spend the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import Trial, TrialState

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.seeds import draw_entropy
from surrogate_ax.policies.basic import draws
from surrogate_ax_cli import embedded
from surrogate_ax_cli.palette import METRIC, palette_objective
from surrogate_ax_optuna import SurrogateSampler, optimize, sqlite
from surrogate_ax_optuna.attributes import REASON_ATTR, RESULT_ATTR, attributes, set_attribute
from surrogate_ax_optuna.trials import ended_trials

PROMPT = "smiling, glasses, orange shirt"
PALETTE = {"#1f9e97": 0.50, "#f4d8b0": 0.17, "#14161c": 0.18, "#f2743c": 0.15}
STEPS, BATCH = 8, 16
SEARCH, PLAIN = "search", "plain draws"
STUDY_FILE, PREVIEWS = "study.db", "previews"
SETTINGS_ATTR, SECONDS_ATTR = "demo:settings", "demo:seconds"


@dataclass(frozen=True)
class Settings:
    """What a demo is run with.

    Args:
        prompt: what the portraits show.
        seed: of draws and proposals.
        evaluations: portraits that each of the two studies generates and scores.
    """

    prompt: str = PROMPT
    seed: int = 0
    evaluations: int = 128


@dataclass(frozen=True)
class Summary:
    """The result of one of the two studies.

    Args:
        best: least palette distance.
        median: of the palette distances.
        nfe: network function evaluations spent.
        seconds: wall time, scores and storage included.
    """

    best: float
    median: float
    nfe: int
    seconds: float


def portraits(prompt: str) -> Generator:
    """The embedded model under a prompt, as the demo uses it.

    Raises:
        ArgumentError: a word that the model does not know.
    """
    return embedded.generator(embedded.PORTRAITS, {"prompt": prompt, "num_inference_steps": STEPS})


def run(
    generator: Generator,
    settings: Settings,
    out: Path | None = None,
    *,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[optuna.Study, optuna.Study]:
    """Run both studies, or what is left of them.

    Args:
        generator: makes the portraits.
        settings: of both studies.
        out: a folder for the studies and every picture; None keeps the studies in memory and no pictures.
        progress: show progress bars.
        say: called with what comes next.

    Returns:
        The studies "search" and "plain draws".

    Raises:
        MismatchError: the folder has a demo with other settings or of another model.
        ArgumentError: the folder cannot be written.
    """
    n, seed = settings.evaluations, settings.seed
    storage, previews = (None, None) if out is None else _storage(out)
    # A draw's key is made of the study's rng and a number, so the studies have no draw in common.
    plain_rng = draw_entropy(seed, PLAIN)
    plain = _open(PLAIN, storage, settings, RandomSampler(seed=seed))
    search = _open(SEARCH, storage, settings, SurrogateSampler())
    for study, rng in ((plain, plain_rng), (search, seed)):
        done = len(ended_trials(study))
        say(f"{study.study_name}: {n} portraits" + (f", {min(done, n)} of them are there already" if done else ""))
        if done >= n:
            continue
        with _clocked(study):
            optimize(
                study,
                generator,
                palette_objective(PALETTE),
                total_trials=n,
                rng=rng,
                batch_size=BATCH,
                policy=draws(generator.prior, n, axes=2) if study is plain else None,
                previews=previews,
                progress=progress,
            )
    return search, plain


def summarise(study: optuna.Study) -> Summary:
    """Best, median and cost of a study."""
    results = [attributes(trial)[RESULT_ATTR] for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    values = [result["values"][METRIC] for result in results]
    nfe = round(sum(result["nfe"] for result in results))
    return Summary(min(values), statistics.median(values), nfe, study.user_attrs[SECONDS_ATTR])


def table(search: Summary, plain: Summary) -> str:
    """Both results as lines of text, and which of them is better."""
    lines = [f"{'':13}{'best':>8}{'median':>9}{'NFE':>8}{'seconds':>9}"]
    for name, result in ((PLAIN, plain), (SEARCH, search)):
        lines.append(f"{name:13}{result.best:8.4f}{result.median:9.4f}{result.nfe:8,}{result.seconds:9.1f}")
    closer = 1 - search.best / plain.best
    if closer > 0:
        verdict = f"The search came {closer:.0%} closer to the palette than the best plain draw, at the same NFE."
    else:
        verdict = "The search did not beat the best plain draw this time. It does for most seeds: try another --seed."
    return "\n".join([*lines, "", verdict])


def describe(search: optuna.Study, plain: optuna.Study, settings: Settings) -> dict[str, Any]:
    """Both results and the settings, for JSON."""
    results = {study.study_name: asdict(summarise(study)) for study in (plain, search)}
    return {**asdict(settings), "palette": PALETTE, "metric": METRIC, **results}


def _storage(out: Path) -> tuple[Any, FileSystemArtifactStore]:
    if out.exists() and not out.is_dir():
        raise ArgumentError(f"out: expected a folder, or a name for a new one, got the file {out}.")
    storage = sqlite(out / STUDY_FILE)
    (out / PREVIEWS).mkdir(exist_ok=True)
    return storage, FileSystemArtifactStore(out / PREVIEWS)


def _open(name: str, storage: Any, settings: Settings, sampler: BaseSampler) -> optuna.Study:
    """One of the two studies, new or as it was left."""
    study = optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, direction="minimize", load_if_exists=True
    )
    given = asdict(settings)
    recorded = study.user_attrs.get(SETTINGS_ATTR, given)
    differing = [f"{key} {recorded[key]!r}, not {given[key]!r}" for key in given if recorded.get(key) != given[key]]
    if differing:
        raise MismatchError(
            f"out: the folder holds a demo with {'; '.join(differing)}. Choose another folder with --out, or delete it."
        )
    study.set_user_attr(SETTINGS_ATTR, given)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Left by a demo that was killed; marked as interrupted, it counts as never asked.
        set_attribute(Trial(study, trial._trial_id), REASON_ATTR, INTERRUPTED)
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return study


@contextmanager
def _clocked(study: optuna.Study) -> Iterator[None]:
    """Add the wall time of a block to the study's seconds, also if the block raises."""
    clock = time.monotonic()
    try:
        yield
    finally:
        spent = float(study.user_attrs.get(SECONDS_ATTR, 0.0)) + time.monotonic() - clock
        study.set_user_attr(SECONDS_ATTR, round(spent, 3))
