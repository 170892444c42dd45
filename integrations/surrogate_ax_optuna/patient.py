"""Storages on a server, which may go away for a while: workers wait for it and go on, as if nothing had happened.

Every call of the storage is made again until the server answers. A call that the server had carried out before it went
away is then made twice: a trial that was ended so stays as it was, and one that was made twice is given back by
`OptunaHost.reclaim`.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage

from surrogate_ax.execution.stops import check_stop
from surrogate_ax_optuna.postgres_storage import PostgresStorage
from surrogate_ax_optuna.sqlite_storage import failures

PATIENCE = 600.0  # seconds for which a server may be away
PAUSES = 0.2, 5.0  # seconds between calls, at first and at most
READY = 15.0  # seconds for which opening waits
COMING_UP = (
    "already exists",  # of tables, which Optuna does not expect others to make at the same time
    "duplicate key",
    "refused",
    "starting up",
    "not yet accepting",
    "shutting down",
    "closed the connection",
)
_OWN = ("_create_new_trial", "_get_trials", "_set_trial_param", "record_heartbeat", "_get_stale_trial_ids")
S = TypeVar("S", bound=BaseStorage)
_logger = logging.getLogger(f"surrogate_ax.{__name__}")


def server_storage(url: str, *, patience: float = PATIENCE, **engine: Any) -> RDBStorage:
    """Studies on a database server, as PostgreSQL, for workers on any machine.

    Args:
        url: of SQLAlchemy, as postgresql+psycopg://USER:PASSWORD@HOST/NAME.
        patience: seconds for which calls wait for a server that is away; a quarter of a minute at first.
        **engine: further keyword arguments of SQLAlchemy's `create_engine`.

    Returns:
        A storage for `optuna.create_study(storage=...)`.
    """
    address = url.replace("{", "{{").replace("}", "}}")  # Optuna fills in templates
    kind = PostgresStorage if url.startswith("postgres") else RDBStorage
    return _opened(_patient(kind, _is_cut_off, patience), address, engine, time.monotonic() + READY)


def _opened(kind: type[RDBStorage], address: str, engine: dict[str, Any], end: float) -> RDBStorage:
    """A storage, also if its server is just coming up, or other processes are making the same tables right now."""
    try:
        return kind(address, engine)
    except failures() as error:
        said = f"{error} {error.__cause__}"
        if time.monotonic() > end or not any(sign in said for sign in COMING_UP):
            raise
    check_stop()
    time.sleep(PAUSES[0])
    return _opened(kind, address, engine, end)


def proxy_storage(host: str, port: int, *, ready: float = 5.0, patience: float = PATIENCE) -> GrpcStorageProxy:
    """Studies behind Optuna's gRPC proxy, as `surrogate-ax serve` runs it.

    Args:
        host: of the proxy.
        port: there.
        ready: seconds in which it has to answer at first.
        patience: seconds for which calls wait for a proxy that is away.

    Raises:
        ConnectionError: it does not answer.
    """
    proxy = _patient(GrpcStorageProxy, _is_unavailable, patience)(host=host, port=port)
    proxy.wait_server_ready(timeout=ready)
    return proxy


def _patient(kind: type[S], is_away: Callable[[BaseException], bool], patience: float) -> type[S]:
    """The class of a storage whose calls wait for its server."""
    names = [name for name in (*dir(BaseStorage), *_OWN) if callable(getattr(kind, name, None))]
    calls = [name for name in dict.fromkeys(names) if name in _OWN or not name.startswith("_")]
    calls = [name for name in calls if name not in ("remove_session", "check_trial_is_updatable")]
    return type(f"Patient{kind.__name__}", (kind,), {n: _waiting(getattr(kind, n), is_away, patience) for n in calls})


def _waiting(call: Callable[..., Any], is_away: Callable[[BaseException], bool], patience: float) -> Callable[..., Any]:
    @functools.wraps(call)
    def waiting(self: BaseStorage, *arguments: Any, **named: Any) -> Any:
        end, pause = time.monotonic() + patience, PAUSES[0]
        while True:
            try:
                return call(self, *arguments, **named)
            except Exception as error:
                if not is_away(error) or time.monotonic() > end:
                    raise
                if pause == PAUSES[0]:
                    _logger.warning("The storage does not answer; this waits for it, %.0f s at most.", patience)
            check_stop()
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    return waiting


def _is_cut_off(error: BaseException) -> bool:
    """Whether a database's server went away, or is not up yet."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    causes: Sequence[BaseException] = [cause for cause in (error, error.__cause__) if cause is not None]
    return isinstance(error, failures()) and any(
        isinstance(cause, OperationalError | InterfaceError)
        or (isinstance(cause, DBAPIError) and cause.connection_invalidated)
        for cause in causes
    )


def _is_unavailable(error: BaseException) -> bool:
    """Whether a gRPC proxy went away, or is not up yet."""
    import grpc

    return isinstance(error, grpc.RpcError) and error.code() == grpc.StatusCode.UNAVAILABLE
