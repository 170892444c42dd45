"""Outputs that wait for their scores, in a folder that makers and scorers share, and who scores which.

    12.npz        the output of trial 12: JSON and plain arrays, written at once and whole
    12.score-1    who scores it, for the first time; touched again and again while its process lives
    12.score-2    who scores it after that one's process has ended

A file is made by one process only (O_EXCL), also on a network's file system, so of several scorers one gets a trial.
Ages are taken from the folder's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from surrogate_ax.errors import StorageError
from surrogate_ax.scoring.packing import pack
from surrogate_ax.scoring.process_worker import unpack
from surrogate_ax_optuna.lease import GRACE, INTERVAL, has_ended


class OutputFolder:
    """A folder of outputs that wait.

    Args:
        folder: made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[int, Path] = {}
        self._stop: threading.Event | None = None

    def keep(self, number: int, output: Any) -> None:
        """Write the output of a trial.

        Args:
            number: of the trial.
            output: arrays, tensors, images, structures, texts, numbers, or lists and mappings of them.

        Raises:
            UnsupportedError: something else.
            StorageError: it cannot be written.
        """
        arrays: list[Any] = []
        message = json.dumps(pack(output, arrays))
        part = self.folder / f".{number}-{uuid.uuid4().hex[:8]}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                np.savez(file, message=np.array(message), **{f"a{i}": array for i, array in enumerate(arrays)})
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._file(number))
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StorageError(f"the output of trial {number} could not be kept in {self.folder}: {error}.") from error

    def read(self, number: int) -> Any:
        """The output of a trial.

        Args:
            number: of the trial.

        Raises:
            StorageError: it is not there, or cannot be read.
        """
        try:
            with np.load(self._file(number), allow_pickle=False) as kept:
                arrays = [kept[f"a{i}"] for i in range(len(kept.files) - 1)]
                return unpack(json.loads(str(kept["message"])), arrays)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"the output of trial {number} cannot be read in {self.folder}: {error}. Makers and scorers need the "
                "same folder, beside the study."
            ) from error

    def claim(self, number: int, owner: str) -> int:
        """Take a trial to be scored; which try it is, 0 where another process has it.

        Args:
            number: of the trial.
            owner: of this process, as leases name it.
        """
        last = max((int(path.suffix.rpartition("-")[2]) for path in self.folder.glob(f"{number}.score-*")), default=0)
        if last and self._lives(self._claim(number, last)):
            return 0
        path = self._claim(number, last + 1)
        try:
            with path.open("x") as file:
                file.write(owner)
        except FileExistsError:
            return 0
        self._held[number] = path
        if self._stop is None:
            self._stop = threading.Event()
            threading.Thread(target=self._beat, args=(self._stop,), name="scores", daemon=True).start()
        return last + 1

    def let_go(self, number: int) -> None:
        """Give a trial back that was not scored: it is free at once.

        Args:
            number: of the trial.
        """
        path = self._held.pop(number, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def done(self, number: int) -> None:
        """Forget a trial that has ended.

        Args:
            number: of the trial.
        """
        self._file(number).unlink(missing_ok=True)
        for path in self.folder.glob(f"{number}.score-*"):
            path.unlink(missing_ok=True)
        self._held.pop(number, None)

    def close(self) -> None:
        """Give back what is held."""
        for number in list(self._held):
            self.let_go(number)
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.npz"

    def _claim(self, number: int, time: int) -> Path:
        return self.folder / f"{number}.score-{time}"

    def _lives(self, claim: Path) -> bool:
        """Whether the process that has made a claim may live."""
        clock = self.folder / f".clock-{uuid.uuid4().hex[:8]}"
        try:
            clock.touch()
            return not has_ended(claim.read_text()) and clock.stat().st_mtime - claim.stat().st_mtime < GRACE
        except FileNotFoundError:  # done a moment ago, or given back
            return True
        finally:
            clock.unlink(missing_ok=True)

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(INTERVAL):
            for path in list(self._held.values()):
                with contextlib.suppress(OSError):  # for once, or taken away
                    os.utime(path)
