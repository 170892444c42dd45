"""Seeds in Optuna's artifact stores."""

from __future__ import annotations

import io

import pytest
from optuna.artifacts import Backoff, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from safetensors.torch import load

from surrogate_ax.errors import MissingSeedError, StorageError, UnsupportedError
from surrogate_ax_optuna.seed_artifacts import ArtifactSeedStore
from tests.contracts.seed_store_contract import MISSING, DamagedContract, SeedStoreContract, rows


class Bucket:
    """An artifact store in memory that counts what is asked of it, as a bucket does that is paid by the request."""

    def __init__(self):
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []

    def open_reader(self, artifact_id):
        self.asked.append("read")
        if artifact_id not in self.content:
            raise ArtifactNotFound(artifact_id)
        return io.BytesIO(self.content[artifact_id])

    def write(self, artifact_id, content_body):
        self.asked.append("write")
        self.content[artifact_id] = content_body.read()

    def remove(self, artifact_id):
        del self.content[artifact_id]


class TestBucket(DamagedContract):
    @pytest.fixture
    def store(self):
        return ArtifactSeedStore(Bucket())

    @pytest.fixture
    def reopened(self, store):
        return ArtifactSeedStore(store.artifact_store)

    def content(self, store, name):
        return store.artifact_store.content[f"seed-{name}.safetensors"]

    def damage(self, store, name, content):
        store.artifact_store.content[f"seed-{name}.safetensors"] = content


class TestFolder(SeedStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return ArtifactSeedStore(Backoff(FileSystemArtifactStore(tmp_path), min_delay=1e-3))

    @pytest.fixture
    def reopened(self, tmp_path):
        return ArtifactSeedStore(FileSystemArtifactStore(tmp_path))

    def test_a_seed_is_one_safetensors_file(self, store, tmp_path):
        (name,) = store.put(rows(1))
        (path,) = tmp_path.iterdir()
        assert path.name == f"seed-{name}.safetensors"
        assert list(load(path.read_bytes())) == ["seed"]


def test_a_missing_seed_is_named_with_its_artifact():
    with pytest.raises(
        MissingSeedError, match=f"{MISSING} is not in ArtifactSeedStore over a Bucket.*no seed-{MISSING}"
    ):
        ArtifactSeedStore(Bucket())[MISSING]


def test_artifact_stores_list_nothing():
    store = ArtifactSeedStore(Bucket())
    store.put(rows(1))
    for ask in (list, len, dict):
        with pytest.raises(UnsupportedError, match="an artifact store does not list what it has"):
            ask(store)


def test_what_is_known_to_be_there_costs_no_request():
    bucket = Bucket()
    store = ArtifactSeedStore(bucket)
    (name,) = store.put(rows(1))
    assert bucket.asked == ["read", "write"]
    store.put(rows(1))
    assert name in store
    assert bucket.asked == ["read", "write"]
    store[name]
    assert bucket.asked == ["read", "write", "read"]
    other = ArtifactSeedStore(bucket)
    assert name in other
    other.put(rows(1))
    assert "write" not in bucket.asked[3:]


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    store = ArtifactSeedStore(FileSystemArtifactStore(tmp_path / "missing"))
    with pytest.raises(
        StorageError, match=r"seeds: [0-9a-f]{64} could not be written into ArtifactSeedStore over a File"
    ):
        store.put(rows(1))
