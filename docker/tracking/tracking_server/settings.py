"""What the environment says, checked before anything is begun."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

REQUIRED = {
    "MLFLOW_BACKEND_STORE_URI": "the database, like postgresql://mlflow@HOST/mlflow, without its password",
    "MLFLOW_ARTIFACTS_DESTINATION": "like wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/mlflow",
    "MLFLOW_AUTH_ADMIN_USERNAME": "the administrator's name",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "the administrator's password, 12 characters or more",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a long random text, the same at every start",
}
PERMISSIONS = ("NO_PERMISSIONS", "READ", "EDIT", "MANAGE")
#: Users and permissions lie in the same database as the runs, so that one dump has both as of one moment.
AUTH_SCHEMA = "mlflow_auth"
_WASBS = re.compile(
    r"wasbs://(?P<container>[a-z0-9](?:-?[a-z0-9]){2,62})@(?P<account>[a-z0-9]{3,24})"
    r"\.(?P<suffix>blob\.core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net))/(?P<path>[^?#\s]+)"
)


class StartError(Exception):
    """Why the server cannot start: what, where, and what to do, in one line without a secret."""


@dataclass(frozen=True)
class Settings:
    """What the environment says; nothing in it is secret.

    Attributes:
        database: a ``postgresql://`` URI without password.
        destination: where artifacts go.
        container: of that.
        account: of that.
        account_url: how to reach it where no connection string says so.
        permission: what a user may do with what others own.
        host: the address to listen at.
        port: the port to listen at.
        workers: processes that answer requests.
        login_cache_s: how long a login that was found right is not checked again, in seconds; a check is meant to be
            slow, and a job makes hundreds of requests.
        wait_s: how long database and storage may take to come up, in seconds.
    """

    database: str
    destination: str
    container: str
    account: str
    account_url: str
    permission: str
    host: str
    port: int
    workers: int
    login_cache_s: int
    wait_s: float

    @property
    def store(self) -> str:
        """The database as SQLAlchemy takes it: with the driver, which its versions have different defaults for."""
        return self.database.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def auth_database(self) -> str:
        """The same database, with the schema of users and permissions in front."""
        parts = urlsplit(self.store)
        query = [*parse_qsl(parts.query), ("options", f"-csearch_path={AUTH_SCHEMA}")]
        return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return what the environment says.

    Raises:
        StartError: something is missing, or cannot be.
    """
    missing = [f"{name} ({what})" for name, what in REQUIRED.items() if not environment.get(name)]
    if missing:
        raise StartError(f"not set in the environment: {'; '.join(missing)}. Set them and start again.")
    destination = environment["MLFLOW_ARTIFACTS_DESTINATION"]
    match = _WASBS.fullmatch(destination)
    if not match:
        raise StartError(f"MLFLOW_ARTIFACTS_DESTINATION must be {REQUIRED['MLFLOW_ARTIFACTS_DESTINATION']}.")
    permission = environment.get("TRACKING_DEFAULT_PERMISSION") or "READ"
    if permission not in PERMISSIONS:
        raise StartError(f"TRACKING_DEFAULT_PERMISSION is {permission!r}: make it one of {', '.join(PERMISSIONS)}.")
    return Settings(
        database=_without_password(environment["MLFLOW_BACKEND_STORE_URI"]),
        destination=destination,
        container=match["container"],
        account=match["account"],
        account_url=f"https://{match['account']}.{match['suffix']}",
        permission=permission,
        host=environment.get("MLFLOW_HOST") or "127.0.0.1",
        port=_number(environment, "MLFLOW_PORT", 5000, 1, 65535),
        workers=_number(environment, "MLFLOW_WORKERS", 2, 1, 64),
        login_cache_s=_number(environment, "TRACKING_LOGIN_CACHE_SECONDS", 30, 0, 3600),
        wait_s=_number(environment, "TRACKING_WAIT_SECONDS", 60, 1, 3600),
    )


def _without_password(uri: str) -> str:
    uri = re.sub(r"^postgresql\+psycopg2?://", "postgresql://", uri)
    try:
        parts = urlsplit(uri)
        name, password = parts.path.strip("/"), parts.password
    except ValueError:
        name, password = "", None
    if password is not None or "password" in dict(parse_qsl(urlsplit(uri).query)):
        raise StartError(
            "MLFLOW_BACKEND_STORE_URI has a password in it: take it out and set PGPASSWORD, or PGPASSFILE with a file."
        )
    if not uri.startswith("postgresql://") or not name:
        raise StartError(f"MLFLOW_BACKEND_STORE_URI must be {REQUIRED['MLFLOW_BACKEND_STORE_URI']}.")
    return uri


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdigit() or not low <= int(text) <= high:
        raise StartError(f"{name} is {text!r}: make it a whole number from {low} to {high}.")
    return int(text)


def first_line(problem: Exception) -> str:
    """Return the part of a message that says what is wrong."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0].strip().rstrip(".:")


def tell(text: str) -> None:
    """Say something to whoever reads the log."""
    print(f"tracking: {text}", file=sys.stderr, flush=True)
