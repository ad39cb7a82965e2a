"""Where data is: one value for a local path and for every form in which the address of a blob is written.

Understood are local paths, ``wasb[s]://`` and ``abfs[s]://CONTAINER@ACCOUNT.…/PATH`` as Hadoop writes them,
``az://CONTAINER/PATH`` with the account from settings or environment, and the service's own
``https://ACCOUNT.blob.…/CONTAINER/PATH``, also in other clouds and for a server with accounts in its path (Azurite).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from workload_forecast.config import PASSWORD_IN_URL, SECRET_IN_TEXT
from workload_forecast.errors import SettingsError
from workload_forecast.storage.connection import read_connection
from workload_forecast.storage.patterns import is_pattern

FORMS = (
    "a local path, wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, "
    "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, az://CONTAINER/PATH or "
    "https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH"
)

_HADOOP_SCHEMES = ("wasb", "wasbs", "abfs", "abfss", "az")
_HOST = re.compile(
    r"(?P<account>[a-z0-9]{3,24})\.(?P<zone>z\d{1,2}\.)?(?:blob|dfs)\.(?P<suffix>core\.windows\.net|core\.chinacloudapi\.cn"
    r"|core\.usgovcloudapi\.net|core\.cloudapi\.de|storage\.azure\.net)"
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$(?:root|web|logs)|(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
# hosts whose accounts stand in the path: addresses, and names without a domain, as servers in containers have
_PATH_STYLE_HOST = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]|[a-z0-9][a-z0-9_-]*)(?::\d{1,5})?")


@dataclass(frozen=True, order=True)
class Location:
    """A file, a folder or a glob over files. Build it with :func:`parse_location`; equal places are equal values.

    Attributes:
        path: absolute for a local one; without a slash at either end for a blob.
        container: empty for a local one.
        endpoint: of the account, like ``https://ACCOUNT.blob.core.windows.net``; empty for a local one.
    """

    path: str
    container: str = ""
    endpoint: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is in this machine's file system."""
        return not self.endpoint

    @property
    def account(self) -> str:
        """The storage account's name; empty for a local one."""
        host, _, path = self.endpoint.partition("://")[2].partition("/")
        return path or host.split(".", 1)[0]

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_pattern(self) -> bool:
        """Whether the path has glob characters."""
        return is_pattern(self.path)

    @property
    def fixed_prefix(self) -> Location:
        """The folder above the first segment with a glob character, or the location itself where none has one."""
        segments = self.path.split("/")
        fixed = next((i for i, segment in enumerate(segments) if is_pattern(segment)), len(segments))
        path = "/".join(segments[:fixed])
        return Location(path or "/" if self.is_local else path, self.container, self.endpoint)

    @property
    def glob_part(self) -> str:
        """What follows :attr:`fixed_prefix`; empty where nothing is a glob."""
        return self.path[len(self.fixed_prefix.path) :].lstrip("/")

    def join(self, *parts: str) -> Location:
        """Return the location of something below this one.

        Raises:
            SettingsError: a part leads out of it.
        """
        below = _segments("/".join(parts), f"{self}: {'/'.join(parts)}")
        path = "/".join([self.path.rstrip("/"), *below]) or self.path
        return Location(path if self.is_local else path.lstrip("/"), self.container, self.endpoint)

    def below(self, folder: Location) -> str:
        """Return the path relative to ``folder``, which has to be above this one."""
        start = folder.path.rstrip("/") + "/" if folder.path else ""
        if (self.endpoint, self.container) != (folder.endpoint, folder.container) or not self.path.startswith(start):
            raise ValueError(f"{self} is not below {folder}")
        return self.path[len(start) :]

    def as_path(self) -> Path:
        """Return the local path."""
        if not self.is_local:
            raise ValueError(f"{self} is not local")
        return Path(self.path)

    def hadoop_urls(self) -> tuple[str, ...]:
        """Return the forms in which Hadoop's connectors take it, the newer first; none where accounts are in paths."""
        match = _HOST.fullmatch(self.endpoint.partition("://")[2])
        if not match:
            return ()
        host, rest = f"{match['account']}.{match['zone'] or ''}", f"{match['suffix']}/{self.path}"
        return (f"abfss://{self.container}@{host}dfs.{rest}", f"wasbs://{self.container}@{host}blob.{rest}")

    def __str__(self) -> str:
        """Return the canonical form, which :func:`parse_location` understands."""
        if self.is_local:
            return self.path
        path = quote(self.path, safe="/*[]!,=@+:~")
        return f"{self.endpoint}/{self.container}" + (f"/{path}" if path else "")


