"""Searching by choices in an Optuna study: pages, answers, undo, resuming, and what the study then holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest

from surrogate_ax import FunctionGenerator, Gaussian, Metric, Objective, Recipe
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.execution import Exploration, person
from surrogate_ax_optuna import create_study, explore, optimize, portfolio, read_record, sqlite
from surrogate_ax_optuna.record import study_answers
from surrogate_ax_optuna.trials import read_recipe
from tests.processes import Forked

D = 16
Explorer = Callable[..., Exploration]


def make(z):
    return z.numpy() * 1.0


@pytest.fixture
def generator() -> FunctionGenerator:
    return FunctionGenerator(make, Gaussian((D,)))


@pytest.fixture
def study() -> optuna.Study:
    return create_study(person(), study_name="faces")


@pytest.fixture
def explorer(study: optuna.Study, generator: FunctionGenerator) -> Iterator[Explorer]:
    opened: list[Exploration] = []

    def start(of: optuna.Study = study, **options) -> Exploration:
        opened.append(explore(of, generator, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def look(one: Exploration) -> dict[int, float]:
    """The first number of every item of the page, which the person here likes large."""
    return {trial: float(one.made(trial, 30).output[0]) for trial in one.page.trials}


def choose(one: Exploration) -> int:
    seen = look(one)
    best = max(seen, key=seen.__getitem__)
    one.answer(one.page.number, [best])
    return best


def test_choices_lead_to_what_is_liked(study, explorer):
    one = explorer()
    means = []
    for _ in range(6):
        means.append(np.mean(list(look(one).values())))
        choose(one)
    assert len(one.page.trials) == 8
    assert np.mean(means[3:]) > 1.5 > 0.8 > means[0]
    record = read_record(study)
    assert len(record.trials) == 48
    assert record.history.objective.describe() == [["liking", "maximize", None]]
    outputs = [pick.output[0] for pick in portfolio(study, FunctionGenerator(make, Gaussian((D,))), k=1)]
    assert outputs[0] > 1.5


def second(outputs, conditions):
    return [float(output[1]) for output in outputs]


def test_choices_are_followed_among_what_keeps_a_bound(generator):
    objective = person(Metric("second", "at_least", 0.5), score=second)
    study = create_study(objective, study_name="bounded")
    one = explore(study, generator, objective=objective)
    within, liked = [], []
    for _ in range(8):
        outputs = [one.made(trial, 30).output for trial in one.page.trials]
        within.append(np.mean([output[1] >= 0.5 for output in outputs]))
        liked.append(np.mean([output[0] for output in outputs]))
        choose(one)
    one.close()
    assert within[0] < 0.5 < 0.75 < np.mean(within[4:])
    assert np.mean(liked[4:]) > liked[0] + 0.5
    record = read_record(study)
    assert record.history.objective.describe() == [["liking", "maximize", None], ["second", "at_least", 0.5]]
    again = explore(study, generator, objective=objective)
    assert again.page.number == 8
    outputs = {t: again.made(t, 30).output for t in range(8)}
    again.close()
    rows = dict(zip([trial.number for trial in record.trials], record.history.values["second"], strict=True))
    np.testing.assert_allclose([rows[t] for t in outputs], [output[1] for output in outputs.values()], atol=1e-6)
    assert record.history.values["second"][record.history.order[0]] >= 0.5
    with pytest.raises(MismatchError, match="metrics"):
        explore(study, generator)


def test_outputs_that_cannot_be_measured_fail(generator):
    def half(outputs, conditions):
        return [float("nan") if output[0] > 0 else 1.0 for output in outputs]

    objective = person(Metric("half", "at_least", 0.5), score=half)
    one = explore(create_study(objective, study_name="half"), generator, objective=objective)
    made = [one.made(trial, 30) for trial in one.page.trials]
    reasons = {each.reason for each in made if each.output is None or each.output[0] > 0}
    assert reasons == {"score returned half = nan"}
    assert all(each.reason is None and each.values == {"half": 1.0} for each in made if each.reason is None)
    one.close()


def test_a_page_is_the_same_whether_it_was_foreseen_or_not(generator):
    pages = []
    for hurried in (False, True):
        one = explore(create_study(person(), study_name="x"), generator, rng=3)
        for _ in range(3):
            seen = look(one)
            best = max(seen, key=seen.__getitem__)
            if not hurried:
                one.expect(one.page.number, [best])
                for trial in one.page.trials:  # and a wrong guess beside it
                    one._foresight.after(one._answered([trial], [], None))
            one.answer(one.page.number, [best])
        pages.append([one.point(trial).terms for trial in one.page.trials])
        one.close()
    assert pages[0] == pages[1]


def test_a_second_answer_to_a_page_changes_nothing(explorer):
    one = explorer()
    first = list(look(one))
    page = one.answer(0, first[:1])
    assert one.answer(0, first[1:2]) == page
    assert page.number == 1


def test_what_is_not_on_the_page_cannot_be_liked(explorer):
    one = explorer()
    look(one)
    with pytest.raises(ArgumentError, match="liked, disliked or passed over"):
        one.answer(0, [99])
    with pytest.raises(ArgumentError, match="expected one of this search, got 99"):
        one.keep(99)
    assert one.page.number == 0


def test_undo_shows_the_page_again_and_takes_back_what_was_learned(study, explorer):
    one = explorer()
    first = one.page
    one.answer(0, [next(iter(look(one)))])
    liked = study_answers(study).liking
    choose(one)
    assert one.undo().trials != first.trials
    assert one.undo() == first
    assert study_answers(study).pages == ()
    assert one.undo() == first
    other = one.answer(0, [list(look(one))[1]])
    assert other.number == 1
    now = study_answers(study).liking
    assert max(liked, key=liked.__getitem__) == first.trials[0]
    assert max(now, key=now.__getitem__) == first.trials[1]
    best = read_record(study)
    assert best.trials[best.history.order[0]].number == first.trials[1]


def test_a_study_goes_on_where_it_stopped(tmp_path: Path, explorer):
    storage = sqlite(tmp_path / "study.db")
    one = explorer(create_study(person(), study_name="x", storage=storage))
    one.keep(choose(one))
    shown = [one.point(trial).terms for trial in one.page.trials]
    kept = one.page.kept
    one.close()
    again = explorer(create_study(person(), study_name="x", storage=sqlite(tmp_path / "study.db")))
    assert [again.point(trial).terms for trial in again.page.trials] == shown
    assert again.page.number == 1
    assert again.page.kept == kept
    kept = again.page.trials[5]
    look(again)
    again.keep(kept)
    terms = again.point(kept).terms
    again.close()
    last = explorer(create_study(person(), study_name="x", storage=sqlite(tmp_path / "study.db")))
    assert last.point(kept).terms == terms  # it stays, also of a page that was never answered


def test_the_best_of_four_is_shown_again(explorer):
    one = explorer(mode="four")
    assert (len(one.page.trials), one.page.favourite) == (4, None)
    best = choose(one)
    assert one.page.trials[0] == one.page.favourite == best
    assert len(one.page.trials) == 4
    page = one.set_mode("pairs")
    assert (len(page.trials), page.favourite) == (2, best)
    assert one.set_mode("eight").favourite is None
    assert len(one.page.trials) == 8
    with pytest.raises(ArgumentError, match="mode: expected one of"):
        one.set_mode("nine")


def test_what_is_kept_stays_when_its_page_goes(study, explorer):
    one = explorer()
    trials = list(look(one))
    one.keep(trials[2])
    output = one.made(trials[2], 30).output
    one.set_mode("four")
    assert np.array_equal(one.made(trials[2], 30).output, output)
    assert read_record(study).status.ended == 1
    one.set_mode("eight")
    choose(one)
    assert trials[2] in study_answers(study).liking


def test_more_like_this_gives_variations_of_it(explorer):
    one = explorer()
    look(one)
    wanted = one.page.trials[5]
    one.answer(0, more=wanted)
    target = one.made(wanted, 30).output
    target = target / np.linalg.norm(target)
    cosines = [float(one.made(t, 30).output @ target) / np.linalg.norm(one.made(t, 30).output) for t in one.page.trials]
    assert min(cosines) > 0.4
    assert cosines[0] > 0.9


def test_what_a_recipe_makes_is_shown_with_variations(generator, explorer):
    one = explorer()
    recipe = one.recipe(one.page.trials[0], one.made(one.page.trials[0], 30))
    output = one.made(one.page.trials[0], 30).output
    page = one.look_around(Recipe.from_json(recipe.to_json()))
    assert page.number == 0
    assert np.array_equal(one.made(page.trials[0], 30).output, output)
    assert one.answer(0, page.trials[:0]).number == 1  # unseen items are given back, and it goes on
    foreign = Recipe(recipe.terms, {}, {**recipe.generator, "function": "another"}, 1)
    with pytest.raises(MismatchError, match="the picture was made with another one"):
        one.look_around(foreign)
    with pytest.raises(MismatchError, match="call arguments of its own"):
        one.look_around(Recipe(recipe.terms, {"guidance": 3}, recipe.generator, 1))


def test_what_fails_is_not_shown_as_an_answer_and_told_as_failed(study):
    calls = iter(range(10_000))

    def odd(z):
        return [np.full(3, np.nan) if next(calls) % 3 == 0 else row.numpy() for row in z]

    one = explore(study, FunctionGenerator(odd, Gaussian((D,))))
    made = {trial: one.made(trial, 30) for trial in one.page.trials}
    good = [trial for trial, each in made.items() if each.reason is None]
    assert 0 < len(good) < 8
    one.answer(0, good[:1])
    one.close()
    record = read_record(study)
    assert (record.status.ended, record.status.failed) == (8, 8 - len(good))
    assert study_answers(study).pages[0].shown == tuple(good)


def test_another_search_is_refused(study, generator, explorer):
    other = Objective(Metric("liking"), score=lambda outputs, _: [0.0] * len(outputs))
    searched = create_study(other, study_name="searched")
    optimize(searched, generator, other, total_trials=4, rng=0, progress=False)
    with pytest.raises(MismatchError, match="begun with other parts"):
        explorer(searched)
    choose(explorer())
    with pytest.raises(MismatchError, match="made with another one"):
        explore(study, FunctionGenerator(make, Gaussian((D,)), revision="2"))


KILLED = """
import os
from surrogate_ax import FunctionGenerator, Gaussian
from surrogate_ax.execution import person
from surrogate_ax_optuna import create_study, explore, sqlite
from tests.integrations.optuna.test_explore import D, choose, make

study = create_study(person(), study_name="x", storage=sqlite("study.db"))
choose(explore(study, FunctionGenerator(make, Gaussian((D,)))))
os._exit(1)
"""


def test_the_page_of_a_killed_process_is_shown_again(tmp_path: Path, explorer):
    with Forked(KILLED, cwd=tmp_path) as other:
        _, stderr = other.communicate()
    assert other.returncode == 1, stderr
    study = create_study(person(), study_name="x", storage=sqlite(tmp_path / "study.db"))
    left = [read_recipe(trial).terms for trial in study.trials if trial.state == optuna.trial.TrialState.RUNNING]
    assert len(left) == 8
    one = explorer(study)
    assert [one.point(trial).terms for trial in one.page.trials] == left
    assert one.page.number == 1
    choose(one)
    assert read_record(study).status.ended == 16
