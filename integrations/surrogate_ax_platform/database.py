"""Ax's tables in a database, on PostgreSQL too."""

from __future__ import annotations

import sqlalchemy
from ax.api.configs import StorageConfig
from ax.storage.sqa_store import (
    db,
    sqa_classes,  # noqa: F401  which declares the tables
)

from surrogate_ax.errors import ArgumentError, StorageError


def database(url: str) -> StorageConfig:
    """A database for experiments, with Ax's tables made where they are missing.

    `Client(storage_config=database(url))` keeps an experiment there after every change, and another process goes on
    with `Client.load_from_database(name, storage_config=database(url))`. A process has one database: Ax would keep what
    belongs into a second one in the first, without a word.

    Args:
        url: of SQLAlchemy, as `postgresql+psycopg://USER@HOST/NAME` (extra `postgres`) or `sqlite:///ax.db`.

    Raises:
        ArgumentError: no URL of a database, its driver is not installed, or Ax has another database in this process.
        StorageError: the database does not answer, or refuses.
    """
    try:
        engine = sqlalchemy.create_engine(url)
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
        raise ArgumentError(
            "url: expected a URL of SQLAlchemy whose driver is installed, as postgresql+psycopg://USER@HOST/NAME "
            f"(pip install 'surrogate-ax[postgres]') or sqlite:///ax.db. {type(error).__name__}: {_said(error)}"
        ) from None
    bound = None if db.SESSION_FACTORY is None else db.get_engine().url
    if bound is not None and bound != engine.url:
        raise ArgumentError(
            f"url: Ax keeps the experiments of this process in {_shown(bound)}, and would keep those of "
            f"{_shown(engine.url)} there too. Open the second database in another process."
        )
    try:
        _tables(engine.dialect.name).create_all(engine)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageError(
            f"url: {_shown(engine.url)} gives no database: {_said(getattr(error, 'orig', error))}"
        ) from error
    finally:
        engine.dispose()
    return StorageConfig(url=url)


def _tables(dialect: str) -> sqlalchemy.MetaData:
    """Ax's tables; for PostgreSQL their texts have no length.

    Ax writes lengths for MySQL. PostgreSQL knows no texts of 4 GB, and holds to the others, so that a search with many
    parameters would fail one night at its 4,096th character.
    """
    if dialect != "postgresql":
        declared: sqlalchemy.MetaData = db.Base.metadata
        return declared
    copied = sqlalchemy.MetaData()
    for table in db.Base.metadata.sorted_tables:
        for column in table.to_metadata(copied).columns:
            if isinstance(getattr(column.type, "impl_instance", column.type), sqlalchemy.String):
                column.type = sqlalchemy.Text()
    return copied


def _shown(url: sqlalchemy.URL) -> str:
    return url.render_as_string(hide_password=True)


def _said(error: BaseException | None) -> str:
    """The first line of a message, without the URL that may hold a password."""
    return str(error).strip().partition("\n")[0].partition(" from given URL")[0]
