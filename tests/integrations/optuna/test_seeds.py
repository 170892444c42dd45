"""Stored seeds persist with the study: any process finds them, and a search that could not keep them is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import optuna
import pytest
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from surrogate_ax import SurrogateSpace, chain, fixed, render
from surrogate_ax.errors import ArgumentError, MismatchError, SeedError
from surrogate_ax.policies.spherical_bo import spherical_bo
from surrogate_ax_optuna import optimize, portfolio, read_record, sqlite
from surrogate_ax_optuna.attributes import attributes, study_attributes
from surrogate_ax_optuna.seed_artifacts import ArtifactSeedStore
from surrogate_ax_optuna.seeds import study_seeds
from surrogate_ax_optuna.trials import read_recipe
from tests.processes import Forked

K, RADIUS = 4, 1.18  # |z|²/D = 1.39, as exact inversions have it


@pytest.fixture
def generator(make_generator):
    return make_generator()


@pytest.fixture
def inverted(generator):
    """Latents (K, D) of items whose inversion is off the prior's radius."""
    z = torch.randn(K, generator.prior.dim, generator=torch.Generator().manual_seed(3))
    return RADIUS * z / z.square().mean(dim=1, keepdim=True).sqrt()


@pytest.fixture
def space(generator, inverted):
    return SurrogateSpace.from_latents(generator.prior, inverted, rng=0, origins=[f"photo{i}" for i in range(K)])


def _search(study, generator, objective, **options):
    optimize(
        study, generator, objective, **{"rng": 0, "progress": False, "batch_size": 4, "total_trials": 10} | options
    )


def test_inverted_items_are_remade_exactly_from_the_study_alone(
    make_study, generator, objective, space, inverted, tmp_path
):
    study = make_study(storage=sqlite(tmp_path / "study.db"), study_name="items")
    _search(study, generator, objective, space=space)
    files = sorted(path.name for path in (tmp_path / "study-seeds").iterdir())
    assert files == sorted(f"{seed.sha256}.safetensors" for seed in space.bank.seeds)
    recipes = [read_recipe(trial) for trial in study.trials[:K]]
    outputs, _ = render(recipes, generator, seeds=tmp_path / "study-seeds")
    assert torch.equal(outputs, inverted)
    norms = (
        torch.stack([pick.output for pick in portfolio(study, generator, k=8, max_cosine=1.0, min_distance=0)])
        .square()
        .mean(dim=1)
    )
    assert norms.sqrt().numpy() == pytest.approx(RADIUS, abs=1e-5)


def test_another_process_finds_them(make_study, generator, objective, space, tmp_path):
    study = make_study(storage=sqlite(tmp_path / "study.db"), study_name="items")
    _search(study, generator, objective, space=space)
    code = f"""
import optuna, torch
from surrogate_ax import FunctionGenerator
from surrogate_ax_optuna import portfolio, read_record, sqlite
from tests.integrations.optuna.conftest import IdentityGenerator
study = optuna.load_study(study_name="items", storage=sqlite({str(tmp_path / "study.db")!r}))
history = read_record(study).history
print(len(history.bank(IdentityGenerator().prior).tensors))
picks = portfolio(study, IdentityGenerator(), k=3, max_cosine=1.0, min_distance=0)
print(*(round(pick.output[0].item(), 4) for pick in picks))
"""
    with Forked(code) as other:
        stdout, stderr = other.communicate()
    assert other.returncode == 0, stderr
    count, values = stdout.splitlines()[-2:]
    assert int(count) == K
    best = sorted((trial.value for trial in study.trials), reverse=True)[:3]
    assert list(map(float, values.split())) == pytest.approx(best, abs=1e-3)


def test_a_policy_over_stored_seeds_goes_on_after_a_resume(make_study, generator, objective, space, tmp_path):
    box = fixed(space)

    def first(history, remaining, rng):
        return None if history.ended(0) >= 8 else dataclasses.replace(box(history, remaining, rng), size=8)

    def policy():
        return chain(first, spherical_bo(generator.prior, axes=K, size=4))

    storage = sqlite(tmp_path / "study.db")
    whole = make_study()
    _search(whole, generator, objective, policy=policy(), total_trials=16)
    study = make_study(storage=storage, study_name="items")
    _search(study, generator, objective, policy=policy(), total_trials=12)
    again = optuna.load_study(study_name="items", storage=sqlite(tmp_path / "study.db"), sampler=RandomSampler(seed=0))
    _search(again, generator, objective, policy=policy(), total_trials=16)
    assert [trial.value for trial in again.trials] == pytest.approx([trial.value for trial in whole.trials], abs=1e-5)


