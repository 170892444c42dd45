"""URLs of storages: which keep anything, and how they are shown without what is secret in them."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, quote_plus, unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError as UrlError

from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna.storage import check_file

HIDDEN = "***"
_NO_DATABASE = ("grpc", "redis", "rediss", "unix")  # which SQLAlchemy does not open


def check_url(url: str) -> None:
    """Refuse a URL that cannot be read, or under which nothing would be kept.

    Raises:
        ArgumentError: with what to write in its place; no part of the URL that may be secret is in the message.
    """
    if _read(url) is None:
        raise ArgumentError(
            f"expected a URL as postgresql://USER:PASSWORD@HOST:PORT/NAME, got {show_url(url)}, which cannot be read. "
            "In user and password, write %40 for @, %2F for /, %3A for : and %3F for ?."
        )
    sqlite_file(url)


def sqlite_file(url: str) -> str | None:
    """The file of a URL of SQLite; None for other databases.

    Raises:
        ArgumentError: a database in memory, or options, which a file has none of.
    """
    read = _read(url)
    if read is None or read.get_backend_name() != "sqlite":
        return None
    check_file(read.database or "")
    if read.query or read.host or read.username:
        raise ArgumentError(f"expected sqlite:///FILE without options, got {show_url(url)}. Write %3F for ? in a name.")
    return str(read.database)


def show_url(url: str) -> str:
    """A URL as a user would write it, without user, password and the values of its options."""
    read = _read(url)
    if read is None:
        scheme = url.partition("://")[0]
        return f"{scheme if scheme.replace('+', '').isalnum() else HIDDEN}://{HIDDEN}"
    host = (read.host or "").rpartition("@")[2]  # an @ of the password that was not written as %40
    shown = URL.create(read.drivername, host=host or None, port=read.port, database=read.database)
    scheme, _, rest = shown.render_as_string().partition("://")
    user = f"{HIDDEN}@" if read.username is not None or host != (read.host or "") else ""
    options = "&".join(f"{quote_plus(name)}={HIDDEN}" for name in sorted(read.query))
    return f"{scheme}://{user}{rest}" + (f"?{options}" if options else "")


def secrets_of(url: str) -> list[str]:
    """Every text of a URL that may be secret, as written and as meant, the longest first; none of a file's name."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.startswith("sqlite"):
        return []
    read = _read(url)
    parts = [rest.rpartition("@")[0].partition(":")[2], rest.partition(":")[2] if read is None else ""]
    if read is not None:
        parts += [str(read.password or ""), (read.host or "").rpartition("@")[0]]
        parts += [value for _, value in parse_qsl(rest.partition("?")[2])]
    found = {form for part in parts for form in (part, unquote(part), quote(part, safe=""), quote_plus(part)) if part}
    return sorted((form for form in found if len(form) > 2), key=len, reverse=True)  # shorter ones are in every text


def _read(url: str) -> URL | None:
    """A URL by SQLAlchemy's rules, under which a password may hold / and ?; None for what is none."""
    try:
        read = make_url(url)
        if read.drivername.partition("+")[0] not in _NO_DATABASE:
            read.get_backend_name()
    except (UrlError, ValueError):  # ValueError: a port that is no number
        return None
    return read
