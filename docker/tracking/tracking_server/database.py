"""The database: waited for, and its tables made by one start at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tracking_server.settings import AUTH_SCHEMA, Settings, StartError, first_line

#: One start at a time prepares a database; the number only has to be the same for all of them.
LOCK = 7_020_317


def connect(settings: Settings, until: float) -> Any:
    """Return a connection to the database, waiting for it to come up.

    Raises:
        StartError: it refuses, or does not answer in time.
    """
    import psycopg

    while True:
        try:
            connection = psycopg.connect(settings.database, autocommit=True, connect_timeout=5)
        except psycopg.Error as problem:
            why = first_line(problem)
            if _is_refusal(why):
                raise StartError(
                    f"the database {settings.database} refuses this login: {why}. Correct PGPASSWORD, the user's name "
                    "or the database's; a new database is made with: CREATE DATABASE mlflow OWNER mlflow."
                ) from None
            if time.monotonic() > until:
                raise StartError(
                    f"the database {settings.database} did not answer within {settings.wait_s:.0f} s: {why}. Start "
                    "it, or correct MLFLOW_BACKEND_STORE_URI."
                ) from None
        else:
            return connection
        time.sleep(0.5)


def _is_refusal(why: str) -> bool:
    """Whether waiting is in vain. The driver gives no code for this, only the server's text."""
    return "authentication failed" in why or "no password supplied" in why or "does not exist" in why or "pg_hba" in why


@contextmanager
def prepared_alone(connection: Any, settings: Settings) -> Iterator[None]:
    """Run the block while no other start does, on whatever machine it is; a start that dies lets go."""
    import psycopg

    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", (str(int(settings.wait_s * 1000)),))
        try:
            cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        except psycopg.errors.QueryCanceled:
            raise StartError(
                f"another start has been preparing {settings.database} for {settings.wait_s:.0f} s: wait for it, or "
                "set TRACKING_WAIT_SECONDS to more."
            ) from None
        cursor.execute("SET statement_timeout = 0")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def prepare_tables(connection: Any, settings: Settings, upgrade: bool) -> None:
    """Make the tables and the administrator that are missing; bring older tables up to date if that is wanted.

    MLflow would do some of it by itself: unlocked, and for older tables without asking.

    Raises:
        StartError: the tables are of another version, or this user may not make any.
    """
    import psycopg
    import sqlalchemy
    from mlflow.exceptions import MlflowException

    try:
        with prepared_alone(connection, settings):
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {AUTH_SCHEMA}")
            if upgrade:
                _upgrade(settings)
            else:
                _refuse_other_versions(connection, settings)
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            SqlAlchemyStore(settings.store, "mlflow-artifacts:/")
            from mlflow.server.auth import bootstrap_admin_user

            bootstrap_admin_user()
    except (psycopg.errors.InsufficientPrivilege, sqlalchemy.exc.ProgrammingError) as problem:
        raise StartError(
            f"this user may not make tables in {settings.database}: {first_line(problem)}. Make it the owner: "
            "ALTER DATABASE mlflow OWNER TO mlflow."
        ) from None
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, MlflowException) as problem:
        raise StartError(f"{settings.database} cannot be prepared: {first_line(problem)}.") from None


def _refuse_other_versions(connection: Any, settings: Settings) -> None:
    for table, script in _revisions(settings):
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s)", (table,))
            if cursor.fetchone()[0] is None:
                continue
            cursor.execute(f"SELECT version_num FROM {table}")  # noqa: S608 — one of two names of MLflow's
            found = {row[0] for row in cursor.fetchall()}
        if found == set(script.get_heads()):
            continue
        known = {revision.revision for revision in script.walk_revisions()}
        if found <= known:
            raise StartError(
                f"the tables in {settings.database} are of an older MLflow: make a backup, stop the other servers, "
                "then run this with the argument `upgrade` once."
            )
        raise StartError(
            f"the tables in {settings.database} are of a newer MLflow than this one: start that version, or restore "
            "a backup that this one made."
        )


def _revisions(settings: Settings) -> list[tuple[str, Any]]:
    """The tables that say which version the others are of, and what versions this MLflow knows."""
    from alembic.script import ScriptDirectory
    from mlflow.server.auth.db.utils import _get_alembic_config as auth_config
    from mlflow.store.db.utils import _get_alembic_config as tracking_config

    return [
        ("public.alembic_version", ScriptDirectory.from_config(tracking_config(settings.store))),
        (f"{AUTH_SCHEMA}.alembic_version_auth", ScriptDirectory.from_config(auth_config(settings.auth_database))),
    ]


def _upgrade(settings: Settings) -> None:
    """What ``mlflow db upgrade`` does; those of users and permissions follow when their store is opened."""
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(settings.store)
    _upgrade_db(engine)
    engine.dispose()