@pytest.mark.filterwarnings("ignore:storage. a journal file that is torn")
def test_a_storage_without_a_place_for_them_is_refused_before_the_model_runs(
    make_study, generator, objective, space, tmp_path
):
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = make_study(storage=journal, study_name="items")
    with pytest.raises(ArgumentError, match=r"seeds: .* pass seeds="):
        _search(study, generator, objective, space=space)
    with pytest.raises(ArgumentError, match=r"seeds: .* 4 stored seeds .* pass seeds="):
        _search(study, generator, objective, policy=fixed(space))
    assert generator.sizes == []
    assert study.get_trials() == []
    _search(study, generator, objective, space=space, seeds=tmp_path / "kept")
    assert len(read_record(study).history.bank(generator.prior).tensors) == K  # the study remembers the folder
    assert portfolio(study, generator, k=1)[0].trial.value == study.best_value


def test_an_artifact_store_keeps_them(make_study, generator, objective, space, tmp_path):
    (tmp_path / "artifacts").mkdir()
    store = FileSystemArtifactStore(tmp_path / "artifacts")
    study = make_study()
    _search(study, generator, objective, space=space, seeds=store)
    assert len(list((tmp_path / "artifacts").iterdir())) == K
    assert set(space.bank.tensors) == {sha for sha in space.bank.tensors if sha in ArtifactSeedStore(store)}
    assert portfolio(study, generator, k=1, seeds=store)[0].trial.value == study.best_value


def test_a_damaged_seed_is_named(make_study, generator, objective, space, tmp_path):
    study = make_study(storage=sqlite(tmp_path / "study.db"), study_name="items")
    _search(study, generator, objective, space=space)
    damaged = next((tmp_path / "study-seeds").iterdir())
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(bytes(content))
    with pytest.raises(SeedError, match=damaged.stem):
        portfolio(study, generator, k=8, max_cosine=1.0, min_distance=0)


def test_old_recipes_with_stored_seeds_are_refused_by_version(make_study, generator, objective, space, tmp_path):
    study = make_study(storage=sqlite(tmp_path / "study.db"), study_name="items")
    _search(study, generator, objective, space=space, total_trials=5)
    frozen = study.trials[0]
    for name, value in frozen.system_attrs.items():  # earlier releases wrote user attributes
        frozen.set_user_attr(name, value)
    frozen.system_attrs = {}
    frozen.set_user_attr("surrogate:recipe", dict(attributes(frozen)["surrogate:recipe"], version=1))
    old = make_study()
    old.add_trial(frozen)
    old.set_user_attr("surrogate:study", study_attributes(study)["surrogate:study"])
    for search in (
        lambda: portfolio(old, generator, seeds=tmp_path / "study-seeds"),
        lambda: _search(old, generator, objective, space=space),
    ):
        with pytest.raises(MismatchError, match=r"stored seeds by version 1"):
            search()
    assert len(read_record(old).trials) == 1
    outputs, _ = render(read_recipe(frozen), generator, seeds=space.bank.tensors)
    assert float(outputs.square().mean()) == pytest.approx(1, abs=1e-5)  # as it was: without its radius


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("study.db", "study-seeds"),
        ("v1.2", "v1.2-seeds"),
        ("study.sqlite?timeout=30", "study-seeds"),
        ("file:{here}/uri.db?uri=true", "uri-seeds"),
    ],
)
def test_the_folder_lies_beside_the_database(tmp_path, address, folder):
    address = address.format(here=tmp_path) if "{here}" in address else f"{tmp_path}/{address}"
    study = optuna.create_study(storage=optuna.storages.RDBStorage(f"sqlite:///{address}"))
    assert study_seeds(study).folder == tmp_path / folder


def test_a_database_in_memory_has_no_folder():
    assert study_seeds(optuna.create_study(storage=optuna.storages.RDBStorage("sqlite:///:memory:"))) is None


def test_in_memory_they_live_with_the_storage(make_study, generator, objective, space):
    study = make_study()
    _search(study, generator, objective, space=space)
    assert portfolio(study, generator, k=1)[0].trial.value == study.best_value
    assert np.isfinite(study.best_value)
