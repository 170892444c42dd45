"""What pages say of a study, whichever host keeps it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np
import pytest
from torch import Tensor

from surrogate_ax import FunctionGenerator, Metric, Recipe
from surrogate_ax.errors import MismatchError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.report import Remade, ShownTrial, best_so_far, gain_text, pareto_front, study_facts, study_figures
from surrogate_ax.report.best_of_n import expected_best, pareto
from tests.core.report.shown import ListSource, objective, study, trials


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    scores = np.random.default_rng(0).normal(size=7)
    found = expected_best(scores, np.arange(1, 8))
    wanted = [np.mean([max(some) for some in itertools.combinations(scores, n)]) for n in range(1, 8)]
    np.testing.assert_allclose(found, wanted)


def test_expected_best_goes_on_as_a_normal_law_does() -> None:
    rng = np.random.default_rng(0)
    scores = np.sort(rng.normal(size=4000))
    found = expected_best(scores[::40], np.array([100, 1000]))
    drawn = rng.normal(size=(4000, 1000)).max(axis=1).mean()
    assert found[0] == scores[::40].max()
    assert found[1] - found[0] == pytest.approx(drawn - rng.normal(size=(4000, 100)).max(axis=1).mean(), abs=0.1)


def test_the_front_is_what_nothing_beats() -> None:
    losses = np.array([[0, 2], [1, 1], [2, 0], [1, 2], [1, 1], [3, 3]])
    assert pareto(losses).tolist() == [0, 1, 2, 4]
    many = np.random.default_rng(0).normal(size=(300, 3))
    beaten = ((many[:, None] >= many[None]).all(axis=2) & (many[:, None] > many[None]).any(axis=2)).any(axis=1)
    assert pareto(many).tolist() == np.flatnonzero(~beaten).tolist()


def test_trials_are_ranked_by_results_alone() -> None:
    shown = study(trials(10))
    assert shown.ranking == [7, 6, 5, 4, 3, 2, 1, 0]  # neither the failed nor the running one
    assert [trial.plain for trial in shown.trials] == [True] * 6 + [False] * 4
    assert shown.alone == {Draw(1, i): i for i in range(6)}
    stopped = ShownTrial(10, "stopped", 0, {"score": 99.0}, None)
    assert study([*trials(10), stopped]).ranking[0] == 7  # an estimate is no result


def test_a_bound_counts_in_the_ranking() -> None:
    goal = objective(Metric("score"), Metric("size", "at_most", 1.0))
    rows = [ShownTrial(i, "done", 0, {"score": float(i), "size": float(i)}, None) for i in range(3)]
    assert study(rows, goal).ranking == [1, 0, 2]


def test_the_nearest_are_by_the_cosine_of_rows() -> None:
    shown = study(trials(10))
    found = shown.nearest(7, 3)
    rows = [dict(trial.recipe.terms) for trial in shown.trials[:8] if trial.recipe is not None]
    cosines = [sum(rows[7].get(seed, 0.0) * c for seed, c in row.items()) for row in rows[:7]]
    assert [place for place, _ in found] == np.argsort(-np.array(cosines))[:3].tolist()
    assert found[0][1] == pytest.approx(max(cosines))
    assert shown.nearest(2, 3) == []  # a seed of its own


def test_facts_name_counts_cost_plan_and_generator() -> None:
    shown = study(trials(10), objective(Metric("score"), Metric("size", "at_most", 1.0)))
    facts = dict(study_facts(shown))
    assert facts["Metrics"] == "score (maximize); size (at most 1)"
    assert facts["Trials"] == "10 asked, 8 with a result, 1 failed, 1 running, 6 plain draws"
    assert facts["Spent"] == "20 network evaluations, 5.0 s of generation"
    assert facts["Random seed"] == "7"
    assert facts["Generator: model"] == "m"
    assert "to" in facts["Time"]


def test_the_gain_is_said_where_it_can_be() -> None:
    text = gain_text(study(trials(12, drawn=6)))
    assert text.startswith("Best score: 9 (trial 9). The best of the 6 plain draws has 5; 10 of them")
    assert gain_text(study(trials(12, drawn=3))) == "Best score: 9 (trial 9)."
    assert gain_text(study([])) == ""


def test_figures_are_json_and_show_what_was_told() -> None:
    shown = study(trials(12, drawn=6))
    figure = best_so_far(shown)
    json.dumps(figure.drawing, allow_nan=False)
    lines = {one["name"]: one for one in figure.drawing["data"]}
    assert lines["best so far"]["y"] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]  # the failed one changes nothing
    assert lines["plain draws"]["y"] == [0, 1, 2, 3, 4, 5]
    assert lines["best of N plain draws"]["y"][0] == pytest.approx(2.5)
    assert lines["best of N plain draws"]["y"][-1] == 5
    assert "by the 6 draws" in figure.note
    assert study_figures(study([])) == []


def test_several_metrics_show_their_front() -> None:
    goal = objective(Metric("a"), Metric("b", "minimize"), Metric("c", "at_most", 1.0))
    values = [(1.0, 1.0, 0.0), (2.0, 2.0, 0.0), (1.0, 3.0, 0.0), (9.0, 0.0, 5.0)]
    rows = [ShownTrial(i, "done", 0, dict(zip("abc", row, strict=True)), None) for i, row in enumerate(values)]
    (figure,) = study_figures(study(rows, goal))
    shown = {one["name"]: one["text"] for one in figure.drawing["data"]}
    assert shown["Pareto front"] == ["trial 0", "trial 1"]
    assert shown["outside a bound"] == ["trial 3"]
    assert figure == pareto_front(study(rows, goal))


def _shown(z: Tensor) -> Tensor:
    return z.clamp(0, 1)


class Counted:
    """A generator that notes the sizes of its batches."""

    def __init__(self, generator: FunctionGenerator) -> None:
        self.generator, self.calls = generator, list[int]()
        self.prior, self.fingerprint = generator.prior, generator.fingerprint

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        self.calls.append(len(conditions))
        return self.generator.generate(z, conditions)


def test_outputs_without_a_file_are_made_again_in_batches() -> None:
    generator = Counted(FunctionGenerator(_shown, (8, 8)))
    recipes = [Recipe(((Draw(1, i), 1.0),), {}, dict(generator.fingerprint), 1) for i in range(12)]
    held = study([ShownTrial(i, "done", 0, {"score": 1.0}, recipe) for i, recipe in enumerate(recipes)])
    source = Remade(ListSource(held), generator)
    first = source.preview(2)
    assert first is not None
    assert first.name == "trial2.png"
    assert generator.calls == [8]
    assert source.preview(9) is not None  # made along with the first
    assert generator.calls == [8]
    assert source.preview(99) is None
    with pytest.raises(MismatchError, match="prior"):
        Remade(ListSource(held), FunctionGenerator(_shown, (8, 9)))
