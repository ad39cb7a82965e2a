"""What ``AZURE_STORAGE_CONNECTION_STRING`` says: account, endpoint and a secret that nothing here shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workload_forecast.errors import SettingsError

VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"


@dataclass(frozen=True)
class Connection:
    """The fields of a connection string that matter for blobs."""

    account: str
    endpoint: str
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)


def read_connection(environment: Mapping[str, str]) -> Connection | None:
    """Return what the variable says, or None where it is not set.

    Raises:
        SettingsError: it is not a connection string. The message does not repeat it.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    fields = {}
    for part in text.split(";"):
        name, separator, value = part.strip().partition("=")
        if separator:
            fields[name.lower()] = value
    account, endpoint = fields.get("accountname", ""), fields.get("blobendpoint", "").rstrip("/")
    if account and not endpoint:
        protocol = fields.get("defaultendpointsprotocol", "https")
        endpoint = f"{protocol}://{account}.blob.{fields.get('endpointsuffix', 'core.windows.net')}"
    key, sas = fields.get("accountkey", ""), fields.get("sharedaccesssignature", "")
    if not endpoint or not (key or sas):
        raise SettingsError(
            f"{VARIABLE} needs AccountName or BlobEndpoint, and AccountKey or SharedAccessSignature, as NAME=VALUE "
            "separated by semicolons: copy it again from the account's access keys."
        )
    if not account:
        # a signature's connection string has endpoints only
        account = endpoint.split("://", 1)[-1].split(".", 1)[0]
    return Connection(account, endpoint, key, sas)
