"""What a person likes, learned from choices: the model against its definition, and searches by a simulated person."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from surrogate_ax import Gaussian
from surrogate_ax.execution.answers import Answer, Answers
from surrogate_ax.execution.asking import LIKING, person
from surrogate_ax.execution.foresight import Known, Rules
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.gaussian_process import Kernel
from surrogate_ax.policies.history import History
from surrogate_ax.policies.preference import Preference, _laplace, _numbered, among, utilities
from surrogate_ax.policies.taste import likings, taste, variations

D = 64
PRIOR = Gaussian((D,))


def cosines(n: int, *, rng: int = 0) -> np.ndarray:
    x = np.random.default_rng(rng).standard_normal((n, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def history(terms, *, values=None, round=None, preferences=()) -> History:
    n = len(terms)
    column = np.zeros(n) if values is None else np.array(values)
    rounds = np.zeros(n, dtype=int) if round is None else np.array(round)
    return History(person(), list(terms), {LIKING: column}, rounds, preferences=preferences)


# --- the model


def test_the_most_probable_utility_is_found():
    covariance = 4 * Kernel(0.0, 0.8)(cosines(5))
    preferences = [Preference(0, (1, 2)), Preference(0, (3,)), Preference(3, (4, 1, 2))]
    weights, _ = _laplace(covariance, _numbered(preferences)[1])

    def loss(f):
        chosen = sum(f[p.winner] - logsumexp(f[list(p.rows)]) for p in preferences)
        return f @ np.linalg.solve(covariance, f) / 2 - chosen

    found = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8}).x
    assert covariance @ weights == pytest.approx(found, abs=1e-5)


def test_the_evidence_of_one_comparison_is_one_half():
    """Whatever f's variance, either of two is liked as probably as the other; Laplace's method is near that."""
    for scale in (0.01, 0.1, 1.0):
        _, evidence = _laplace(scale * np.eye(2), _numbered([Preference(0, (1,))])[1])
        assert evidence == pytest.approx(np.log(0.5), abs=0.03)


def test_winners_are_liked_better_and_what_is_like_them_too():
    gram = np.eye(5)
    gram[0, 4] = gram[4, 0] = 0.8  # the last was never shown, and is like the winner
    gram[1, 3] = gram[3, 1] = 0.8
    f = utilities(gram, [Preference(0, (1, 2))])
    assert f[0] > f[4] > f[3] > f[1]
    assert f[0] > f[2]
    assert utilities(gram, []).tolist() == [0] * 5


def test_many_choices_that_contradict_each_other_say_nothing():
    f = utilities(np.eye(2), [Preference(0, (1,)), Preference(1, (0,))] * 10)
    assert f == pytest.approx(0, abs=1e-6)


def test_preferences_follow_the_rows_that_are_kept():
    given = [Preference(4, (1, 2)), Preference(1, (0,)), Preference(2, (3, 4))]
    assert among(given, np.array([4, 2, 0])) == [Preference(0, (1,)), Preference(1, (0,))]
    rows = history([((Draw(0, i), 1.0),) for i in range(5)], preferences=given).rows(np.array([1, 4]))
    assert rows.preferences == [Preference(1, (0,))]


# --- policies


def test_nothing_liked_gives_draws():
    terms = [((Draw(0, i), 1.0),) for i in range(8)]
    round = taste(PRIOR)(history(terms), 8, 0)
    assert (round.number, round.size, round.space.fresh, round.terms) == (1, 8, 1.0, [])


def test_failed_trials_have_no_liking():
    terms = [((Draw(0, i), 1.0),) for i in range(3)]
    found = likings(history(terms, values=[0.0, np.nan, 0.0], preferences=[Preference(2, (0, 1))]), PRIOR)
    assert np.isnan(found).tolist() == [False, True, False]
    assert found[2] > found[0]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_variations_begin_with_the_item_and_go_away_from_it(size):
    item = ((Draw(5, 0), 0.6), (Draw(5, 1), 0.8))
    round = variations(item, PRIOR, size=size, itself=True)(history([]), size, 0)
    bank = round.space.bank
    cosine = bank.gram(bank.rows(round.terms))[0]
    assert cosine[0] == pytest.approx(1)
    assert (np.diff(cosine) < 0).all()
    assert (cosine[1:] > 0.6).all()
    assert round.space.axes == 2
    again = variations(item, PRIOR, size=size, itself=True)(history([]), size, 0)
    assert again.terms == round.terms


# --- a simulated person


def play(seed, *, pages, items=8, favourite=False, noise=0.2):
    """What a simulated person comes to, and the best of as many plain draws, both as the hidden taste has it.

    The taste is a rare conjunction: three directions at once. It is felt with noise, a share of how much draws differ.
    """
    random = np.random.default_rng(seed)
    wanted = random.standard_normal((D, 3)) / np.sqrt(D)

    def hidden(bank, terms):
        return (bank.inner(bank.rows(terms)).double().numpy() @ wanted).min(axis=1)

    drawn = [((Draw(5, i), 1.0),) for i in range(500)]
    reference = hidden(Bank(PRIOR, [Draw(5, i) for i in range(500)]), drawn)
    rules = Rules(PRIOR, seed, items=items, favourite=favourite)
    terms, rounds, true, answers = [], [], [], Answers()
    for _ in range(pages):
        known = Known(tuple(range(len(terms))), history(terms, round=rounds))
        round = rules.next_round(rules.liked(known, answers), answers)
        new = round.terms or [((Draw(99, len(terms) + i), 1.0),) for i in range(round.size)]
        again = rules.favourite_of(answers)
        shown = (*([] if again is None else [again]), *range(len(terms), len(terms) + len(new)))
        terms, rounds = [*terms, *new], [*rounds, *[round.number] * len(new)]
        true += hidden(Bank(PRIOR).extend([each for row in new for each, _ in row]), new).tolist()
        felt = np.array(true)[list(shown)] + noise * reference.std() * random.gumbel(size=len(shown))
        answers = answers.with_page(Answer(shown, (shown[int(felt.argmax())],)))
    liked = rules.liked(Known(tuple(range(len(terms))), history(terms, round=rounds)), answers)
    best = true[int(np.argmax(liked.history.values[LIKING]))]
    return best, float(reference[: len(terms)].max())


@pytest.mark.parametrize(("items", "pages", "favourite", "games"), [(8, 12, False, 4), (2, 40, True, 2)])
def test_choices_lead_beyond_the_best_of_as_many_draws(items, pages, favourite, games):
    found, drawn = np.transpose([play(k, pages=pages, items=items, favourite=favourite) for k in range(games)])
    assert found.mean() > drawn.mean() + 0.3
