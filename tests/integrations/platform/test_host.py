"""The Ax host: what it records and when, what it hides, and what it takes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ax.core.trial_status import TrialStatus
from PIL import Image

from surrogate_ax import Choice, Evaluator, Metric, Objective, Range, Recipe, SurrogateSpace
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.latents.typicality import recorded_prior
from surrogate_ax.policies.history import Round, as_proposals
from surrogate_ax_platform import AxHost, boxes, records

K = 4


@pytest.fixture
def space(make_generator):
    return SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)


@pytest.fixture
def make_host(make_generator, objective, make_client):
    def make(client: Any = None, **options: Any) -> AxHost:
        goal = options.pop("objective", objective)
        return AxHost(client or make_client(goal), make_generator(), goal, **options)

    return make


def _round(space: SurrogateSpace, number: int = 0, size: int = 64, rows: Any = None) -> Round:
    return Round(space, number, size, () if rows is None else as_proposals(space.bank, rows))


def _evaluate(host: AxHost, candidates: Any, space: SurrogateSpace, generator: Any, objective: Objective) -> Any:
    bank = space.bank.extend([seed for candidate in candidates for seed, _ in candidate.terms])
    z = bank.latents(bank.rows(candidate.terms for candidate in candidates))
    return Evaluator(generator, objective)(z, [{}] * len(candidates))


def _trials(host: AxHost) -> list[Any]:
    return records.trials(host.client._experiment)


def test_a_trial_has_its_recipe_and_round_when_it_is_asked(make_host, make_client, space):
    conditions = {"guidance": Range(1, 7, step=0.5), "prompt": Choice(["a", "b", "c"])}
    host = make_host(make_client(conditions=conditions, model="ax"))
    asked = host.ask(3, _round(space, number=2))
    assert len(asked) == 3
    for candidate, trial in zip(asked, _trials(host), strict=True):
        params = trial.arm.parameters
        assert trial.status == TrialStatus.RUNNING
        assert set(params) == {"u0", "u1", "u2", "round", "guidance", "prompt"}
        assert params["round"] == candidate.round == 2
        recipe = Recipe.from_json(trial.run_metadata[records.RECIPE])
        assert recipe.terms == candidate.terms == space.terms(np.array([[params[f"u{k}"] for k in range(K - 1)]]))[0]
        assert recipe.condition == candidate.condition == {name: params[name] for name in conditions}
        assert recipe.batch == 3
        assert candidate.ticket.params == params


def test_exact_rows_come_first_and_once_and_keep_their_place_in_the_box(make_host, make_generator, objective, space):
    host = make_host()
    round = _round(space, rows=np.eye(K))
    asked = host.ask(3, round)
    assert [candidate.terms for candidate in asked] == round.terms[:3]
    host.tell(asked, _evaluate(host, asked, space, make_generator(), objective))
    assert host.ask(3, round)[0].terms == round.terms[3]
    assert [trial.run_metadata.get(records.PROPOSAL) for trial in _trials(host)] == [0, 1, 2, 3, None, None]
    for trial, axis in zip(_trials(host)[:4], np.eye(K), strict=True):
        params = trial.arm.parameters
        u = np.array([[params[f"u{k}"] for k in range(K - 1)]])
        np.testing.assert_allclose(space.chart.weights(u)[0], axis, atol=2e-2)
        assert params["round"] == 0


def test_every_trial_lies_in_the_design_and_is_remade_from_its_box(make_host, make_generator, space):
    host = make_host()
    bank = Bank(space.bank.prior, [*space.bank.seeds, Draw(9, 9), Draw(9, 8)])
    far = SurrogateSpace(bank, np.eye(K, K + 2))
    rows = np.vstack([np.eye(1, K + 2, 1), np.eye(2, K + 2, K)])
    exact = host.ask(3, _round(far, number=3, rows=rows))
    assert [candidate.terms for candidate in exact[1:]] == [((Draw(9, 9), 1.0),), ((Draw(9, 8), 1.0),)]
    (draw,) = host.ask(1, _round(SurrogateSpace(space.bank, space.frame, fresh=1.0), number=5))
    assert len(draw.terms) == 1
    params = [trial.arm.parameters for trial in _trials(host)]
    assert [row["round"] for row in params] == [3, 4, 4, 5]  # the axis in the round's own box, the others in a further
    assert [candidate.round for candidate in (*exact, draw)] == [3, 3, 3, 5]
    experiment = host.client._experiment
    assert all(experiment.search_space.check_membership(row) for row in params)
    draws = [Draw(0, 0)] * 3 + [draw.terms[0][0]]
    for row, own, candidate in zip(params, draws, (*exact, draw), strict=True):
        terms, number = boxes.terms_at(experiment, row, own, recorded_prior(space.bank.prior))
        assert terms == candidate.terms
        assert number == candidate.round


def test_told_stands_in_the_order_of_ending(make_host, make_generator, objective, space):
    host = make_host()
    one, two, three = host.ask(3, _round(space))
    for candidate in (two, three, one):
        host.tell([candidate], _evaluate(host, [candidate], space, make_generator(), objective))
    history = host.history()
    assert history.terms == [two.terms, three.terms, one.terms]
    assert history.round.tolist() == [0, 0, 0]
    assert list(make_host(host.client).history().terms) == history.terms
    data = host.client._experiment.lookup_data().df.set_index("trial_index")["mean"]
    assert history.values["first"].tolist() == [data[i] for i in (1, 2, 0)]


def test_telling_twice_changes_nothing_and_pictures_are_written_once(make_client, make_generator, tmp_path):
    objective = Objective(Metric("bright"), score=lambda outputs, _: outputs.mean(dim=(1, 2)))
    generator = make_generator(prior=(8, 4))
    space = SurrogateSpace.sample(generator.prior, seeds=K, rng=0)
    host = AxHost(make_client(objective, generator=generator), generator, objective, previews=tmp_path / "pictures")
    asked = host.ask(2, _round(space))
    evaluations = _evaluate(host, asked, space, generator, objective)
    host.tell(asked, evaluations)
    before = [(trial.status, dict(trial.run_metadata)) for trial in _trials(host)]
    host.tell(asked, evaluations)
    host.give_back(asked)
    assert [(trial.status, dict(trial.run_metadata)) for trial in _trials(host)] == before
    assert [status for status, _ in before] == [TrialStatus.COMPLETED] * 2
    for _, metadata in before:
        with Image.open(tmp_path / "pictures" / metadata[records.PREVIEW]) as picture:
            assert max(picture.size) >= 128


def test_failed_trials_are_abandoned_and_told_without_values(make_host, make_generator, objective, space):
    host = make_host()
    asked = host.ask(3, _round(space))
    bad = Objective(Metric("first"), score=lambda outputs, _: [np.nan] * len(outputs))
    host.tell(asked, _evaluate(host, asked, space, make_generator(), bad))
    assert [trial.status for trial in _trials(host)] == [TrialStatus.ABANDONED] * 3
    assert "nan" in _trials(host)[0].run_metadata[records.REASON]
    assert host.client._experiment.lookup_data().df.empty
    history = host.history()
    assert len(history.terms) == 3
    assert np.isnan(history.values["first"]).all()


def test_interrupted_trials_are_given_back_and_their_rows_asked_again(make_host, make_generator, objective, space):
    host = make_host()
    round = _round(space, rows=np.eye(K))
    asked = host.ask(K, round)
    host.give_back(asked)
    assert [trial.status for trial in _trials(host)] == [TrialStatus.FAILED] * K
    assert [trial.run_metadata[records.REASON] for trial in _trials(host)] == [INTERRUPTED] * K
    assert list(host.history().terms) == []
    assert [candidate.terms for candidate in host.ask(K, round)] == round.terms


def test_trials_of_a_dead_process_are_run_again_as_they_were(make_host, space):
    host = make_host()
    asked = host.ask(3, _round(space))
    again = make_host(host.client)
    assert again.reclaim() == 3
    found = again.ask(4, _round(space))
    assert [candidate.terms for candidate in found[:3]] == [candidate.terms for candidate in asked]
    assert [candidate.ticket.index for candidate in found] == [0, 1, 2, 3]
    assert again.reclaim() == 0


def test_a_trial_that_somebody_attached_is_run(make_host, space):
    host = make_host()
    host.client.attach_trial({"u0": 0.25, "u1": 0.5, "u2": 0.75, "round": 0})
    (candidate,) = host.ask(1, _round(space))
    assert candidate.terms == space.terms(np.array([[0.25, 0.5, 0.75]]))[0]


def test_arms_that_lie_in_no_box_are_passed_over_with_a_word(make_host, space, caplog):
    host = make_host()
    with pytest.warns(RuntimeWarning, match="out-of-design"):
        host.client.attach_trial({"u0": 2.0, "u1": 0.5, "u2": 0.75, "round": 0})
    host.client.attach_trial({"u0": 0.5, "u1": 0.5, "u2": 0.75, "round": 7})
    for _ in range(2):
        (candidate,) = host.ask(1, _round(space))
        assert candidate.ticket.index > 1
    words = [record.getMessage() for record in caplog.records if record.name.endswith("adoption")]
    assert len(words) == 2
    assert "without trial 0" in words[0]
    assert "u[0, 0] = 2" in words[0]
    assert "without trial 1" in words[1]
    assert "got 7" in words[1]


def test_another_space_or_number_of_axes_is_refused(make_host, space):
    host = make_host()
    host.ask(1, _round(space))
    other = SurrogateSpace.sample(space.bank.prior, seeds=K, rng=1)
    with pytest.raises(MismatchError, match="round 0 of the client was begun with space-"):
        host.ask(1, _round(other))
    host.ask(1, _round(other, number=1))
    with pytest.raises(MismatchError, match=r"K = 4 axes.*got K = 3"):
        host.ask(1, _round(SurrogateSpace.sample(space.bank.prior, seeds=3, rng=1), number=2))
    (far,) = host.ask(1, _round(space, number=1000))
    assert (far.round, far.ticket.params["round"]) == (1000, 2)  # rounds have no end, and boxes 1000 of them


def test_what_somebody_told_is_taken_in_where_its_latent_is_known(make_host, make_client, space, caplog):
    client = make_client()
    make_host(client).begin(_round(space))
    make_host(client).begin(_round(SurrogateSpace(space.bank, space.frame, fresh=0.5), number=1))
    told = [({"u0": 0.2, "round": 0}, {"first": 1.0}), ({"u0": 0.3, "round": 1}, {"first": 2.0})]
    told += [({"u0": 0.4, "round": 8}, {"first": 3.0}), ({"u0": 0.5, "round": 0}, {"other": 4.0})]
    for params, values in told:
        client.complete_trial(client.attach_trial({"u1": 0.5, "u2": 0.5, **params}), values)
    left = client.attach_trial({"u0": 0.6, "u1": 0.5, "u2": 0.5, "round": 0})
    client.mark_trial_abandoned(left)
    history = make_host(client).history()
    assert list(history.terms) == space.terms(np.array([[0.2, 0.5, 0.5], [0.6, 0.5, 0.5]]))
    np.testing.assert_array_equal(history.values["first"], [1.0, np.nan])
    words = " ".join(record.getMessage() for record in caplog.records if record.name.endswith("adoption"))
    for part in ("without trial 1: box 1 gives every trial a latent of its own", "without trial 2", "told no first"):
        assert part in words
    assert len(records.read_record(client, make_host(client)._objective).trials) == 2
