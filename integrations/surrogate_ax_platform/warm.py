"""Earlier searches that an experiment learns from: read from other clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ax.api.client import Client

from surrogate_ax.execution.warm_start import Earlier, earlier_searches
from surrogate_ax_platform import records
from surrogate_ax_platform.snapshot import load_client


def read_earlier(warm: Any) -> list[Earlier]:
    """Earlier searches, as users give them.

    Args:
        warm: Ax clients, files of their snapshots, or records of any host.

    Raises:
        ArgumentError: something else, or a file that is no snapshot.
        MismatchError: a client that no search was recorded in.
    """
    return earlier_searches(warm, _read, expected="Ax clients, snapshots")


def _read(given: Any) -> Earlier | None:
    client = load_client(given) if isinstance(given, str | Path) else given
    if not isinstance(client, Client):
        return None
    record = records.read_record(client)
    return Earlier(f"experiment {client._experiment.name!r}", record)
