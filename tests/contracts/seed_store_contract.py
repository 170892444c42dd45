"""What every store of seeds has to keep, as one class to subclass.

class TestMine(SeedStoreContract):
    @pytest.fixture
    def store(self, tmp_path) -> SeedStore:
        return MyStore(tmp_path)

    @pytest.fixture
    def reopened(self, store) -> SeedStore:
        return MyStore(store.folder)  # as another process would; the same one where a store ends with its process
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from surrogate_ax import Gaussian
from surrogate_ax.errors import MissingSeedError, SeedError, ShapeError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seed_store import SeedStore
from surrogate_ax.latents.seeds import Draw, Stored

D = 24
MISSING = "0" * 64
NO_NAMES = ["", "abc", "A" * 64, "0" * 63, "0" * 65, "../" + "0" * 61, "0" * 64 + "\n", "/" + "0" * 63]


def rows(m: int, rng: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(m, D, generator=torch.Generator().manual_seed(rng)))


def sha256_of(row: torch.Tensor) -> str:
    return hashlib.sha256(row.numpy().astype("<f4").tobytes()).hexdigest()


class SeedStoreContract:
    def test_rows_come_back_bit_for_bit_under_the_hash_of_their_bytes(self, store: SeedStore, reopened: SeedStore):
        given = rows(3)
        names = store.put(given)
        assert names == [sha256_of(row) for row in given]
        for opened in (store, reopened):
            for name, row in zip(names, given, strict=True):
                assert name in opened
                found = opened[name]
                assert (found.dtype, found.device.type, found.requires_grad) == (torch.float32, "cpu", False)
                assert sha256_of(found) == name
                torch.testing.assert_close(found, row, rtol=0, atol=0)

    def test_a_row_of_another_dtype_is_kept_as_float32(self, store: SeedStore):
        row = rows(1)[0]
        for same in (row.double(), row.clone().requires_grad_(), torch.stack([row, row], dim=1)[:, 0]):
            assert store.put([same]) == [sha256_of(row)]
        (half,) = store.put([row.half()])
        torch.testing.assert_close(store[half], row.half().float(), rtol=0, atol=0)

    def test_what_is_kept_does_not_follow_the_tensor_that_was_given(self, store: SeedStore):
        row = rows(1)[0]
        expected = row.clone()
        (name,) = store.put([row])
        row.zero_()
        torch.testing.assert_close(store[name], expected, rtol=0, atol=0)

    def test_to_put_twice_is_to_put_once(self, store: SeedStore, reopened: SeedStore):
        given = rows(2)
        names = store.put([*given, given[0]])
        assert names == [sha256_of(given[i]) for i in (0, 1, 0)]
        assert reopened.put(given) == names[:2]
        store.add({name: reopened[name] for name in names})
        assert store.put(iter(())) == []

    def test_named_rows_are_added(self, store: SeedStore, reopened: SeedStore):
        bank = Bank(Gaussian((D,)), [Draw(0, 0), *rows(2)])
        store.add(bank.tensors)
        assert all(name in reopened for name in bank.tensors)

    def test_a_store_serves_as_the_tensors_of_a_bank(self, store: SeedStore):
        given = rows(2)
        names = store.put(given)
        bank = Bank(Gaussian((D,)), [Draw(0, 0)], tensors=store).extend([Stored(name) for name in names])
        torch.testing.assert_close(bank.inner(np.eye(3))[1:], torch.stack(given), rtol=0, atol=0)
        message = f"(?s)there is no tensor of Stored.*{MISSING}.* in .*Store.*Pass the store"
        with pytest.raises(SeedError, match=message):
            bank.extend([Stored(MISSING)])

    def test_an_empty_store_is_true(self, store: SeedStore):
        assert store

    def test_a_missing_seed_is_named(self, store: SeedStore):
        assert MISSING not in store
        assert store.get(MISSING) is None
        with pytest.raises(MissingSeedError) as error:
            store[MISSING]
        assert str(error.value).startswith(f"seeds: {MISSING} is not in ")
        assert isinstance(error.value, SeedError)
        assert isinstance(error.value, KeyError)

    @pytest.mark.parametrize("name", NO_NAMES)
    def test_what_is_no_hash_is_refused_wherever_it_is_given(self, store: SeedStore, name: str):
        assert name not in store
        assert 3 not in store
        for ask in (lambda: store[name], lambda: store.add({name: rows(1)[0]})):
            with pytest.raises(SeedError, match="seeds: expected a SHA-256 of 64 hexadecimal digits, got"):
                ask()

    def test_a_row_under_the_name_of_another_is_refused(self, store: SeedStore):
        with pytest.raises(SeedError, match=f"seeds: the row given as {MISSING} hashes to [0-9a-f]{{64}}"):
            store.add({MISSING: rows(1)[0]})
        assert MISSING not in store

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (torch.full((D,), float("nan")), "NaN or infinity"),
            (torch.full((D,), 1e39, dtype=torch.float64), "NaN or infinity"),
            (torch.zeros(D), "zeros only"),
            (torch.ones(D, dtype=torch.int64), "floating dtype"),
            (torch.ones(2, D), r"expected an inner row \(D,\), got \(2, 24\)"),
        ],
    )
    def test_what_is_no_seed_is_refused(self, store: SeedStore, row: torch.Tensor, message: str):
        with pytest.raises((SeedError, ShapeError), match=message):
            store.put([row])

    def test_threads_may_put_the_same_rows(self, store: SeedStore, reopened: SeedStore):
        given = rows(6)
        with ThreadPoolExecutor(4) as pool:
            names = list(pool.map(store.put, [given] * 8))
        assert all(these == names[0] for these in names)
        assert all(sha256_of(reopened[name]) == name for name in names[0])


class ListedContract(SeedStoreContract):
    """Further, for stores that can say what they have."""

    def test_seeds_are_listed(self, store: SeedStore, reopened: SeedStore):
        assert (len(store), list(store)) == (0, [])
        names = store.put(rows(3))
        assert len(reopened) == 3
        assert set(reopened) == set(names)
        assert set(dict(reopened)) == set(names)


class DamagedContract(SeedStoreContract):
    """Further, for stores of files, which may be changed behind the store's back."""

    def content(self, store: SeedStore, name: str) -> bytes:
        """What is in the file of a seed."""
        raise NotImplementedError

    def damage(self, store: SeedStore, name: str, content: bytes) -> None:
        """Write something else into it."""
        raise NotImplementedError

    def test_a_damaged_file_is_refused_by_name_and_mended(self, store: SeedStore, reopened: SeedStore):
        row, other = rows(2)
        name, second = store.put([row, other])
        for content in damaged(self.content(store, name), self.content(store, second)):
            self.damage(store, name, content)
            with pytest.raises(SeedError) as error:
                reopened[name]
            assert name in str(error.value)
            assert "changed or cut short" in str(error.value)
        for mending in (reopened, store):  # which wrote the file, and sees the damage when it reads it
            self.damage(store, name, b"")
            with pytest.raises(SeedError):
                mending[name]
            assert mending.put([row]) == [name]
            torch.testing.assert_close(reopened[name], row, rtol=0, atol=0)


def damaged(content: bytes, other: bytes) -> list[bytes]:
    """A file's content cut short, lengthened, another's, of another dtype, and with one bit turned in any byte."""
    cut = [b"", content[:7], content[: len(content) // 2], content[:-1]]
    turned = [content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :] for i in range(len(content))]
    return [*cut, content + b"x", other, content.replace(b"F32", b"I32"), *turned]
