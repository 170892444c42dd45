"""Who runs a trial, and whether that process still lives.

A running trial carries the attribute `surrogate:lease`: its owner and a deadline, written in one step with the trial.
From then on a thread of the owner beats for it: through Optuna's heartbeats where the storage has them (an `RDBStorage`
with an interval, which compares times on the server's clock), elsewhere by moving the deadline in the attribute, so
clocks of several machines must agree to well within `GRACE`.

A trial is abandoned when its beat has stopped for the grace period, or as soon as its owner was a process of this
machine that has ended: who restarts a killed run need not wait. Trials of other origin, without a lease, are never
touched.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.checks import mapping, number
from surrogate_ax_optuna.attributes import LEASE_ATTR, REASON_ATTR, attributes
from surrogate_ax_optuna.trials import RETRIES, is_awaiting

INTERVAL, GRACE = 20, 120  # seconds between beats, and without one until a trial is abandoned
TRIES = 5  # at which a trial's process may be killed before the trial counts as failed
_logger = logging.getLogger(f"surrogate_ax.{__name__}")


class Leases:
    """The trials that this process runs in a study. Its thread beats from the first that is held to the last let go.

    Args:
        storage: of the study.

    Attributes:
        owner: what tells these leases from those of others.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._heartbeat = heartbeat_of(storage)
        self._interval = (self._heartbeat and self._heartbeat.get_heartbeat_interval()) or INTERVAL
        self.owner = f"{_process()}/{uuid.uuid4().hex[:8]}"
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials."""
        with self._lock:
            return frozenset(self._held)

    def payload(self) -> dict[str, Any]:
        """The attribute's value, for a new trial or a further beat."""
        return {"owner": self.owner, "until": round(time.time() + GRACE, 3)}

    def hold(self, trial_id: int) -> None:
        """Beat for a trial that was created with `payload`, now and from time to time."""
        with self._lock:
            self._held.add(trial_id)
            if self._stop is None:
                self._stop = threading.Event()
                threading.Thread(target=self._run, args=(self._stop,), name="leases", daemon=True).start()
        if self._heartbeat is not None:
            self._heartbeat.record_heartbeat(trial_id)

    def release(self, trial_id: int) -> None:
        """Beat for a trial no longer."""
        with self._lock:
            self._held.discard(trial_id)
            if not self._held:
                self._end()

    def close(self) -> None:
        """Let go of all trials."""
        with self._lock:
            self._held.clear()
            self._end()

    def _end(self) -> None:
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval):
            for trial_id in self.held:
                if not stop.is_set():
                    self._beat(trial_id)

    def _beat(self, trial_id: int) -> None:
        try:
            if self._heartbeat is not None:
                self._heartbeat.record_heartbeat(trial_id)
            else:
                self._storage.set_trial_system_attr(trial_id, LEASE_ATTR, self.payload())
        except UpdateFinishedTrialError:  # told a moment ago, or taken away: then what comes of it is dropped
            with self._lock:
                self._held.discard(trial_id)
        except Exception as error:  # noqa: BLE001  a storage that fails for once must not end the beat
            _logger.warning("The beat of trial id %d failed, the next is in %d s: %s", trial_id, self._interval, error)


def abandoned(study: optuna.Study, running: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Which of a study's running trials have no living process.

    Args:
        study: the study.
        running: trials of it that have a lease which this process does not hold.
    """
    running = [trial for trial in running if not is_awaiting(trial)]  # no process has to live for these
    heartbeat, now = heartbeat_of(study._storage), time.time()
    stale = set(heartbeat._get_stale_trial_ids(study._study_id)) if heartbeat is not None and running else set()
    late = [trial for trial in running if _deadline(trial) < now]
    beaten = _beaten(study) if heartbeat is not None and late else set()  # their deadline counts up to the first beat
    overdue = stale | {trial._trial_id for trial in late if trial._trial_id not in beaten}
    return [t for t in running if t._trial_id in overdue or has_ended(owner_of(t))]


def fail_abandoned(study: optuna.Study, running: Iterable[FrozenTrial]) -> int:
    """Fail trials that are abandoned, without a reason: they are then run again.

    One whose process was killed at every one of `TRIES` tries is given a reason, and so counts as failed: it may be
    what kills them.

    Args:
        study: the study.
        running: as for `abandoned`.

    Returns:
        How many this process has failed.
    """
    taken = 0
    for trial in abandoned(study, running):
        with contextlib.suppress(UpdateFinishedTrialError):  # another worker, or its own after all, was first
            if len(trial.system_attrs.get(RETRIES, ())) >= TRIES - 1:
                reason = f"its process was killed at each of {TRIES} tries"
                study._storage.set_trial_system_attr(trial._trial_id, REASON_ATTR, reason)
            taken += study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return taken


def heartbeat_of(storage: BaseStorage) -> BaseHeartbeat | None:
    """The storage, if it keeps heartbeats."""
    if isinstance(storage, BaseHeartbeat) and storage.get_heartbeat_interval() is not None:
        return storage
    return None


def _deadline(trial: FrozenTrial) -> float:
    lease = attributes(trial)[LEASE_ATTR]
    until = lease.get("until") if isinstance(lease, dict) else lease
    return number(until, f"study: trial {trial.number}, {LEASE_ATTR}", finite=False)


def _beaten(study: optuna.Study) -> set[int]:
    """Ids of running trials that have a heartbeat, which Optuna's stale check takes for granted."""
    from sqlalchemy import text

    storage: Any = study._storage
    engine = getattr(storage, "_backend", storage).engine  # below the cache that studies put before it
    query = """SELECT h.trial_id FROM trial_heartbeats h JOIN trials t ON t.trial_id = h.trial_id
        WHERE t.study_id = :study AND t.state = 'RUNNING'"""
    with engine.connect() as connection:
        return {row[0] for row in connection.execute(text(query), {"study": study._study_id})}


def owner_of(trial: FrozenTrial) -> str:
    """Who leased a trial, as machine/process/start/number; empty for a trial without a lease."""
    lease = attributes(trial).get(LEASE_ATTR, {})
    return str(mapping(lease, f"study: trial {trial.number}, {LEASE_ATTR}").get("owner", ""))


def _process() -> str:
    """This process, as machine/process/start."""
    return "/".join((_machine(), str(os.getpid()), _start(os.getpid()) or ""))


def has_ended(owner: str) -> bool:
    """Whether an owner was a process of this machine that has certainly ended; False where that cannot be known."""
    parts = owner.split("/")
    if len(parts) != 4 or parts[0] != _machine() or os.name != "posix":
        return False
    try:
        os.kill(int(parts[1]), 0)  # signal 0 only asks
    except (ValueError, OverflowError):  # no number of a process: the record was altered
        return False
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return bool(parts[2]) and _start(int(parts[1])) not in (parts[2], None)


@functools.lru_cache(maxsize=1)
def _machine() -> str:
    """Digest of what tells one space of process numbers from another: machine, boot, container."""
    try:
        here = [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    except OSError:  # not Linux
        here = [str(uuid.getnode())]
    return hashlib.sha256("\n".join([socket.gethostname(), *here]).encode()).hexdigest()[:12]


def _start(process: int) -> str | None:
    """When a process started, in the kernel's ticks; "ended" for one that nobody has buried; None if not known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in ("Z", "X") else fields[19]
