"""Stores of seeds: in memory, and one file a seed in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from surrogate_ax.errors import ArgumentError, MissingSeedError, SeedError, StorageError
from surrogate_ax.latents.seed_store import FolderSeedStore, MemorySeedStore, seed_store
from tests.contracts.seed_store_contract import MISSING, DamagedContract, ListedContract, rows


class TestMemory(ListedContract):
    @pytest.fixture
    def store(self):
        return MemorySeedStore()

    @pytest.fixture
    def reopened(self, store):
        return store

    def test_a_store_begins_with_tensors(self, store):
        names = store.put(rows(2))
        assert set(MemorySeedStore(store)) == set(names)


class TestFolder(ListedContract, DamagedContract):
    @pytest.fixture
    def store(self, tmp_path):
        return FolderSeedStore(tmp_path / "study" / "seeds")

    @pytest.fixture
    def reopened(self, store):
        return FolderSeedStore(str(store.folder))

    def content(self, store, name):
        return (store.folder / f"{name}.safetensors").read_bytes()

    def damage(self, store, name, content):
        (store.folder / f"{name}.safetensors").write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    return FolderSeedStore(tmp_path / "seeds")


def test_a_folder_is_made_when_the_first_seed_is_written(folder):
    assert MISSING not in folder
    assert (len(folder), list(folder)) == (0, [])
    assert not folder.folder.exists()
    (name,) = folder.put(rows(1))
    assert [path.name for path in folder.folder.iterdir()] == [f"{name}.safetensors"]
    assert list(load_file(folder.folder / f"{name}.safetensors")) == ["seed"]


def test_a_seed_that_is_not_there_is_named_with_its_folder(folder):
    with pytest.raises(MissingSeedError) as error:
        folder[MISSING]
    assert MISSING in str(error.value)
    assert f"is not in the folder {folder.folder}" in str(error.value)


def test_a_damaged_file_is_named_with_its_folder(folder):
    (name,) = folder.put(rows(1))
    path = folder.folder / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SeedError) as error:
        folder[name]
    assert f"seeds: {path} does not hold the seed {name}" in str(error.value)
    assert "put the seed's row into the store again" in str(error.value)


def test_other_files_in_the_folder_are_no_seeds(folder):
    (name,) = folder.put(rows(1))
    for other in ("notes.txt", "space.safetensors", f".{name}.new", f"{name}.safetensors.bak"):
        (folder.folder / other).write_text("x")
    assert list(folder) == [name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_breaks_off_leaves_neither_a_seed_nor_a_file(folder, monkeypatch, step):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(StorageError, match=r"seeds: [0-9a-f]{64} could not be written into .* \(.*No space left"):
        folder.put(rows(1))
    assert list(folder.folder.iterdir()) == []
    monkeypatch.undo()
    (name,) = folder.put(rows(1))
    assert name in folder


def test_what_is_there_is_not_written_again(folder, monkeypatch):
    names = folder.put(rows(2))
    monkeypatch.setattr(FolderSeedStore, "_write", lambda *_: pytest.fail("written again"))
    assert FolderSeedStore(folder.folder).put(rows(2)) == names


def test_a_seed_is_on_the_disk_before_it_has_its_name(folder, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: steps.append("fsync") or fsync(file))
    monkeypatch.setattr(Path, "replace", lambda self, to: steps.append("replace") or replace(self, to))
    folder.put(rows(1))
    assert steps == ["fsync", "replace"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "seeds").write_text("x")
    with pytest.raises(ArgumentError, match="folder: expected a folder for seeds, got the file"):
        FolderSeedStore(tmp_path / "seeds")


def test_a_folder_in_the_place_of_a_file_is_no_seed(folder):
    (folder.folder / f"{MISSING}.safetensors").mkdir(parents=True)
    assert MISSING not in folder
    with pytest.raises(SeedError, match="cannot be read"):
        folder[MISSING]


def test_a_store_is_named_by_a_folder_itself_or_nothing(tmp_path):
    store = MemorySeedStore()
    assert seed_store(store) is store
    for where in (tmp_path, str(tmp_path)):
        made = seed_store(where)
        assert isinstance(made, FolderSeedStore)
        assert made.folder == tmp_path
    assert isinstance(seed_store(None), MemorySeedStore)


def test_a_read_seed_does_not_depend_on_its_file(folder):
    (row,) = rows(1)
    (name,) = folder.put([row])
    found = folder[name]
    path = folder.folder / f"{name}.safetensors"
    path.write_bytes(b"\0" * path.stat().st_size)
    torch.testing.assert_close(found, row, rtol=0, atol=0)
