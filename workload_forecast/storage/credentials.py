"""Who we are to a storage account. Secrets come from the environment alone and are shown by nothing here.

In this order: connection string, account key, shared access signature, the Azure identity of this machine or user, and
nobody, which is enough for public containers.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workload_forecast.errors import SettingsError
from workload_forecast.storage.connection import VARIABLE, read_connection
from workload_forecast.storage.locations import Location

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential

CONNECTION_STRING = VARIABLE
KEYS = ("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY")
SAS_TOKEN = "AZURE_STORAGE_SAS_TOKEN"  # noqa: S105 — the variable's name
ACCOUNT = "AZURE_STORAGE_ACCOUNT"
IDENTITY, NOBODY = "the Azure identity", "no credential"
_SCOPE = "https://storage.azure.com/.default"

#: For messages that say how to be somebody.
HOW = f"Set {CONNECTION_STRING}, {KEYS[0]} or {SAS_TOKEN} in the environment, or sign in with `az login`"


@dataclass(frozen=True)
class Credential:
    """What to show to an account.

    Attributes:
        source: the variable it came from, or :data:`IDENTITY` or :data:`NOBODY`; safe to print.
        endpoint: where the connection string has the account's blobs, if it says so.
        value: for the client.
    """

    source: str
    endpoint: str = ""
    value: AzureNamedKeyCredential | AzureSasCredential | TokenCredential | None = field(default=None, repr=False)

    @property
    def is_chosen(self) -> bool:
        """Whether somebody set it for this account, so that nothing else is tried when it is refused."""
        return self.source not in {IDENTITY, NOBODY}


ANONYMOUS = Credential(NOBODY)


def find_credential(location: Location, environment: Mapping[str, str]) -> Credential:
    """Return the first credential that is there for a location's account.

    A connection string for another account is passed over, and so are key and signature where AZURE_STORAGE_ACCOUNT
    names another one: they would be refused there.

    Raises:
        SettingsError: a variable's content cannot be what it should be; the message does not repeat it.
    """
    from azure.core.credentials import AzureNamedKeyCredential

    connection = read_connection(environment)
    if connection and location.account == connection.account:
        if connection.key:
            key = _checked_key(connection.key, CONNECTION_STRING)
            value: AzureNamedKeyCredential | AzureSasCredential = AzureNamedKeyCredential(connection.account, key)
        else:
            value = _signature(connection.sas)
        return Credential(CONNECTION_STRING, connection.endpoint, value)
    if environment.get(ACCOUNT, location.account) == location.account:
        for variable in KEYS:
            if environment.get(variable):
                key = _checked_key(environment[variable], variable)
                return Credential(variable, "", AzureNamedKeyCredential(location.account, key))
        if environment.get(SAS_TOKEN):
            return Credential(SAS_TOKEN, "", _signature(environment[SAS_TOKEN]))
    if location.endpoint.startswith("http://"):
        return ANONYMOUS  # a token is never sent in the clear
    return _identity()


def _signature(token: str) -> AzureSasCredential:
    from azure.core.credentials import AzureSasCredential

    # a signature is part of the URL, which the HTTP library writes into its log
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        if not any(isinstance(present, _HideSignatures) for present in logger.filters):
            logger.addFilter(_HideSignatures())
    return AzureSasCredential(token.strip().lstrip("?"))


def _checked_key(key: str, variable: str) -> str:
    try:
        base64.b64decode(key.strip(), validate=True)
    except binascii.Error:
        what = "holds no account key" if variable == CONNECTION_STRING else "is no account key"
        raise SettingsError(f"{variable} {what} (base64): copy it again from the account's access keys.") from None
    return key.strip()


def _identity() -> Credential:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    with _quiet("azure.identity"):
        try:
            credential.get_token(_SCOPE)
        except ClientAuthenticationError:  # nobody is signed in
            return ANONYMOUS
    return Credential(IDENTITY, "", credential)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's account of all that it tried off the terminal: to be nobody is a normal outcome here."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


class _HideSignatures(logging.Filter):
    _SIGNATURE = re.compile(r"(?<=[?&]sig=)[^&\s\"']+")

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._SIGNATURE.sub("…", record.getMessage()), None
        return True
