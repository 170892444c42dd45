"""Notes on a study and its trials in Markdown, for dashboards: what an output is, made of what, and why."""

from __future__ import annotations

from surrogate_ax.latents.seeds import Draw, Seed
from surrogate_ax.report.facts import gain_text, study_facts
from surrogate_ax.report.shown_study import ShownStudy, ShownTrial

SEEDS = 8  # named in a note, the largest first
LONG = 160  # characters of a text


def study_note(study: ShownStudy) -> str:
    """What is known of a study."""
    lines = [gain_text(study), "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(name)} | {_cell(text)} |" for name, text in study_facts(study))])


def trial_note(study: ShownStudy, place: int, *, picture: str = "") -> str:
    """What is known of a trial: its output, values, why it was made, and the seeds that it is made of.

    Args:
        study: at this moment.
        place: of the trial there.
        picture: the address of its picture, empty where it has none.
    """
    trial = study.trials[place]
    lines = [f"![trial {trial.number}]({picture})", ""] if picture else []
    values = [f"| {_cell(name)} | {value:.6g} |" for name, value in trial.values.items()]
    called = trial.recipe.condition if trial.recipe is not None else {}
    values += [f"| {_cell(name)} | {_cell(str(value))} |" for name, value in called.items()]
    lines += ["| | |", "|---|---|", *values, "", reason_text(study, place)]
    terms = sorted(trial.recipe.terms if trial.recipe is not None else (), key=lambda term: -abs(term[1]))
    if len(terms) > 1:
        lines += ["", f"Made of {len(terms)} seeds:", "", "| seed | share | weight |", "|---|---|---|"]
        lines += [f"| {_cell(seed_name(seed, study))} | {c**2:.1%} | {c:.4f} |" for seed, c in terms[:SEEDS]]
        rest = sum(c**2 for _, c in terms[SEEDS:])
        lines += [f"| {len(terms) - SEEDS} others | {rest:.1%} | |"] if rest else []
    return "\n".join(lines)


def reason_text(study: ShownStudy, place: int) -> str:
    """Why a trial was made, in a sentence, and how it ended."""
    trial = study.trials[place]
    if trial.plain:
        text = f"Round {trial.round}: a plain draw from the prior, to learn what the model makes."
    elif trial.seed is not None:
        text = f"Round {trial.round}: a stored seed, as it is."
    else:
        near = ", ".join(f"trial {study.trials[i].number} (cosine {x:.2f})" for i, x in study.nearest(place, 2))
        text = f"Round {trial.round}: proposed by the search" + (f"; most like {near}." if near else ".")
    return text + _ended(trial)


def seed_name(seed: Seed, study: ShownStudy) -> str:
    """What a seed is called: by the trial that shows it alone, else by its key."""
    if isinstance(seed, Draw):
        known = study.alone.get(seed)
        return f"noise {seed.entropy % 0x10000:04x}-{seed.index}" if known is None else f"trial {known}"
    return seed.origin or f"stored {seed.sha256[:8]}"


def _ended(trial: ShownTrial) -> str:
    said = {"stopped": " It was stopped half-way; its values are estimates.", "failed": " It failed: "}
    return said.get(trial.state, "") + (_cell(trial.reason) if trial.state == "failed" else "")


def _cell(text: str) -> str:
    """Text in a cell of a table: on one line, cut where it is long, without what Markdown takes for markup."""
    text = " ".join(text.split())
    text = text if len(text) <= LONG else f"{text[:LONG]}…"
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|#!" else letter for letter in text)