def parse_location(text: str, account: str = "", environment: Mapping[str, str] = os.environ) -> Location:
    """Return the location that a text names.

    Only the path of an ``https`` form is percent-decoded; elsewhere a percent sign is one, as it is for Hadoop.

    Args:
        text: see :data:`FORMS`.
        account: of ``az://`` forms; else AZURE_STORAGE_ACCOUNT, or that of the connection string.
        environment: the process environment.

    Raises:
        SettingsError: it is none of the forms, or has a secret in it; the message does not repeat that.
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme == "file":
        return Location(_local_path(rest if separator else text))
    if SECRET_IN_TEXT.search(text) or PASSWORD_IN_URL.search(text):
        raise SettingsError(
            f"{_shown(text)}: take the credential out of the location and revoke it if it is real. "
            "Set AZURE_STORAGE_SAS_TOKEN in the environment instead."
        )
    if scheme in _HADOOP_SCHEMES:
        authority, _, path = rest.partition("/")
        container, at, host = authority.lower().partition("@")
        endpoint = _endpoint(host, text) if at else _endpoint_of_account(account, text, environment)
        return _blob(endpoint, container, path, text)
    if scheme in {"http", "https"}:
        return _from_url(text)
    raise _not_a_location(text, f"'{scheme}' is no scheme of a storage location")


def _local_path(text: str) -> str:
    if not text or "\0" in text:
        raise SettingsError("a location is empty or has a null character: give a path or a URL.")
    # one slash at the start: POSIX leaves the meaning of two to the system
    return re.sub(r"^//+", "/", str(Path(text).expanduser().absolute()))


def _from_url(text: str) -> Location:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _not_a_location(text, "it is not a URL") from None
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _not_a_location(text, "a query or fragment does not belong in a location (write %3F and %23 in a name)")
    if "@" in parts.netloc:
        raise _not_a_location(text, "a user name does not belong in a location")
    host, path = (parts.hostname or "").lower(), parts.path.lstrip("/")
    if _HOST.fullmatch(host):
        if port not in {None, 80, 443}:
            raise _not_a_location(text, f"Azure does not serve blobs at port {port}")
        endpoint = _endpoint(host, text)
    else:
        account, _, path = path.partition("/")
        if not _PATH_STYLE_HOST.fullmatch(parts.netloc.lower()) or not _ACCOUNT.fullmatch(account):
            raise _not_a_location(text, f"'{host}' is not the host of a storage account")
        default = {"http": 80, "https": 443}[parts.scheme]
        shown = f"[{host}]" if ":" in host else host
        endpoint = f"{parts.scheme}://{shown}{'' if port in {None, default} else f':{port}'}/{account}"
    container, _, path = path.partition("/")
    return _blob(endpoint, unquote(container), unquote(path, errors="strict"), text)


def _endpoint(host: str, text: str) -> str:
    match = _HOST.fullmatch(host)
    if not match:
        raise _not_a_location(text, f"'{host}' is not the host of a storage account")
    return f"https://{match['account']}.{match['zone'] or ''}blob.{match['suffix']}"


def _endpoint_of_account(account: str, text: str, environment: Mapping[str, str]) -> str:
    connection = read_connection(environment)
    name = account or environment.get("AZURE_STORAGE_ACCOUNT", "") or (connection.account if connection else "")
    if not name:
        raise SettingsError(
            f"{_shown(text)} names no storage account: set storageAccount in the settings file or "
            "AZURE_STORAGE_ACCOUNT in the environment."
        )
    if connection and connection.account == name:
        return connection.endpoint
    if not _ACCOUNT.fullmatch(name):
        raise SettingsError(f"storage account '{name}': 3 to 24 lower-case letters and digits make an account's name.")
    return f"https://{name}.blob.core.windows.net"


def _blob(endpoint: str, container: str, path: str, text: str) -> Location:
    if not _CONTAINER.fullmatch(container):
        raise _not_a_location(
            text, f"'{container}' is no container: 3 to 63 lower-case letters, digits and single hyphens"
        )
    return Location("/".join(_segments(path, text)), container, endpoint)


def _segments(path: str, text: str) -> list[str]:
    segments = [segment for segment in path.split("/") if segment not in {"", "."}]
    if ".." in segments:
        raise SettingsError(f"{_shown(text)}: '..' leads out of a location: write the path without it.")
    if any(ord(character) < 32 for character in path):
        raise SettingsError(f"{_shown(text)!r}: control characters do not belong in a location.")
    return segments


def _not_a_location(text: str, why: str) -> SettingsError:
    return SettingsError(f"{_shown(text)}: {why}. Give {FORMS}.")


def _shown(text: str) -> str:
    """Return a location as given, without what may be secret in it."""
    return PASSWORD_IN_URL.sub("://…@", SECRET_IN_TEXT.split(text, maxsplit=1)[0])
