"""Stored seeds in an Optuna artifact store, so that workers which share a bucket share the seeds of their study.

A seed is the artifact `seed-<sha256>.safetensors`. It belongs to no trial: its name says what it holds.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import BinaryIO, Protocol

from optuna.artifacts.exceptions import ArtifactNotFound
from torch import Tensor

from surrogate_ax.errors import MissingSeedError, StorageError, UnsupportedError
from surrogate_ax.latents.seed_store import (
    SeedStore,
    check_name,
    holds_intact,
    is_name,
    named_row,
    row_from_bytes,
    row_to_bytes,
)


class ArtifactStore(Protocol):
    """What is asked of an artifact store; all of Optuna's have it."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The content of an artifact; ArtifactNotFound when there is none."""
        ...

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep the content of an artifact."""
        ...


class ArtifactSeedStore(SeedStore):
    """Stored seeds as artifacts. Artifact stores list nothing, so the seeds cannot be listed or counted.

    Args:
        artifact_store: one of `optuna.artifacts`. A `FileSystemArtifactStore` needs its folder to exist.
    """

    def __init__(self, artifact_store: ArtifactStore) -> None:
        self.artifact_store = artifact_store
        self._intact: set[str] = set()  # written by this process, or found whole when it last read them

    def __getitem__(self, sha256: str) -> Tensor:
        """The row (D,) of a seed, read from its artifact and checked against its name."""
        artifact = _artifact(check_name(sha256))
        self._intact.discard(sha256)
        try:
            with closing(self.artifact_store.open_reader(artifact)) as reader:
                content = reader.read()
        except ArtifactNotFound:
            raise MissingSeedError(
                f"seeds: {sha256} is not in {self}, which has no {artifact}. Give the store that the seed was kept in, "
                "or put its row into this one."
            ) from None
        row = row_from_bytes(content, sha256, where=f"the artifact {artifact}")
        self._intact.add(sha256)
        return row

    def __contains__(self, sha256: object) -> bool:
        if not isinstance(sha256, str) or not is_name(sha256):
            return False
        if sha256 not in self._intact:
            try:
                self.artifact_store.open_reader(_artifact(sha256)).close()
            except ArtifactNotFound:
                return False
        return True

    def __iter__(self) -> Iterator[str]:
        raise _unlisted()

    def __len__(self) -> int:
        raise _unlisted()

    def __repr__(self) -> str:
        return f"ArtifactSeedStore over a {type(self.artifact_store).__name__}"

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Write named rows (D,) as artifacts; see `SeedStore.add`."""
        for sha256 in tensors:
            if sha256 in self._intact or holds_intact(self, sha256):
                continue
            content = io.BytesIO(row_to_bytes(named_row(sha256, tensors[sha256])))
            try:
                self.artifact_store.write(_artifact(sha256), content)
            except OSError as error:
                raise StorageError(f"seeds: {sha256} could not be written into {self} ({error}).") from error
            self._intact.add(sha256)


def _artifact(sha256: str) -> str:
    return f"seed-{sha256}.safetensors"


def _unlisted() -> UnsupportedError:
    return UnsupportedError("seeds: an artifact store does not list what it has; ask for seeds by their SHA-256.")
