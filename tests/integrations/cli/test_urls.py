"""URLs of storages: what is shown of them, and which are refused."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import URL

from surrogate_ax.errors import ArgumentError
from surrogate_ax_cli.storages import explain
from surrogate_ax_cli.urls import check_url, secrets_of, show_url, sqlite_file


@pytest.mark.parametrize(
    ("url", "shown", "secret"),
    [
        ("postgresql://me:secret@host/db", "postgresql://***@host/db", "secret"),
        ("postgresql://me:se/cret@host/db", "postgresql://***@host/db", "se/cret"),
        ("postgresql://me:sec?ret@host:5432/db", "postgresql://***@host:5432/db", "sec?ret"),
        ("postgresql://me:one@secret@host/db", "postgresql://***@host/db", "secret"),
        ("mysql+pymysql://me:p%40ssword@host/db", "mysql+pymysql://***@host/db", "p@ssword"),
        ("mysql://me@host/db?password=secret&tls=on", "mysql://***@host/db?password=***&tls=***", "secret"),
        ("redis://:sec/ret@host:6379/0", "redis://***@host:6379/0", "sec/ret"),
        ("postgresql://me:secret", "postgresql://***", "secret"),
        ("grpc://host:13000", "grpc://host:13000", None),
        ("sqlite:///a%3Fb.db", "sqlite:///a%3Fb.db", None),
    ],
)  # fmt: skip
def test_no_secret_is_shown(url: str, shown: str, secret: str | None) -> None:
    assert show_url(url) == shown
    if secret is not None:
        assert secret in secrets_of(url)
        said = explain(RuntimeError(f"no answer to {url}, which is {secret}"), url)
        assert secret not in said.replace("***", "")


@pytest.mark.parametrize("password", ["secret", "a/b@c:d?e#f", "100%", "p q+r", "ключ", "[::1]"])
def test_whatever_the_password_it_is_hidden(password: str) -> None:
    made = URL.create("postgresql", "me", password, "host", 5432, "db").render_as_string(hide_password=False)
    check_url(made)
    assert show_url(made) == "postgresql://***@host:5432/db"
    assert password in secrets_of(made)


def test_files_are_those_that_are_named() -> None:
    for name in ("study.db", "/abs/who is it?.db", "100%.db", "a{b}.db", "ä#&.db"):
        assert sqlite_file(URL.create("sqlite", database=name).render_as_string()) == name
    assert sqlite_file("sqlite+pysqlite:///study.db") == "study.db"
    assert sqlite_file("postgresql://host/db") is None
    assert secrets_of("sqlite:///study.db") == secrets_of("study.db") == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "nothing would be kept"),
        ("sqlite:///", "nothing would be kept"),
        ("sqlite:///:memory:", "nothing would be kept"),
        ("sqlite:///file:x?mode=memory&uri=true", "nothing would be kept"),
        ("sqlite:///x.db?timeout=3", "expected sqlite:///FILE without options"),
        ("postgresql://me:secret", "which cannot be read"),
        ("not a url://x", "which cannot be read"),
    ],
)
def test_what_keeps_nothing_or_is_no_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as error:
        check_url(url)
    assert "secret" not in str(error.value)
