"""A PostgreSQL of the tests' own: Debian's programs, on the loopback, with passwords made for this run."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tests.targets.machines.process import MachineError, Server, check, free_port

if TYPE_CHECKING:
    from typing_extensions import LiteralString

INSTALL = Path(__file__).with_name("install.sh")
USER = "mlflow"


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Attributes:
        server: the process.
        port: on the loopback.
        programs: the folder of ``pg_dump`` and its kin, of the server's version.
        password: of the user ``mlflow``, who owns the databases and may not make any.
        owner_password: of the superuser.
    """

    server: Server
    port: int
    programs: Path
    password: str = field(repr=False)
    owner_password: str = field(repr=False)

    def uri(self, database: str) -> str:
        """The form that MLflow takes, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The name of a new, empty database that belongs to the user."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        self.execute("postgres", sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), _role()))
        return name

    def connect(self, database: str) -> psycopg.Connection:
        """A connection of the superuser's."""
        return _connect(self.port, self.owner_password, database)

    def execute(self, database: str, command: sql.SQL | sql.Composed) -> None:
        with self.connect(database) as connection:
            connection.execute(command)

    def rows(self, database: str, query: LiteralString) -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            return connection.execute(query).fetchall()


def _role() -> sql.Identifier:
    return sql.Identifier(USER)


def programs() -> Path:
    """The newest PostgreSQL that Debian's packages have installed.

    Raises:
        MachineError: none is.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise MachineError(f"PostgreSQL is not installed. Run `{INSTALL}` as root, then the tests again.")
    return found[-1].parent


@contextmanager
def postgres_server(folder: Path) -> Iterator[Postgres]:
    """Run a server that keeps its files in a folder until the block ends.

    Args:
        folder: that other users can enter (``short_folder``), because PostgreSQL does not run as root.

    Raises:
        MachineError: it is not installed or does not start; with the end of its log.
    """
    bin_folder, port = programs(), free_port()
    user = "postgres" if os.geteuid() == 0 else None  # made by Debian's package
    owner_password = secrets.token_hex(16)
    data, secret = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    secret.write_text(owner_password)
    secret.chmod(0o600)
    if user:
        owner = pwd.getpwnam(user)
        for path in (data, secret):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    options = ["--pgdata", str(data), "--username", "postgres", "--auth", "scram-sha-256", "--pwfile", str(secret)]
    check([*_as(user), str(bin_folder / "initdb"), *options, "--encoding", "UTF8", "--no-locale", "--no-sync"])
    secret.unlink()
    # fast: nothing of it is to survive the machine; no socket in a folder that is somebody else's
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    command = [str(bin_folder / "postgres"), "-D", str(data)]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = Server(
        "postgres",
        command,
        folder / "postgres.log",
        lambda: _answers(port, owner_password),
        environment={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        user=user,
        stop_signal=signal.SIGINT,  # SIGTERM would wait for every client to leave
    )
    # with every character that an address or a shell would take for something else
    postgres = Postgres(server, port, bin_folder, f"p@s/%40:'\" ${secrets.token_hex(12)}", owner_password)
    try:
        server.start()
        # the password as its literal: CREATE ROLE takes no parameters, and it is logged by nobody
        command_ = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(_role(), sql.Literal(postgres.password))
        postgres.execute("postgres", command_)
        yield postgres
    finally:
        server.stop()
        shutil.rmtree(data, ignore_errors=True)


def _as(user: str | None) -> list[str]:
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []


def _connect(port: int, password: str, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user="postgres",
        password=password,
        dbname=database,
        connect_timeout=5,
        autocommit=True,
    )


def _answers(port: int, password: str) -> bool:
    try:
        _connect(port, password, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True
