"""Where stored seeds are kept: in memory, or one file a seed in a folder that several processes may share.

A store is a mapping from names to inner rows (D,), float32 on the CPU. A seed's name is the SHA-256 of its float32
bytes, so a name never comes to mean another row, and to put a row twice is to put it once. A row is read when it is
asked for, and checked against its name. Files are safetensors: numbers only, nothing that could run.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from surrogate_ax.errors import ArgumentError, MissingSeedError, SeedError, StorageError
from surrogate_ax.latents.seeds import row_sha256, stored_row

_NAME = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"


class SeedStore(Mapping[str, Tensor]):
    """A mapping from SHA-256 to inner rows (D,) that can only grow: read as a mapping, written by `put` and `add`.

    Implementations give the mapping's methods and `add`. A seed that is not there raises MissingSeedError. Reading a
    name, or asking for it with `in`, must not read other seeds.
    """

    @abstractmethod
    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep named rows; those that are there already are left, and mended if they were damaged.

        Args:
            tensors: inner rows (D,) by SHA-256, such as `Bank.tensors`.

        Raises:
            SeedError: a row that is not finite or zero, or does not hash to its name.
            StorageError: a row could not be written.
        """

    def put(self, rows: Iterable[Tensor]) -> list[str]:
        """Keep rows.

        Args:
            rows: inner rows (D,), of any floating dtype.

        Returns:
            Their names, in order.

        Raises:
            SeedError: a row that is not finite, or zero.
            StorageError: a row could not be written.
        """
        names = []
        for row in rows:
            kept = stored_row(row)
            names.append(row_sha256(kept))
            self.add({names[-1]: kept})
        return names

    def __bool__(self) -> bool:
        """True: what is written into an empty store is kept too, so `store or {}` must not drop it."""
        return True


class MemorySeedStore(SeedStore):
    """Seeds of this process, gone with it.

    Args:
        tensors: rows to begin with, by SHA-256.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        self._rows: dict[str, Tensor] = {}
        self.add(tensors or {})

    def __getitem__(self, sha256: str) -> Tensor:
        """The row (D,) of a seed."""
        if check_name(sha256) not in self._rows:
            raise MissingSeedError(f"seeds: {sha256} is not in {self}. Put its row into the store.")
        return self._rows[sha256]

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"MemorySeedStore of {len(self)} seeds"

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep named rows (D,); see `SeedStore.add`."""
        for sha256 in tensors:
            if sha256 not in self._rows:
                self._rows[sha256] = named_row(sha256, tensors[sha256])


class FolderSeedStore(SeedStore):
    """One file a seed, `<sha256>.safetensors`, in a folder that is made when the first one is written.

    A file appears whole or not at all, so processes may share the folder.

    Args:
        folder: where the files lie.

    Raises:
        ArgumentError: a file stands where the folder should.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ArgumentError(f"folder: expected a folder for seeds, got the file {self.folder}.")
        self._intact: set[str] = set()  # written by this process, or found whole when it last read them

    def __getitem__(self, sha256: str) -> Tensor:
        """The row (D,) of a seed, read from its file and checked against its name."""
        path = self.folder / f"{check_name(sha256)}{_SUFFIX}"
        self._intact.discard(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise MissingSeedError(
                f"seeds: {sha256} is not in the folder {self.folder}. Give the folder that the seed was stored in, or "
                "put its row into this one."
            ) from None
        except OSError as error:
            raise SeedError(f"seeds: {path} cannot be read ({error}).") from error
        row = row_from_bytes(content, sha256, where=str(path))
        self._intact.add(sha256)
        return row

    def __contains__(self, sha256: object) -> bool:
        return is_name(sha256) and (self.folder / f"{sha256}{_SUFFIX}").is_file()

    def __iter__(self) -> Iterator[str]:
        found = sorted(self.folder.glob(f"*{_SUFFIX}"))
        return (path.name.removesuffix(_SUFFIX) for path in found if is_name(path.name.removesuffix(_SUFFIX)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"FolderSeedStore({str(self.folder)!r})"

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Write named rows (D,); see `SeedStore.add`."""
        for sha256 in tensors:
            if sha256 not in self._intact and not holds_intact(self, sha256):
                self._write(sha256, row_to_bytes(named_row(sha256, tensors[sha256])))
                self._intact.add(sha256)

    def _write(self, sha256: str, content: bytes) -> None:
        """Beside its place first, then moved there: a crash leaves no half of a file under a seed's name."""
        beside = self.folder / f".{uuid.uuid4().hex}.new"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.folder / f"{sha256}{_SUFFIX}")
        except OSError as error:
            raise StorageError(f"seeds: {sha256} could not be written into {self.folder} ({error}).") from error
        finally:
            with contextlib.suppress(OSError):  # the error to show is the one above
                beside.unlink(missing_ok=True)


def seed_store(where: SeedStore | Path | str | None) -> SeedStore:
    """The store that is meant by a folder, by a store, or by nothing: then one in memory."""
    if isinstance(where, SeedStore):
        return where
    return MemorySeedStore() if where is None else FolderSeedStore(where)


# --- what implementations share


def is_name(name: object) -> bool:
    """Whether this is a seed's name: 64 hexadecimal digits, so that no name leaves a store's folder."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name.

    Raises:
        SeedError: not 64 hexadecimal digits.
    """
    if not is_name(name):
        raise SeedError(f"seeds: expected a SHA-256 of 64 hexadecimal digits, got {name!r}.")
    return name


def named_row(sha256: str, row: Tensor) -> Tensor:
    """The row (D,) as it is kept, its own memory.

    Raises:
        SeedError: a name that is none, a row that is not finite or zero, or one that does not hash to its name.
    """
    row = stored_row(row, name=check_name(sha256))
    if row_sha256(row) != sha256:
        raise SeedError(f"seeds: the row given as {sha256} hashes to {row_sha256(row)}; name it by its own hash.")
    return row


def holds_intact(store: SeedStore, sha256: str) -> bool:
    """Whether a store has a seed and can read it."""
    try:
        return len(store[sha256]) > 0
    except SeedError:
        return False


def row_to_bytes(row: Tensor) -> bytes:
    """The content of a seed's file."""
    return safetensors.torch.save({"seed": row})


def row_from_bytes(content: bytes, sha256: str, *, where: str) -> Tensor:
    """The row (D,) in the content of a seed's file.

    Raises:
        SeedError: the content is cut short or changed; names `where` it was read and the seed.
    """
    try:
        row = safetensors.torch.load(content)["seed"]
        reason = "" if row.dtype == torch.float32 and row_sha256(row) == sha256 else "another row"
    except (SafetensorError, KeyError, ValueError) as error:
        reason = str(error)
    if reason:
        raise SeedError(
            f"seeds: {where} does not hold the seed {sha256}: it was changed or cut short ({reason}). Bring the file "
            "back from a copy, or put the seed's row into the store again, which mends it."
        )
    return row
