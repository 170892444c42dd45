"""Stored seeds persist with an Ax client: beside its snapshot, in memory, or where `seeds=` says."""

from __future__ import annotations

import pytest
import torch
from ax.api.client import Client

from surrogate_ax import SurrogateSpace, render
from surrogate_ax.errors import ArgumentError
from surrogate_ax_platform import configure_experiment, load_client, optimize, read_record, save_client

K = 4


@pytest.fixture
def generator(make_generator):
    return make_generator()


@pytest.fixture
def inverted(generator):
    """Latents (K, D) off the prior's radius, as exact inversions are."""
    z = torch.randn(K, generator.prior.dim, generator=torch.Generator().manual_seed(3))
    return 1.18 * z / z.square().mean(dim=1, keepdim=True).sqrt()


@pytest.fixture
def space(generator, inverted):
    return SurrogateSpace.from_latents(generator.prior, inverted, rng=0)


def _searched(generator, objective, space, *, client=None, **options):
    client = client or Client(random_seed=0)
    configure_experiment(client, generator, objective, space=space)
    settings = {"rng": 0, "batch_size": 4, "total_trials": K, "progress": False}
    optimize(client, generator, objective, space=space, **settings | options)
    return client


def _remade(client, generator):
    record = read_record(client)
    return render([trial.recipe for trial in record.trials], generator, seeds=record.history.tensors)[0]


def test_a_snapshot_has_them_beside_it(generator, objective, space, inverted, tmp_path):
    _searched(generator, objective, space, snapshot=tmp_path / "client.json")
    assert len(list((tmp_path / "client-seeds").iterdir())) == K
    assert torch.equal(_remade(load_client(tmp_path / "client.json"), generator), inverted)
    (tmp_path / "moved").mkdir()
    for name in ("client.json", "client-seeds"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert torch.equal(_remade(load_client(tmp_path / "moved" / "client.json"), generator), inverted)


def test_in_memory_they_stay_with_the_client_until_it_is_saved(generator, objective, space, inverted, tmp_path):
    client = _searched(generator, objective, space)
    assert torch.equal(_remade(client, generator), inverted)
    save_client(client, tmp_path / "later.json")
    assert torch.equal(_remade(load_client(tmp_path / "later.json"), generator), inverted)


def test_a_database_needs_a_folder(generator, objective, space, inverted, tmp_path):
    from ax.api.configs import StorageConfig
    from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

    def database(name):
        config = StorageConfig(url=f"sqlite:///{tmp_path / name}")
        init_engine_and_session_factory(url=config.url, force_init=True)  # Ax has one a process
        create_all_tables(get_engine())
        return config

    config = database("ax.db")
    with pytest.raises(ArgumentError, match=r"seeds: .* 4 stored seeds .* pass snapshot="):
        _searched(generator, objective, space, client=Client(random_seed=0, storage_config=config))
    assert generator.sizes == []
    config = database("second.db")
    client = Client(random_seed=0, storage_config=config)
    _searched(generator, objective, space, client=client, seeds=tmp_path / "kept")
    again = Client.load_from_database(experiment_name="surrogate", storage_config=config)
    assert torch.equal(_remade(again, generator), inverted)
