"""Every moving policy on Ax: one experiment, rounds in order, and the same search after a snapshot."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from surrogate_ax import Gaussian, Policy, chain, draws, spherical_bo
from surrogate_ax.policies.evolution import evolve, reseed, trust_region
from surrogate_ax_platform import load_client, optimize, records

FIRST, SIZE, TOTAL = 4, 4, 16
PRIOR = Gaussian((32,))
POLICIES: dict[str, Callable[[], Policy]] = {
    "sphere": lambda: spherical_bo(PRIOR, axes=4, size=SIZE),
    "evolve": lambda: evolve(PRIOR, axes=4, size=SIZE),
    "reseed": lambda: reseed(PRIOR, axes=4, size=SIZE),
    "caps": lambda: trust_region(PRIOR, axes=4, size=SIZE),
    "one after another": lambda: chain(
        evolve(PRIOR, axes=4, size=SIZE, max_trials=8), spherical_bo(PRIOR, axes=4, size=SIZE)
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_moves_through_one_experiment_and_goes_on_from_a_snapshot(
    make_client, make_generator, objective, tmp_path, name
):
    model = "ax" if name in ("reseed", "caps") else None  # their rounds are the box, which the model searches

    def run(client, total):
        policy = chain(draws(PRIOR, FIRST, axes=4), POLICIES[name]())
        optimize(client, make_generator(), objective, policy=policy, total_trials=total, batch_size=4, rng=0,
                 snapshot=tmp_path / "client.json")  # fmt: skip

    run(make_client(model=model), 8)
    loaded = load_client(tmp_path / "client.json")
    run(loaded, TOTAL)
    trials = records.trials(loaded._experiment)
    assert [max(records.round_of(trial), 0) for trial in trials] == [i // SIZE for i in range(TOTAL)]
    assert len({records.read_recipe(trial).terms for trial in trials}) == TOTAL
    if model is None:
        whole = make_client(model=None)
        policy = chain(draws(PRIOR, FIRST, axes=4), POLICIES[name]())
        optimize(whole, make_generator(), objective, policy=policy, total_trials=TOTAL, batch_size=4, rng=0)
        assert [records.read_recipe(trial).terms for trial in records.trials(whole._experiment)] == [
            records.read_recipe(trial).terms for trial in trials
        ]
