"""The Ray cluster that actors run on: one that is there already, one by its address, or one of this machine alone.

A cluster that is started here listens on 127.0.0.1, has no dashboard, reports nothing, and ends with what has started
it, also where that is killed: Ray's processes share its fate.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants

from surrogate_ax.errors import ArgumentError, GenerationError

STORE_BYTES = 128 * 2**20  # of shared memory for objects; what does not fit goes to the disk
# Ray runs workers with less priority (nice 15), as beside a service: here they are the search.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


def connect(address: str | None, *, cpus: float) -> bool:
    """Connect this process with a cluster, unless it is; whether this call has done so, and has to end it.

    Args:
        address: of a cluster that runs, "auto" for that of this machine; without one, the environment's `RAY_ADDRESS`,
            else a new cluster on this machine.
        cpus: processors that its actors are to have together.

    Raises:
        ArgumentError: no cluster at the address.
        GenerationError: Ray does not start here.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS")
    with _handlers_kept():
        try:
            if address:
                ray.init(address=address, configure_logging=False)
            else:
                _start(cpus)
        except (ConnectionError, ValueError) as error:
            raise ArgumentError(
                f"address: expected that of a Ray cluster that runs, as 'auto' or '10.0.0.5:6379', got {address!r} "
                f"({error})."
            ) from error
        except (RuntimeError, OSError) as error:
            raise GenerationError(f"Ray did not start on this machine: {error}") from error
    return True


def disconnect() -> None:
    """End the connection, and the cluster if it was started here."""
    if ray.is_initialized():
        ray.shutdown()


def _start(cpus: float) -> None:
    """A cluster on this machine alone."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    kept, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False  # which has it use 127.0.0.1
    try:
        with _environment({**SETTINGS, "PYTHONPATH": path}):
            ray.init(
                address="local",
                num_cpus=max(1, round(cpus + 0.5), os.cpu_count() or 1),
                object_store_memory=STORE_BYTES,
                include_dashboard=False,
                configure_logging=False,
            )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = kept


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes which are started inside the block inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Leave the caller's handler of SIGTERM, in place of which Ray puts its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def check_room(num_actors: int, options: Mapping[str, Any]) -> None:
    """Refuse actors that this machine has no room for.

    Args:
        num_actors: how many.
        options: what each asks for.

    Raises:
        ArgumentError: naming what there is too little of.
    """
    has: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    wanted = {"CPU": options.get("num_cpus", 0), "GPU": options.get("num_gpus", 0), **options.get("resources", {})}
    short = {name: num_actors * each for name, each in wanted.items() if num_actors * each > has.get(name, 0)}
    if short:
        there = {name: has.get(name, 0) for name in short}
        raise ArgumentError(
            f"num_actors, resources: {num_actors} actors ask for {short} together, this machine has {there}. Ask for "
            "less, or give the address of a cluster."
        )
