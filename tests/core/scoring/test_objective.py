"""Metrics, checked scores, and the order of items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from surrogate_ax import Metric, Objective
from surrogate_ax.errors import ArgumentError, MismatchError, ScoreError
from surrogate_ax.scoring.objective import recorded_objective

BEAUTY, COST = Metric("beauty"), Metric("cost", "minimize")
SAFE, LARGE = Metric("safe", "at_most", 0.5), Metric("large", "at_least", 2.0)
SEEN = Metric("seen", "track")


def objective(*metrics, score=lambda outputs, conditions: outputs):
    return Objective(*metrics, score=score)


def one_argument(images):
    return [0.0 for _ in images]


@pytest.mark.parametrize("score", [one_argument, list, lambda a, b, c: a, lambda outputs, *, conditions: outputs])
def test_a_score_of_other_arguments_is_refused_with_those_that_it_is_called_with(score):
    with pytest.raises(ArgumentError, match=r"expected score\(outputs, conditions\).* got .*\("):
        objective(BEAUTY, score=score)


@pytest.mark.parametrize("score", [lambda outputs, conditions, k=3: outputs, lambda *both: both[0], max])
def test_a_score_may_take_more_or_not_say(score):
    assert objective(BEAUTY, score=score).score is score


def test_metrics_are_sorted_by_their_goals():
    made = objective(BEAUTY, SEEN, SAFE, COST, LARGE)
    assert made.optimised == (BEAUTY, COST)
    assert made.bounded == (SAFE, LARGE)
    assert made.describe() == [
        ["beauty", "maximize", None],
        ["seen", "track", None],
        ["safe", "at_most", 0.5],
        ["cost", "minimize", None],
        ["large", "at_least", 2.0],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "Metric: expected a name and a goal of"),
        (("x", "max"), "got 'x', 'max'"),
        (("x", "at_most"), "Metric 'x': expected a finite bound with at_most and at_least"),
        (("x", "at_least", float("nan")), "bound=nan"),
        (("x", "at_least", float("inf")), "bound=inf"),
        (("x", "maximize", 1.0), "goal='maximize', bound=1.0"),
        (("x", "track", 1.0), "goal='track', bound=1.0"),
    ],
)
def test_a_metric_that_does_not_fit_says_why(arguments, message):
    with pytest.raises(ArgumentError) as error:
        Metric(*arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ((), "metrics: expected at least one to maximize or minimize, got []"),
        ((SAFE, SEEN), "metrics: expected at least one to maximize or minimize, got ['safe', 'seen']"),
        ((BEAUTY, BEAUTY), "metrics: expected distinct names, got ['beauty', 'beauty']"),
    ],
)
def test_metrics_that_leave_nothing_to_optimise_are_refused(metrics, message):
    with pytest.raises(ArgumentError) as error:
        objective(*metrics)
    assert message in str(error.value)


def test_a_score_that_is_not_callable_is_named():
    with pytest.raises(ArgumentError, match=r"score: expected a function of \(outputs, conditions\), got str"):
        Objective(BEAUTY, score="beauty")


# --- what a score returns


@pytest.mark.parametrize(
    "returned",
    [
        [1, 2.5, float("nan")],
        (1, 2.5, float("nan")),
        np.array([1, 2.5, np.nan], dtype=np.float32),
        torch.tensor([1, 2.5, float("nan")], requires_grad=True),
        [torch.tensor(1.0), torch.tensor(2.5), torch.tensor(float("nan"))],
        torch.tensor([1, 2.5, float("nan")], dtype=torch.bfloat16),
        {"beauty": [1, 2.5, float("nan")]},
    ],
    ids=lambda returned: type(returned).__name__,
)
def test_one_metric_takes_any_sequence_of_numbers(returned):
    values = objective(BEAUTY).measure(returned, [{}] * 3)
    assert list(values) == ["beauty"]
    assert values["beauty"].dtype == np.float64
    np.testing.assert_array_equal(values["beauty"], [1, 2.5, np.nan])


def test_several_metrics_come_in_the_declared_order():
    values = objective(BEAUTY, COST, SAFE).measure({"safe": [1], "cost": [2], "beauty": [True]}, [{}])
    assert {name: column.tolist() for name, column in values.items()} == {"beauty": [1.0], "cost": [2.0], "safe": [1.0]}
    assert list(values) == ["beauty", "cost", "safe"]


def test_the_score_sees_outputs_and_conditions():
    made = objective(BEAUTY, score=lambda outputs, conditions: [o * c["k"] for o, c in zip(outputs, conditions)])  # noqa: B905
    np.testing.assert_array_equal(made.measure([1, 2], [{"k": 3}, {"k": 4}])["beauty"], [3, 8])


@pytest.mark.parametrize(
    ("returned", "shape"),
    [([1, 2], "(2,)"), ([[1], [2], [3]], "(3, 1)"), (1.0, "()"), (None, "()"), (torch.zeros(3, 1), "(3, 1)")],
)
def test_a_score_of_the_wrong_length_is_refused_with_both_shapes(returned, shape):
    with pytest.raises(ScoreError) as error:
        objective(BEAUTY).measure(returned, [{}] * 3)
    assert f"score: expected shape (n,) = (3,) for 'beauty', one value an output, got {shape}" in str(error.value)


@pytest.mark.parametrize("returned", [["a", "b", "c"], [[1], [1, 2], [3]], [{}, {}, {}]])
def test_a_score_that_is_not_of_numbers_is_refused(returned):
    with pytest.raises(ScoreError, match="score: expected n = 3 numbers for 'beauty', got list"):
        objective(BEAUTY).measure(returned, [{}] * 3)


@pytest.mark.parametrize("names", [["beauty"], ["beauty", "cost", "more"], ["beauty", "Cost"], []])
def test_missing_and_undeclared_metrics_are_named(names):
    with pytest.raises(ScoreError) as error:
        objective(BEAUTY, COST).measure(dict.fromkeys(names, (1.0,)), [{}])
    assert f"expected exactly the declared metrics ['beauty', 'cost'], got {sorted(names)}" in str(error.value)


def test_several_metrics_need_a_mapping():
    with pytest.raises(ScoreError, match=r"score: expected a mapping of the metrics \['beauty', 'cost'\], got list"):
        objective(BEAUTY, COST).measure([1.0], [{}])


# --- violations and order


def test_violations_are_summed_over_bounds():
    values = {
        "beauty": np.zeros(4),
        "safe": np.array([0.5, 0.75, 0.0, 1.0]),
        "large": np.array([2.0, 3.0, 1.0, 0.0]),
    }
    np.testing.assert_allclose(objective(BEAUTY, SAFE, LARGE).violation(values), [0, 0.25, 1, 2.5])


def test_losses_turn_what_is_maximised():
    values = {"beauty": np.array([1.0, 2.0]), "cost": np.array([3.0, 4.0])}
    np.testing.assert_array_equal(objective(BEAUTY, COST).losses(values), [[-1, 3], [-2, 4]])


levels = st.sampled_from([-np.inf, np.nan, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0])


@st.composite
def history(draw, *metrics, most=9):
    n = draw(st.integers(0, most))
    return {metric.name: np.array(draw(st.lists(levels, min_size=n, max_size=n))) for metric in metrics}


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


@given(history(BEAUTY, COST, SAFE, LARGE, SEEN))
def test_the_order_is_a_permutation_with_the_feasible_first(values):
    made = objective(BEAUTY, COST, SAFE, LARGE, SEEN)
    order = made.rank(values)
    assert sorted(order) == list(range(len(values["beauty"])))
    violation, losses = made.violation(values), made.losses(values)
    finite = np.isfinite(losses).all(axis=1) & np.isfinite(violation)
    kind = np.where(finite, np.where(violation == 0, 0, 1), 2)[order]
    assert (np.diff(kind) >= 0).all()
    assert (np.diff(violation[order][kind < 2]) >= 0).all()


@given(history(BEAUTY, COST))
def test_the_non_dominated_come_first(values):
    made = objective(BEAUTY, COST)
    losses = made.losses(values)
    finite = np.isfinite(losses).all(axis=1)
    order = [i for i in made.rank(values) if finite[i]]
    best = [i for i in order if not any(dominates(losses[j], losses[i]) for j in order)]
    assert order[: len(best)] == best
    for early, i in enumerate(order):
        assert not any(dominates(losses[j], losses[i]) for j in order[early:])


@given(history(BEAUTY, COST, SAFE))
@example(  # the last two are infeasible and dominate the first, which no feasible item does
    {
        "beauty": np.array([-5.0, 0, -1, -4, -3]),
        "cost": np.array([5.0, 10, 11, 4, 3]),
        "safe": np.array([0.0, 0, 0, 1, 1]),
    }
)
def test_the_non_dominated_among_the_feasible_come_first(values):
    made = objective(BEAUTY, COST, SAFE)
    losses, feasible = made.losses(values), made.violation(values) == 0
    order = [i for i in made.rank(values) if feasible[i] and np.isfinite(losses[i]).all()]
    best = [i for i in order if not any(dominates(losses[j], losses[i]) for j in order)]
    assert order[: len(best)] == best


@given(history(BEAUTY), st.sampled_from([np.tanh, np.cbrt, lambda x: 3 * x - 1, np.expm1]))
def test_one_metric_is_ranked_by_its_order_alone(values, monotone):
    made = objective(BEAUTY)
    with np.errstate(invalid="ignore"):
        moved = {"beauty": np.where(np.isfinite(values["beauty"]), monotone(values["beauty"]), values["beauty"])}
    assert made.rank(moved).tolist() == made.rank(values).tolist()
    mirrored = Objective(Metric("beauty", "minimize"), score=lambda outputs, conditions: list(outputs)).rank(
        {"beauty": -values["beauty"]}
    )
    assert mirrored.tolist() == made.rank(values).tolist()


@given(history(BEAUTY, COST, SAFE), st.randoms(use_true_random=False))
def test_equal_items_aside_the_order_does_not_depend_on_when_items_ended(values, random):
    n = len(values["beauty"])
    distinct = {name: column + np.arange(n) * 1e-3 for name, column in values.items()}
    made, shuffle = objective(BEAUTY, COST), np.array(random.sample(range(n), n), dtype=int)
    order = made.rank(distinct)
    again = shuffle[made.rank({name: column[shuffle] for name, column in distinct.items()})]
    # Sums of ranks may tie; what no tie can change is each item's front.
    assert [front(made, distinct, i) for i in order] == [front(made, distinct, i) for i in again]


def front(made, values, i):
    losses = made.losses(values)
    if not np.isfinite(losses[i]).all():
        return np.inf
    better = [j for j in range(len(losses)) if np.isfinite(losses[j]).all() and dominates(losses[j], losses[i])]
    return 1 + max((front(made, values, j) for j in better), default=-1)


def test_nothing_told_has_no_order():
    assert objective(BEAUTY, COST, SAFE).rank({name: np.zeros(0) for name in ("beauty", "cost", "safe")}).tolist() == []


HEAD = torch.nn.Linear(4, 1)


@pytest.mark.parametrize(
    "score",
    [
        lambda out, _: [HEAD(o).squeeze() for o in out],
        lambda out, _: [o.mean().bfloat16() for o in out],
        lambda out, _: tuple(o.mean().half() for o in out),
        lambda out, _: [o.mean().numpy() for o in out],
        lambda out, _: [o.mean() if i else 0.0 for i, o in enumerate(out)],
        lambda out, _: HEAD(out).squeeze(1).bfloat16(),
    ],
    ids=["gradient", "bfloat16", "tuple of halves", "arrays", "mixed", "one tensor"],
)
def test_single_numbers_of_every_kind_are_scores(score):
    out = torch.arange(12.0).reshape(3, 4)
    column = Objective(Metric("m"), score=score).measure(out, [{}] * 3)["m"]
    assert column.dtype == np.float64
    expected = [float(value.detach() if hasattr(value, "detach") else value) for value in score(out, None)]
    np.testing.assert_allclose(column, expected)


@pytest.mark.parametrize("value", [torch.zeros(1), torch.zeros(2), torch.zeros((), device="meta")])
def test_tensors_that_are_no_single_numbers_are_refused(value):
    with pytest.raises(ScoreError, match="score: expected"):
        Objective(Metric("m"), score=lambda out, _: [value] * 3).measure(torch.zeros(3, 4), [{}] * 3)


def test_recorded_metrics_rank_and_what_is_no_list_of_them_is_refused():
    made = objective(BEAUTY, COST, SAFE)
    assert recorded_objective(made.describe()).metrics == made.metrics
    for altered in ("a b<c", ["ab", "cd"], [["m", "maximize", None], "b"], {"m": "maximize"}, 3, None, [[1]]):
        with pytest.raises(MismatchError, match=r"metrics: the study's record of them was altered; it is"):
            recorded_objective(altered)
