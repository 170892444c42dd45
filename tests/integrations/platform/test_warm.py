"""Earlier searches on Ax: from clients, snapshots and Optuna's records, by `optimize` and by hand, and refused ones."""

from __future__ import annotations

from typing import Any

import pytest
from ax.api.client import Client

from surrogate_ax import Metric, Objective, SurrogateSpace
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax_platform import configure_experiment, load_client, optimize, read_record, records, save_client

OPTIONS: dict[str, Any] = {"batch_size": 8, "progress": False}


@pytest.fixture
def make(make_generator, objective):
    """A client, searched; the present one minimises."""
    loss = Objective(Metric("loss", "minimize"), score=lambda x, c: -objective.score(x, c))

    def make(total: int = 24, goal: Objective | None = None, run: bool = True, **configured: Any) -> Client:
        client = Client(random_seed=1)
        warm = configured.pop("warm", ())
        configure_experiment(client, make_generator(), goal or loss, rng=2, **configured)
        if run:
            optimize(client, make_generator(), goal or loss, total_trials=total, warm=warm, **OPTIONS)
        return client

    make.loss, make.gain = loss, objective
    return make


def found(client: Client) -> list[float]:
    return [trial.result["values"]["loss"] for trial in read_record(client).trials]


def test_clients_snapshots_and_records_are_learnt_from_alike(make, tmp_path) -> None:
    old = make(32, make.gain)
    save_client(old, tmp_path / "old.json")
    best = max(value for trial in read_record(old).trials for value in trial.result["values"].values())
    for earlier in (tmp_path / "old.json", str(tmp_path / "old.json"), read_record(old), old):
        new = make(24 if earlier is old else 16, warm=[earlier])
        assert min(found(new)[:16]) == pytest.approx(-best, abs=1e-5)
    assert min(found(new)) <= min(found(make()))
    configured = make(run=False, warm=[])
    assert records.WARM not in configured._experiment._properties


def test_a_configured_client_and_a_loaded_one_go_on_with_what_was_taken_over(make, make_generator, tmp_path) -> None:
    old = read_record(make(32, make.gain))
    whole = make(warm=[old])
    client = Client(random_seed=1)
    configure_experiment(client, make_generator(), make.loss, rng=2, warm=[old])
    options = OPTIONS | {"total_trials": 24}
    optimize(
        client, make_generator(), make.loss, snapshot=tmp_path / "new.json", callbacks=[lambda batch: True], **options
    )
    assert len(found(client)) == 8
    again = load_client(tmp_path / "new.json")
    assert [source["name"] for source in again._experiment._properties[records.WARM]] == ["record 1"]
    optimize(again, make_generator(), make.loss, **options)
    assert found(again) == pytest.approx(found(whole), abs=1e-5)


def test_what_cannot_be_learnt_from_is_refused(make, make_generator) -> None:
    old = make(24, make.gain)
    with pytest.raises(ArgumentError, match="number 1 is 3"):
        make(warm=[3])
    with pytest.raises(ArgumentError, match="expected a list of Ax clients, snapshots"):
        make(warm=old)
    with pytest.raises(ArgumentError, match="snapshot"):
        make(warm=["nowhere.json"])
    space = SurrogateSpace.sample(make_generator().prior, seeds=4, rng=0)
    with pytest.raises(ArgumentError, match="leave space and policy out"):
        configure_experiment(Client(), make_generator(), make.loss, space=space, warm=[old])
    begun = make(8)
    with pytest.raises(MismatchError, match="was begun without any"):
        optimize(begun, make_generator(), make.loss, total_trials=12, warm=[old], **OPTIONS)


def test_the_best_is_that_of_which_most_is_expected(make, make_generator) -> None:
    noisy = Objective(Metric("loss", "minimize", noise=1.0), score=make.loss.score)
    record = read_record(make(30, noisy))
    assert record.history.order[0] == record.history.expected["loss"].argmin()
